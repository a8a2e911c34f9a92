"""Which names vLLM's EngineArgs has, read from its source: importing vLLM takes ten seconds, and a wrong name costs an engine start."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuner.core.errors import BadInput
from tuner.core.spelling import closest

_WHERE = "import importlib.util as u, sys\ns = u.find_spec(sys.argv[1])\nprint(s.origin if s and s.origin else '')"
_ASK_TIMEOUT_S = 30.0


def check_engine_arg_names(engine_args: Mapping[str, Any], python: str | None) -> None:
    """Raises BadInput for a name that vLLM does not know in that Python (None: this one). Silent where vLLM's source is not found there."""
    known = engine_arg_names(python) if engine_args else None
    for name in engine_args:
        if known is not None and name.replace("-", "_") not in known:
            similar = closest(name, known)
            fix = "see vllm serve --help" if similar is None else f"did you mean {similar}?"
            raise BadInput(f"vLLM has no {name}", setting="engine_args", fix=fix)


def engine_arg_names(python: str | None) -> frozenset[str] | None:
    """The fields of `vllm.engine.arg_utils.EngineArgs`; None where they cannot be read. Imports nothing."""
    package = package_folder("vllm", python)
    try:
        tree = ast.parse((package / "engine" / "arg_utils.py").read_text(encoding="utf-8")) if package is not None else None
    except (OSError, ValueError, SyntaxError):
        return None
    for node in tree.body if tree is not None else ():
        if isinstance(node, ast.ClassDef) and node.name == "EngineArgs":
            return frozenset(item.target.id for item in node.body if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name))
    return None


def package_folder(package: str, python: str | None) -> Path | None:
    """Where that Python (None: this one) has the package; None where it has not."""
    if python is None:
        spec = importlib.util.find_spec(package)
        origin = spec.origin if spec is not None else None
    else:
        try:
            done = subprocess.run(
                [Path(python).expanduser(), "-c", _WHERE, package],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_ASK_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        origin = next(reversed(done.stdout.split()), None)
    return Path(origin).parent if origin else None

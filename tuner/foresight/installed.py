"""What decides a compilation besides the question: versions, and the environment variables that the engine and the compiler read.

    python -c "from tuner.foresight.installed import main; main()"       prints it as JSON, for another Python than this one

Standard library only: the other Python need not have anything of ours but this package. Imports nothing of the engine.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import tuner
from tuner.core.errors import BadInput
from tuner.engine.environment import versions

Json = dict[str, Any]

NEEDED = ("libtpu", "jax", "tpu_inference", "vllm_tpu")  # distributions; any of the last kind's names counts as vLLM
_ALWAYS_READ = ("LIBTPU_INIT_ARGS", "XLA_FLAGS")
_OURS = ("TPU_ACCELERATOR_TYPE", "TPU_NAME", "TPU_WORKER_ID", "JAX_PLATFORMS", "SKIP_JAX_PRECOMPILE", "NUM_PRECOMPILE_WORKERS")
_NAME = re.compile(r'^    "([A-Z][A-Z0-9_]+)":', re.MULTILINE)
_ASK_TIMEOUT_S = 30.0


def installed(python: str | None) -> Json:
    """{"versions", "environment"} of the engine's Python (None: this one). Raises BadInput where something that compiling needs is missing
    there."""
    found = here() if python is None else _asked(python)
    have = found["versions"]
    missing = [name for name in NEEDED if name not in have and not (name == "vllm_tpu" and "vllm" in have)]
    if missing:
        where = "this Python" if python is None else python
        raise BadInput(
            f"foresight needs {' and '.join(name.replace('_', '-') for name in missing)}, not installed in {where}",
            fix="install vllm-tpu, or name the Python that has it with --engine-python",
        )
    return found


def here() -> Json:
    """Of this Python."""
    spec = importlib.util.find_spec("tpu_inference")
    names = set(_ALWAYS_READ)
    if spec is not None and spec.origin is not None:
        source = Path(spec.origin).parent / "envs.py"
        names |= set(_NAME.findall(source.read_text(encoding="utf-8"))) if source.is_file() else set()
    return {"versions": versions(), "environment": {name: os.environ[name] for name in sorted(names - {*_OURS}) if name in os.environ}}


def _asked(python: str) -> Json:
    root = str(Path(next(iter(tuner.__path__))).parent)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}
    command = [str(Path(python).expanduser()), "-c", f"from {__name__} import main; main()"]
    try:
        done = subprocess.run(
            command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_ASK_TIMEOUT_S, check=True
        )
        found: Json = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise BadInput(f"engine_python {python} cannot be asked for its versions; name the Python that has vLLM") from error
    return found


def main() -> None:
    sys.stdout.write(json.dumps(here()))

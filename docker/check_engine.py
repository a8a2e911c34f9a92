"""Whether this Python holds the engine that pyproject.toml pins: `check_engine.py pyproject.toml`. Exit code 1 and one line where not.

Runs in the engine's Python, with the standard library only. In the published image vLLM is called `vllm`, on PyPI `vllm-tpu`.
"""

from __future__ import annotations

import re
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_NAMES = {"vllm-tpu": ("vllm-tpu", "vllm"), "tpu-inference": ("tpu-inference",)}


def installed(names: tuple[str, ...]) -> str | None:
    """The version of the first of these packages that is there, without its local part (`0.32.0+tpu` is 0.32.0)."""
    for name in names:
        try:
            return version(name).partition("+")[0]
        except PackageNotFoundError:
            continue
    return None


def problems(pyproject: Path) -> list[str]:
    """One line for each pinned engine package that is missing or of another version."""
    extras = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    pins = {match[1]: match[2] for line in extras["tpu"] if (match := re.fullmatch(r"([\w-]+)==([\w.]+)", line))}
    found = {name: installed(names) for name, names in _NAMES.items()}
    return [f"{name} is {found[name] or 'missing'}, {pins[name]} is needed" for name in _NAMES if found[name] != pins[name]]


if __name__ == "__main__":
    sys.exit("; ".join(problems(Path(sys.argv[1]))) or 0)

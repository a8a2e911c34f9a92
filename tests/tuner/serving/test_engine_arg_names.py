"""Names of engine arguments: those of the vLLM that is installed, read without importing it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.plugins.programs import Programs
from tuner.core.errors import BadInput
from tuner.serving.engine_arg_names import check_engine_arg_names, engine_arg_names


def fake_vllm(folder: Path, source: str) -> str:
    """A Python whose vLLM has this arg_utils.py."""
    package = folder / "site" / "vllm" / "engine"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "arg_utils.py").write_text(source)
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={folder / "site"} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return str(python)


@pytest.mark.slow
def test_they_are_the_fields_of_the_class(programs: Programs) -> None:
    code = "import dataclasses; from vllm.engine.arg_utils import EngineArgs; print(*(f.name for f in dataclasses.fields(EngineArgs)))"
    assert engine_arg_names(None) == frozenset(programs.execute(code).splitlines()[-1].split())


@pytest.mark.slow
def test_of_another_python(tmp_path: Path) -> None:
    python = fake_vllm(tmp_path, "raise RuntimeError('not to be run')\nclass EngineArgs:\n    model: str = ''\n    swap_space: int = 4\n")
    assert engine_arg_names(python) == frozenset({"model", "swap_space"})
    check_engine_arg_names({"swap-space": 1}, python)
    with pytest.raises(BadInput, match=r"engine_args: vLLM has no swap_spce; did you mean swap_space\?"):
        check_engine_arg_names({"swap_spce": 1}, python)
    with pytest.raises(BadInput, match="engine_args: vLLM has no zzz; see vllm serve --help"):
        check_engine_arg_names({"zzz": 1}, python)


@pytest.mark.parametrize("source", ["def broken(", "class Other:\n    model: str\n"])
def test_what_cannot_be_read_is_not_judged(tmp_path: Path, source: str) -> None:
    python = fake_vllm(tmp_path, source)
    assert engine_arg_names(python) is None
    check_engine_arg_names({"anything": 1}, python)


def test_a_python_that_is_not_there_is_not_judged() -> None:
    assert engine_arg_names("/nowhere/python") is None

"""Asking JAX for its devices in a subprocess: an answer or one line why not, never an exception."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tuner.engine.devices import Devices, find_devices


def python_that(folder: Path, body: str) -> str:
    """An executable that stands in for a Python."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def test_the_last_line_is_the_answer(tmp_path: Path) -> None:
    python = python_that(tmp_path, """echo noise; echo '{"platform": "tpu", "kind": "TPU v6 lite", "count": 4}'""")
    assert find_devices(python) == Devices("tpu", "TPU v6 lite", 4)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("echo 'first' >&2; echo 'ModuleNotFoundError: jax' >&2; exit 1", "ModuleNotFoundError: jax"),
        ("exit 3", "JAX ended with exit code 3"),
        ("echo nonsense", "JAX ended with exit code 0"),
    ],
)
def test_no_answer_is_one_line(tmp_path: Path, body: str, message: str) -> None:
    assert find_devices(python_that(tmp_path, body)).error == message


def test_a_hang_ends(tmp_path: Path) -> None:
    found = find_devices(python_that(tmp_path, "exec sleep 60"), timeout_s=0.2)
    assert found.error is not None and found.error.startswith("JAX did not answer within 0.2 s")


def test_a_python_that_is_not_there() -> None:
    assert find_devices("/nowhere/python").error == "/nowhere/python cannot be started: No such file or directory"


def test_the_platform_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    python = python_that(tmp_path, """echo "{\\"platform\\": \\"$JAX_PLATFORMS\\", \\"kind\\": \\"k\\", \\"count\\": 1}\"""")
    assert find_devices(python, platform="tpu").platform == "tpu"


@pytest.mark.slow
def test_our_own_python_has_jax() -> None:
    pytest.importorskip("jax", reason="needs JAX")
    assert find_devices(sys.executable, platform="cpu").platform == "cpu"

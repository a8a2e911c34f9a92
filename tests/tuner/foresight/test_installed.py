"""What decides a compilation, read from this Python and from another one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tuner.core.errors import BadInput
from tuner.foresight import installed as module
from tuner.foresight.installed import here, installed


def test_versions_and_the_engines_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIBTPU_INIT_ARGS", "--xla_a=b")
    monkeypatch.setenv("MIN_TOKEN_BUCKET", "32")
    monkeypatch.setenv("TPU_NAME", "mine")
    found = here()
    assert {"jax", "libtpu", "tpu_inference"} <= set(found["versions"])
    assert found["environment"]["LIBTPU_INIT_ARGS"] == "--xla_a=b"
    assert found["environment"]["MIN_TOKEN_BUCKET"] == "32"
    assert "TPU_NAME" not in found["environment"] and "HOME" not in found["environment"]


@pytest.mark.slow
def test_another_python_says_the_same() -> None:
    assert installed(sys.executable) == installed(None)


@pytest.mark.parametrize("missing", ["libtpu", "jax", "tpu_inference"])
def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    have = {name: "1" for name in ("libtpu", "jax", "tpu_inference", "vllm") if name != missing}
    monkeypatch.setattr(module, "versions", lambda: have)
    with pytest.raises(BadInput, match=f"foresight needs {missing.replace('_', '-')}, not installed in this Python; install vllm-tpu"):
        installed(None)


@pytest.mark.parametrize("script", ["exit 3", "echo nothing", "echo"])
def test_a_python_that_cannot_be_asked(tmp_path: Path, script: str) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    with pytest.raises(BadInput, match=f"engine_python {python} cannot be asked for its versions"):
        installed(str(python))

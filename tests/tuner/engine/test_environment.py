from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path

import pytest

from tuner.engine.environment import engine_environment, use_xla_cache, xla_cache_path


def test_the_xla_cache_has_a_folder_for_each_version_of_what_compiles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path))
    found = {"jaxlib": "1", "libtpu": "1", "vllm-tpu": "1", "tpu-inference": "1"}
    monkeypatch.setattr(importlib.metadata, "version", lambda name: found[name])
    before = xla_cache_path()
    assert before.parent == tmp_path / "xla"
    for name in found:
        monkeypatch.setitem(found, name, "2")
        assert xla_cache_path() != before
        monkeypatch.setitem(found, name, "1")
    assert xla_cache_path() == before


def test_the_cache_is_named_where_the_versions_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's Python may have no engine at all (--engine-python): it must not name the folder."""
    assert "VLLM_XLA_CACHE_PATH" not in engine_environment("cpu", offline=True, base={})
    monkeypatch.setenv("VLLM_XLA_CACHE_PATH", "to be put back")
    monkeypatch.delenv("VLLM_XLA_CACHE_PATH")
    use_xla_cache()
    assert os.environ["VLLM_XLA_CACHE_PATH"] == str(xla_cache_path())
    monkeypatch.setenv("VLLM_XLA_CACHE_PATH", "/mine")
    use_xla_cache()
    assert os.environ["VLLM_XLA_CACHE_PATH"] == "/mine"
    assert engine_environment("cpu", offline=True, base={"VLLM_XLA_CACHE_PATH": "/mine"})["VLLM_XLA_CACHE_PATH"] == "/mine"

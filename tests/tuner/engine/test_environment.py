from __future__ import annotations

import os
from pathlib import Path
from urllib.request import proxy_bypass

import pytest

from tuner.core.defaults import cache_root
from tuner.engine import environment
from tuner.engine.environment import engine_environment, use_xla_cache, xla_cache_path
from tuner.setup.models import TINY_QWEN3, resolve_model


def test_the_xla_cache_has_a_folder_for_each_version_of_what_compiles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path))
    found = {"jaxlib": "1", "libtpu": "1", "vllm-tpu": "1", "tpu-inference": "1"}
    monkeypatch.setattr(environment, "package_version", lambda name: found[name])
    before = xla_cache_path()
    assert before.parent == tmp_path / "xla"
    for name in found:
        monkeypatch.setitem(found, name, "2")
        assert xla_cache_path() != before
        monkeypatch.setitem(found, name, "1")
    assert xla_cache_path() == before


@pytest.mark.parametrize("value", [None, ""])
def test_an_empty_tuner_cache_is_none_for_whoever_asks(value: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """XLA's cache lay in the current folder then, models and locks below the home."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("TUNER_CACHE", raising=False)
    if value is not None:
        monkeypatch.setenv("TUNER_CACHE", value)
    below_home = tmp_path / ".cache" / "vllm-tpu-tuner"
    assert cache_root() == below_home
    assert xla_cache_path().parent == below_home / "xla"
    assert Path(resolve_model(TINY_QWEN3).path).parent == below_home / "models"


def test_a_tilde_and_a_relative_tuner_cache_name_one_place_from_every_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A quoted ~ made a folder called ~."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TUNER_CACHE", "~/cache")
    assert cache_root() == tmp_path / "cache"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUNER_CACHE", "mine")
    assert xla_cache_path().parent == tmp_path / "mine" / "xla"


def test_the_cache_is_named_where_the_versions_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's Python may have no engine at all (--engine-python): it must not name the folder."""
    monkeypatch.setenv("VLLM_XLA_CACHE_PATH", "to be put back")
    monkeypatch.delenv("VLLM_XLA_CACHE_PATH")
    assert "VLLM_XLA_CACHE_PATH" not in engine_environment("cpu", offline=True)
    use_xla_cache()
    assert os.environ["VLLM_XLA_CACHE_PATH"] == str(xla_cache_path())
    monkeypatch.setenv("VLLM_XLA_CACHE_PATH", "/mine")
    use_xla_cache()
    assert os.environ["VLLM_XLA_CACHE_PATH"] == "/mine"
    assert engine_environment("cpu", offline=True)["VLLM_XLA_CACHE_PATH"] == "/mine"


@pytest.mark.parametrize("given", [{}, {"NO_PROXY": "example.org"}, {"no_proxy": "a.b, c.d"}, {"no_proxy": "a.b", "NO_PROXY": "c.d"}])
def test_a_proxy_is_not_asked_for_this_machine(given: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """`vllm bench serve` sent its requests for 127.0.0.1 to HTTP_PROXY."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://proxy:3128")
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    for name, value in engine_environment("cpu", offline=False).items():
        monkeypatch.setenv(name, value)
    bypassed = [host for host in ("127.0.0.1:8000", "localhost:8000", "elsewhere.org", "a.b", "c.d", "example.org") if proxy_bypass(host)]
    assert bypassed == [
        "127.0.0.1:8000",
        "localhost:8000",
        *(host for host in ("a.b", "c.d", "example.org") if host in " ".join(given.values())),
    ]


def test_no_proxy_at_all_stays_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    assert engine_environment("cpu", offline=False)["no_proxy"] == "*"

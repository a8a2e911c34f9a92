"""`tuner recommend --model`: a recommendation that was measured with other versions than those installed here says so."""

from __future__ import annotations

import pytest

from tests.tuner.cli.terminal import Terminal

LOOK_UP = ("recommend", "--model", "tiny-qwen3", "--accelerator", "fake engine")


@pytest.mark.slow
def test_the_same_versions(searched: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.engine.environment.versions", lambda: {"vllm": "0", "python": "9"})
    assert searched.run(*LOOK_UP, "--json").json["stale"] == {"stale": False, "reasons": []}
    assert "stale" not in searched.run(*LOOK_UP).out


def test_another_version(searched: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.engine.environment.versions", lambda: {"vllm": "1"})
    assert searched.run(*LOOK_UP, "--json").json["stale"] == {"stale": True, "reasons": ["vllm was 0, is 1"]}
    assert "stale: vllm was 0, is 1; measure again with tuner search" in searched.run(*LOOK_UP).out


def test_a_named_study_is_shown_as_it_is(searched: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.engine.environment.versions", lambda: {"vllm": "1"})
    assert searched.run("recommend", "s", "--json").json["stale"] == {"stale": False, "reasons": []}

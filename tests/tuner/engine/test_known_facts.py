"""What vLLM said about a model's folder is asked once, for as long as nothing that it depends on changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tuner.engine import known_facts
from tuner.engine.known_facts import facts_of

Json = dict[str, Any]


class Vllm:
    """Says what it is told to, and counts."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer: Json | None = {"facts": {"max_model_len": 4096}}

    def __call__(self, questions: Sequence[Json], python: str | None, env: Mapping[str, str]) -> list[Json] | None:
        self.asked += 1
        return None if self.answer is None else [self.answer]


@pytest.fixture
def vllm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vllm:
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))
    made = Vllm()
    monkeypatch.setattr(known_facts, "ask_vllm", made)
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"model_type": "qwen3"}')
    return tmp_path / "model"


def asked(vllm: Vllm, question: Json, python: str | None = None) -> int:
    """How often vLLM was asked for two answers, which are the same."""
    before = vllm.asked
    assert facts_of(question, python, {}) == facts_of(question, python, {}) == vllm.answer
    return vllm.asked - before


def test_the_second_time_nobody_is_asked(vllm: Vllm, folder: Path) -> None:
    assert asked(vllm, {"model": str(folder)}) == 1


def test_the_same_files_in_another_folder_are_the_same_model(vllm: Vllm, folder: Path) -> None:
    asked(vllm, {"model": str(folder)})
    assert asked(vllm, {"model": str(folder.rename(folder.with_name("moved")))}) == 0


@pytest.mark.parametrize("name", ["config.json", "params.json"])
def test_another_configuration_is_another_question(vllm: Vllm, folder: Path, name: str) -> None:
    asked(vllm, {"model": str(folder)})
    (folder / name).write_text('{"model_type": "llama"}')
    assert asked(vllm, {"model": str(folder)}) == 1


def test_other_arguments_and_versions_are_other_questions(vllm: Vllm, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked(vllm, {"model": str(folder)})
    assert asked(vllm, {"model": str(folder), "hf_overrides": {"rope_theta": 1.0}}) == 1
    monkeypatch.setattr(known_facts, "versions", lambda: {"vllm": "next"})
    assert asked(vllm, {"model": str(folder)}) == 1


@pytest.mark.parametrize("changes", [{"trust_remote_code": True}, {"model": "Qwen/Qwen3-0.6B"}])
def test_what_more_than_the_folder_decides_is_asked_each_time(vllm: Vllm, folder: Path, changes: Json) -> None:
    assert asked(vllm, {"model": str(folder), **changes}) == 2


def test_of_another_python_the_versions_are_not_known(vllm: Vllm, folder: Path) -> None:
    assert asked(vllm, {"model": str(folder)}, "/other/python") == 2


@pytest.mark.parametrize("answer", [{"error": "no such architecture"}, None])
def test_a_refusal_is_asked_again(vllm: Vllm, folder: Path, answer: Json | None) -> None:
    vllm.answer = answer
    assert asked(vllm, {"model": str(folder)}) == 2


@pytest.mark.parametrize("text", ["", "{", "[]", '{"facts": 1}'])
def test_a_damaged_answer_is_asked_again(vllm: Vllm, folder: Path, tmp_path: Path, text: str) -> None:
    asked(vllm, {"model": str(folder)})
    (kept,) = (tmp_path / "cache" / "known-models").iterdir()
    kept.write_text(text)
    assert asked(vllm, {"model": str(folder)}) == 1


def test_a_cache_that_cannot_be_written_costs_only_time(vllm: Vllm, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert asked(vllm, {"model": str(folder)}) == 2

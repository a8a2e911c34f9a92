"""`tuner doctor --model` and a dry run on models as they are published."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests.tuner.cli.terminal import Terminal, is_one_line_error
from tests.tuner.setup.published import model_folder
from tuner.cli.model_check import check_model
from tuner.engine import known_facts
from tuner.engine.environment import engine_environment
from tuner.engine.model_facts import Json, ask_vllm

BASIC = ("--chunk-budgets", "128,256", "--page-sizes", "16,32", "--workload", "demo", "--platform", "cpu", "--dry-run", "--study", "s")
ASKED = ("gpt-oss", "gemma-3-4b-it", "deepseek-v2-lite")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """The models' folders. vLLM is asked about all of them at once, in its own process: each time it is asked it imports vLLM."""
    folders = {name: model_folder(tmp_path_factory.mktemp("published"), name) for name in ASKED}
    questions = [{"model": str(folder)} for folder in folders.values()]
    answers = ask_vllm(questions, None, engine_environment("cpu", offline=True))
    if answers is None:
        pytest.skip("vLLM is not installed (extra: tpu)")
    known = dict(zip(map(str, folders.values()), answers, strict=True))

    def as_it_said(asked: Sequence[Json], _python: str | None, _env: Mapping[str, str]) -> list[Json]:
        assert all(set(question) == {"model"} for question in asked), "these were the questions"
        return [known[question["model"]] for question in asked]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(known_facts, "ask_vllm", as_it_said)
        yield folders


def test_the_built_in_model_is_described() -> None:
    ok, found, fix = check_model("tiny-qwen3", None, "cpu")
    assert ok and not fix
    assert "2 layers, 4 attention heads (2 of keys and values, 64 wide), full attention, up to 4096 tokens" in found
    assert "served in bfloat16" in found


@pytest.mark.parametrize("name", ["nope", "/nowhere/model", ""])
def test_a_model_that_is_not_there(name: str) -> None:
    ok, found, _fix = check_model(name, None, "cpu")
    assert not ok and "unknown model" in found


@pytest.mark.slow
def test_a_model_that_cannot_be_searched_here_is_told_by_doctor(
    published: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path))
    ok, found, fix = check_model(str(published["gpt-oss"]), None, "cpu")
    assert not ok and "mixture of experts" in found and "attention sinks" in found and "choose a dense model" in fix


@pytest.mark.slow
def test_a_published_multimodal_model_is_planned_with_text_only(terminal: Terminal, published: dict[str, Path]) -> None:
    """It has neither heads nor vocabulary in its config.json."""
    result = terminal.run("search", "--model", published["gemma-3-4b-it"], "--storage", terminal.url, *BASIC)
    assert result.code == 0, result.err
    assert "multimodal, measured with text only: the recommended flags have --language-model-only" in result.err


@pytest.mark.slow
@pytest.mark.parametrize(("model", "words"), [("deepseek-v2-lite", "multi-head latent attention (MLA)")])
def test_a_search_of_what_cannot_run_is_refused_before_an_engine(
    terminal: Terminal, published: dict[str, Path], model: str, words: str
) -> None:
    result = terminal.run("search", "--model", published[model], "--storage", terminal.url, *BASIC)
    assert result.code == 2 and is_one_line_error(result) and words in result.err

"""What is compiled, what is kept, and what the answers say. (Real compilations: test_compiling.py.)"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.tuner.foresight.questions import COMPILED, PREPARED, ScriptedCompiler, questions_about
from tuner.core.errors import EngineLost, FailureClass, TrialFailed
from tuner.foresight.check import Foresight
from tuner.foresight.kept import KeptAnswers
from tuner.foresight.question import Foreseen, Verdict

HERE: dict[str, Any] = {"versions": {"libtpu": "0.0.48"}, "environment": {}}
SMEM = replace(COMPILED, failure="out_of_memory", message="RESOURCE_EXHAUSTED: Allocation (size=2) would exceed memory (size=1) space=smem")


class Desk:
    """Asks a scripted compiler, with what was kept before."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines: list[str] = []
        self.asked: list[str] = []

    def ask(
        self, compiler: ScriptedCompiler | None = None, installed: dict[str, Any] | None = None, *, every: bool = False, **settings: Any
    ) -> list[Foreseen]:
        compiler = compiler or ScriptedCompiler()
        foresight = Foresight(compiler, KeptAnswers(self.folder / "kept"), installed or HERE, self.lines.append)
        found = list(foresight.answer(questions_about(self.folder, **settings), all_programs=every))
        self.asked = compiler.asked
        return found


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))
    return Desk(tmp_path)


def test_the_two_programs_that_decide_are_compiled_and_the_second_asking_starts_nothing(desk: Desk) -> None:
    (first,) = desk.ask()
    assert desk.asked == ["prepare 64 128", "step 16", "step 128"]
    assert (first.verdict, first.reason, first.kept) == (Verdict.FITS, None, False)
    assert (first.pool_bytes, first.most_requests, first.hbm_left_bytes) == (648, 5, 200)
    (second,) = desk.ask()
    assert desk.asked == []
    assert replace(second, seconds=0.0, kept=False) == replace(first, seconds=0.0)
    assert second.kept


def test_what_is_not_kept_is_begun_at_once(desk: Desk) -> None:
    """So that two cores compile two programs; what is known already is no work."""
    compiler = ScriptedCompiler()
    desk.ask(compiler)
    desk.ask(compiler, every=True)
    desk.ask(compiler, every=True)
    assert compiler.begun == [[16, 128], [64, 16]], "the last: a step and the logits"


def test_weights_that_only_another_program_uses_count_as_well(desk: Desk) -> None:
    """A step does not use the weights of the logits, so the compiler does not count them for it."""
    (found,) = desk.ask(ScriptedCompiler([replace(PREPARED, weight_bytes=250)]))
    assert (found.verdict, found.hbm_left_bytes) == (Verdict.FITS, 1000 - 250 - 648 - 50)
    (full,) = desk.ask(ScriptedCompiler([replace(PREPARED, weight_bytes=303)]), page_sizes=[32])
    assert (full.verdict, full.kind, full.failure) == (Verdict.DOES_NOT_FIT, "HBM out of memory", FailureClass.OUT_OF_MEMORY)
    assert full.reason == "out of memory on HBM by 0.00 GiB: weights, KV pages and the largest program"


def test_a_step_of_decodes_is_compiled_once_for_all_budgets_of_a_page_size(desk: Desk) -> None:
    desk.ask(chunk_budgets=[64, 128])
    assert desk.asked == ["prepare 64 64", "step 16", "step 128", "prepare 64 128"]  # the script's engines have the same steps


def test_all_programs_are_compiled_where_that_is_asked_for_and_what_is_known_is_kept(desk: Desk) -> None:
    desk.ask()
    desk.ask(every=True)
    assert desk.asked == ["prepare 64 128", "step 64", "compute_logits 16"]


@pytest.mark.parametrize(
    "installed",
    [{**HERE, "versions": {"libtpu": "0.0.49"}}, {**HERE, "environment": {"RPA_V3_DECODE_BLOCK_SIZES": "1,2,3,4"}}],
    ids=["another libtpu", "another environment"],
)
def test_answers_of_another_installation_do_not_count(desk: Desk, installed: dict[str, Any]) -> None:
    desk.ask()
    desk.ask(installed=installed)
    assert desk.asked == ["prepare 64 128", "step 16", "step 128"]


@pytest.mark.parametrize(
    "changes",
    [
        {"page_sizes": [32]},
        {"max_num_seqs": 8},
        {"max_model_len": 1024},
        {"engine_args": {"kv_cache_dtype": "fp8"}},
        {"accelerators": "v5e-1"},
    ],
    ids=str,
)
def test_answers_to_another_question_do_not_count(desk: Desk, changes: dict[str, Any]) -> None:
    desk.ask()
    desk.ask(**changes)
    assert len(desk.asked) == 3


@pytest.mark.parametrize("changes", [{"seed": 7}, {"async_scheduling": True}, {"alignment_variant": "strict"}], ids=str)
def test_what_only_schedules_does_not_ask_anew(desk: Desk, changes: dict[str, Any]) -> None:
    desk.ask()
    desk.ask(**changes)
    assert desk.asked == []


def test_the_compilers_refusal_is_kept_with_its_class_and_its_words(desk: Desk) -> None:
    for asked in (["prepare 64 128", "step 16"], []):
        (found,) = desk.ask(ScriptedCompiler(compiles=[SMEM]))
        assert desk.asked == asked
        assert (found.verdict, found.failure, found.space) == (Verdict.DOES_NOT_FIT, FailureClass.OUT_OF_MEMORY, "smem")
        assert found.kind == "SMEM out of memory"
        assert found.reason is not None and found.reason.startswith("a step of 16 tokens: RESOURCE_EXHAUSTED: Allocation (size=2)")
        assert found.hbm_left_bytes is None


def test_where_the_engine_would_not_start_its_words_count_and_the_compiler_is_asked_once(desk: Desk) -> None:
    words = "total_hbm_used_gb=15.3GiB exceeds total_hbm_limit_cap_gb=14.5GiB"
    refused = replace(PREPARED, pages=17, refused=words)
    (found,) = desk.ask(ScriptedCompiler([refused]))
    assert desk.asked == ["prepare 64 128", "step 16"]
    assert (found.verdict, found.kind, found.reason) == (Verdict.DOES_NOT_FIT, "HBM out of memory", words)
    assert (found.most_requests, found.pool_bytes) == (None, None)


@pytest.mark.parametrize(
    ("failure", "verdict", "kind"),
    [
        (EngineLost(FailureClass.INVALID_CONFIG, "block_size 64 is refused by vLLM"), Verdict.DOES_NOT_FIT, "invalid setting"),
        (EngineLost(FailureClass.STARTUP, "the compiler process was ended by SIGSEGV during start"), Verdict.NOT_KNOWN, None),
        (EngineLost(FailureClass.TIMEOUT, "compiler start took more than 600 s"), Verdict.NOT_KNOWN, None),
        (EngineLost(FailureClass.OUT_OF_MEMORY, "the kernel's out-of-memory killer ended the compiler process"), Verdict.NOT_KNOWN, None),
    ],
    ids=lambda value: value.failure.value if isinstance(value, TrialFailed) else None,
)
def test_an_engine_that_cannot_be_built_is_refused_or_not_known_and_asked_again(
    desk: Desk, failure: TrialFailed, verdict: Verdict, kind: str | None
) -> None:
    for _ in range(2):
        (found,) = desk.ask(ScriptedCompiler([failure]))
        assert desk.asked == ["prepare 64 128"]
        assert (found.verdict, found.kind, found.reason) == (verdict, kind, str(failure))


def test_a_compiler_that_dies_over_one_program_is_no_answer(desk: Desk) -> None:
    (found,) = desk.ask(ScriptedCompiler(compiles=[COMPILED, EngineLost(FailureClass.ENGINE_CRASH, "the compiler process is gone")]))
    assert (found.verdict, found.reason) == (Verdict.NOT_KNOWN, "the compiler process is gone")
    (again,) = desk.ask()
    assert again.verdict is Verdict.FITS and desk.asked == ["prepare 64 128", "step 128"]


def test_a_model_that_is_not_known_says_why_and_is_kept(desk: Desk) -> None:
    unknown = replace(PREPARED, pages=0, programs=(), not_known="model: tpu-inference runs X as vLLM's own model")
    for asked in (["prepare 64 128"], []):
        (found,) = desk.ask(ScriptedCompiler([unknown]))
        assert desk.asked == asked
        assert (found.verdict, found.reason, found.pool_bytes) == (Verdict.NOT_KNOWN, unknown.not_known, None)


def test_an_answer_as_json_has_the_numbers_and_no_infinity(desk: Desk) -> None:
    (found,) = desk.ask()
    document = found.to_json()
    assert (document["verdict"], document["most_requests"], document["pages"]) == ("fits", 5, 81)
    assert document["programs"][0]["program"] == {"kind": "step", "size": 16}
    (other,) = desk.ask(ScriptedCompiler(compiles=[SMEM]), page_sizes=[16])
    assert (other.to_json()["failure"], other.to_json()["memory_space"]) == ("out_of_memory", "smem")

"""The compiler as a rule of a search: what is skipped, what is believed, and what is left to the rules."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.tuner.fake_engine import FakeLauncher
from tests.tuner.foresight.questions import COMPILED, PREPARED, ScriptedCompiler
from tests.tuner.workbench import Workbench, config_of
from tuner.core.errors import BadInput, EngineLost, FailureClass
from tuner.foresight import judge as module
from tuner.foresight.check import Foresight
from tuner.foresight.judge import CompilerJudge, judge_for
from tuner.foresight.kept import KeptAnswers
from tuner.foresight.target import target_of
from tuner.setup.hardware import TPU_LIMITS
from tuner.setup.study_setup import StudySetup, prepare_study

V6E = TPU_LIMITS["TPU v6e"]
SMEM = replace(COMPILED, failure="out_of_memory", message="Allocation (size=2) would exceed memory (size=1) ... space=smem")
UNKNOWN = replace(PREPARED, pages=0, programs=(), not_known="model: tpu-inference runs X as vLLM's own model")
# At 4,096 tokens and 1,024 requests the rule of thumb forbids a page of 16.
LONG: dict[str, Any] = {"max_model_len": 4096, "max_num_seqs": 1024, "chunk_budgets": [1024, 2048], "page_sizes": [16, 64]}


def judge(folder: Path, compiler: ScriptedCompiler) -> CompilerJudge:
    return CompilerJudge(target_of("v6e", 1), compiler, Foresight(compiler, KeptAnswers(folder / "kept"), {}, lambda _line: None))


def setup_with(folder: Path, compiler: ScriptedCompiler, **changes: Any) -> StudySetup:
    return prepare_study(config_of(**{**LONG, **changes}), V6E, judge(folder, compiler))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))


def test_what_does_not_compile_is_skipped_in_the_compilers_words(tmp_path: Path) -> None:
    setup = setup_with(tmp_path, ScriptedCompiler(compiles=[SMEM, COMPILED]))
    (line,) = (line for line in setup.warnings if "skipped" in line)
    assert line == (
        f"page_sizes: 16 does not run on TPU v6e: SMEM out of memory: a step of 16 tokens: {SMEM.message}; "
        "use larger pages, or lower max_num_seqs or max_model_len (skipped)"
    )
    assert setup.infeasible(setup.group_engine(64)) == []


def test_where_nothing_compiles_the_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="page_sizes: 16 does not run on TPU v6e: SMEM out of memory"):
        setup_with(tmp_path, ScriptedCompiler(compiles=[SMEM]))


def test_the_compiler_is_believed_against_the_rule_of_thumb(tmp_path: Path) -> None:
    without = prepare_study(config_of(**LONG), V6E)
    assert any("above 524288, half of TPU v6e's SMEM" in line for line in without.warnings)
    assert not any("SMEM" in line for line in setup_with(tmp_path, ScriptedCompiler()).warnings)


@pytest.mark.parametrize(
    "compiler",
    [
        ScriptedCompiler([UNKNOWN]),
        ScriptedCompiler([EngineLost(FailureClass.STARTUP, "the compiler process was ended by SIGSEGV during start")]),
        ScriptedCompiler([EngineLost(FailureClass.INVALID_CONFIG, "vLLM does not find the model")]),
        ScriptedCompiler(compiles=[EngineLost(FailureClass.TIMEOUT, "compiler compile took more than 1800 s")]),
    ],
    ids=["a model that is not known", "a compiler that dies", "a setting that vLLM refuses", "one that takes too long"],
)
def test_where_the_compiler_does_not_know_the_rules_apply(tmp_path: Path, compiler: ScriptedCompiler) -> None:
    assert any("half of TPU v6e's SMEM" in line for line in setup_with(tmp_path, compiler).warnings)


def test_a_simple_rule_is_not_compiled(tmp_path: Path) -> None:
    compiler = ScriptedCompiler()
    with pytest.raises(BadInput, match="num_gpu_blocks: 2 pages of 16"):
        setup_with(tmp_path, compiler, num_gpu_blocks=2)
    assert compiler.asked == []


def test_finalists_with_a_smaller_budget_are_not_compiled_anew(tmp_path: Path) -> None:
    compiler = ScriptedCompiler()
    setup = setup_with(tmp_path, compiler)
    assert (Path(setup.model.path) / "config.json").is_file(), "vLLM reads it there"
    asked = list(compiler.asked)
    for configuration in setup.space.configurations:
        assert setup.infeasible(setup.cold_engine(configuration)) == []
    assert compiler.asked == asked


@pytest.mark.slow
def test_a_search_measures_what_is_left(tmp_path: Path, bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The skipped page size is stored as PRUNED with the reason, no engine is started for it, and the other one is measured."""
    compiler = ScriptedCompiler(compiles=[SMEM, COMPILED])
    monkeypatch.setattr("tests.tuner.workbench.prepare_study", lambda config: prepare_study(config, V6E, judge(tmp_path, compiler)))
    launcher = FakeLauncher()
    bench.run(launcher)
    by_page = {size: [trial for trial in bench.trials() if trial.block_size == size] for size in (16, 32)}
    assert {trial.state.value for trial in by_page[32]} == {"COMPLETE"}
    assert {trial.state.value for trial in by_page[16]} == {"PRUNED"}
    assert all("does not run on TPU v6e: SMEM out of memory" in str(trial.error_message) for trial in by_page[16])


def test_asked_for_where_it_cannot_be_had_is_refused_and_by_itself_only_told(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    with pytest.raises(BadInput, match="foresight on: needs a TPU here; drop it; tuner foresee check compiles for any TPU"):
        judge_for(config_of(foresight=True), None, lines.append)
    with pytest.raises(BadInput, match="foresight: accelerator TPU v4 cannot be compiled for"):
        judge_for(config_of(foresight=True), TPU_LIMITS["TPU v4"], lines.append)
    monkeypatch.setattr(module, "installed", lambda _python: _missing())
    assert lines == []
    assert judge_for(config_of(), V6E, lines.append) is None
    assert lines == ["warning: no foresight: foresight needs libtpu, not installed in this Python"]


def _missing() -> Any:
    raise BadInput("foresight needs libtpu, not installed in this Python")


def test_on_a_tpu_there_is_one(tmp_path: Path) -> None:
    found = judge_for(config_of(), V6E, print)
    assert found is not None
    found.rest()

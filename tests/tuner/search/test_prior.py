"""Foresight as a prior: it helps, it is dropped where it is wrong, and it is never taken for a measurement."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from storage.records import Environment
from tests.tuner.fake_engine import FOUND, FakeLauncher
from tests.tuner.search.foreseen import MODEL, ScriptedPrior
from tests.tuner.search.hill import BEST, SPACE, measured, value
from tests.tuner.workbench import Workbench, config_of
from tuner.core.contract import EngineSettings
from tuner.engine.environment import fingerprint
from tuner.foresight.prediction import readable
from tuner.report.evidence_report import method_text
from tuner.search.prior import SimulatedPrior, observations
from tuner.setup.space import Configuration
from tuner.setup.study_setup import prepare_study
from tuner.verdict.conclude import load_evidence

pytestmark = pytest.mark.usefixtures("shared_simulation_host")


def half(configuration: Configuration) -> float:
    """Right about the order, wrong about the level."""
    return value(configuration) / 2


@pytest.mark.slow
def test_a_search_that_foresees_finds_the_best_sooner(bench: Workbench) -> None:
    bench.run(FakeLauncher(value=value), study="with", trials=6, prior=ScriptedPrior(half), **SPACE)
    bench.run(FakeLauncher(value=value), study="without", trials=6, warm_start="none", **SPACE)
    assert BEST in measured(bench, "with")[:3] and BEST not in measured(bench, "without")[:3]


@pytest.mark.slow
def test_foresight_that_is_wrong_does_not_hide_the_best(bench: Workbench) -> None:
    wrong = ScriptedPrior(lambda item: 2000 - value(item))
    bench.run(FakeLauncher(value=value), study="s", trials=12, prior=wrong, **SPACE)
    assert BEST in measured(bench, "s")


@pytest.mark.slow
def test_what_was_foreseen_is_no_trial_no_value_and_no_recommendation(bench: Workbench) -> None:
    outcome = bench.run(FakeLauncher(value=value), trials=6, prior=ScriptedPrior(half), **SPACE)
    study = outcome.study
    assert len(bench.trials()) == len(bench.optuna_trials()) == 6
    stored = bench.storage.list_measurements(study_id=study.id)
    assert all(item.metrics["total_token_throughput"] > 500 for item in stored), "the predicted ones are half of it"
    assert all((trial.values or {"throughput": 999})["throughput"] > 500 for trial in bench.trials(None))
    rows = bench.storage.list_foresight(kind="configuration", model="tiny-qwen3", accelerators=["fake engine"])
    assert len(rows) == 16
    assert outcome.recommendation.body["expected"]["total_token_throughput"]["value"] > 500
    assert bench.storage.list_recommendations() == [outcome.recommendation]


@pytest.mark.slow
def test_the_report_and_the_run_say_so(bench: Workbench) -> None:
    outcome = bench.run(FakeLauncher(value=value), trials=4, prior=ScriptedPrior(half), **SPACE)
    words = f"predicted for 16 configurations by simulation; {MODEL.error.sentence}"
    assert f"prior: {words}" in bench.lines
    said = f"The sampler chose with a prior: {words}. No predicted value is among the results."
    assert said in method_text(load_evidence(bench.storage, outcome.study))
    plain = bench.run(FakeLauncher(value=value), study="plain", trials=2, warm_start="none", **SPACE)
    assert "prior" not in method_text(load_evidence(bench.storage, plain.study))


@pytest.mark.slow
def test_a_resumed_study_goes_on_with_what_it_began_with(bench: Workbench) -> None:
    first, later = ScriptedPrior(half), ScriptedPrior(lambda item: 2000 - value(item))
    bench.run(FakeLauncher(value=value), trials=2, prior=first, **SPACE)
    bench.run(FakeLauncher(value=value), trials=4, prior=later, resume=True, **SPACE)
    assert (first.asked, later.asked) == (1, 0)
    assert BEST in measured(bench, "s")[:5]
    bench.run(FakeLauncher(value=value), trials=2, prior=None, resume=True, **SPACE)
    assert len(measured(bench, "s")) == 8


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["grid", "random", "tpe"])
def test_samplers_without_a_use_for_it_do_not_simulate(bench: Workbench, sampler: str) -> None:
    prior = ScriptedPrior(half)
    bench.run(FakeLauncher(value=value), trials=3, sampler=sampler, prior=prior, **SPACE)
    assert prior.asked == 0 and not any("prior" in line for line in bench.lines)


REAL: dict[str, Any] = {"page_sizes": [16, 64], "chunk_budgets": [128, 256]}
HERE = Environment(fingerprint(FOUND), "fake", "fake engine", 1, {"vllm": "0"})


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_real_scheduler_plays_the_searchs_own_requests_and_the_second_asking_starts_nothing(bench: Workbench, tmp_path: Path) -> None:
    setup = prepare_study(config_of("s", slos=["ttft_p99_ms<=1000"], **REAL))
    setup.model.prepare()
    lines: list[str] = []
    rows = SimulatedPrior(MODEL, tmp_path / "logs", None).predict(setup, bench.storage, HERE, lines.append)
    assert lines == []
    found = [item for _, item in readable(rows)]
    assert {(item.block_size, item.max_num_batched_tokens, item.arm) for item in found} == {
        (*item.cell, item.arm) for item in setup.space.configurations
    }
    for item in found:
        throughput, ttft = item.metrics["total_token_throughput"], item.metrics["ttft_p99_ms"]
        assert throughput.low == pytest.approx(throughput.value / 1.2, rel=1e-6)
        assert throughput.high == pytest.approx(throughput.value / 0.9, rel=1e-6)
        assert ttft.low < ttft.value < ttft.high
        assert item.config["block_size"] == item.block_size
        assert ("--scheduler-cls" in item.vllm_args) == (item.arm == "page_aligned")
    told = observations(setup, rows)
    assert len(told) == 8 and all(item.values is not None and "ttft_p99_ms<=1000" in item.constraints for item in told)
    nobody = SimulatedPrior(MODEL, tmp_path / "logs", "/nowhere/python")
    again = nobody.predict(setup, bench.storage, HERE, lines.append)
    assert [row.key for row in again] == [row.key for row in rows] and lines == []
    other = prepare_study(config_of("s", objective="ttft_p99_ms", seed=1, **REAL))
    assert nobody.predict(other, bench.storage, HERE, lines.append) == []
    assert any("has no prediction" in line for line in lines)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_each_level_of_a_live_factor_has_a_prediction_of_its_own(bench: Workbench, tmp_path: Path) -> None:
    """The scheduler is simulated with it: fewer requests at once wait longer for their first token."""
    setup = prepare_study(config_of("s", page_sizes=[16], chunk_budgets=[256], factors={"max_num_seqs": [2, 8]}))
    setup.model.prepare()
    rows = SimulatedPrior(MODEL, tmp_path / "logs", None).predict(setup, bench.storage, HERE, print)
    found = {(item.arm, item.factors["max_num_seqs"]): item for _, item in readable(rows)}
    assert found.keys() == {("default", 2), ("default", 8), ("page_aligned", 2), ("page_aligned", 8)}
    for arm in ("default", "page_aligned"):
        assert found[arm, 2].metrics["ttft_p99_ms"].value > found[arm, 8].metrics["ttft_p99_ms"].value
    assert found["default", 2].config["max_num_seqs"] == 2
    assert {change["setting"] for change in found["default", 2].changes} >= {"max_num_seqs"}
    assert {item.configuration for item in observations(setup, rows)} == set(setup.space.configurations)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_does_not_fit_has_no_prediction_and_the_others_have(bench: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = prepare_study(config_of("s", **REAL))
    setup.model.prepare()
    monkeypatch.setattr(type(setup), "infeasible", lambda _self, engine: ["no"] if engine.block_size == 16 else [])
    rows = SimulatedPrior(MODEL, tmp_path / "logs", None).predict(setup, bench.storage, HERE, lambda _line: None)
    assert {item.block_size for _, item in readable(rows)} == {64}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_simulating_that_takes_too_long_ends(bench: Workbench, tmp_path: Path) -> None:
    setup = prepare_study(config_of("s", **REAL))
    setup.model.prepare()
    clock = iter([0.0, 1.0, 2.0, 700.0])
    lines: list[str] = []
    prior = SimulatedPrior(MODEL, tmp_path / "logs", None, now=lambda: next(clock))
    assert len(prior.predict(setup, bench.storage, HERE, lines.append)) == 2
    assert lines == ["prior: simulating took more than 600 s; the other configurations have no prediction"]


@pytest.mark.slow
def test_rows_of_another_version_are_passed_over(bench: Workbench) -> None:
    setup = prepare_study(config_of("s", **SPACE))
    rows = ScriptedPrior(half).predict(setup, bench.storage, HERE, print)
    answers: list[dict[str, Any]] = [{}, {"block_size": 16}, {**rows[2].answer, "new": 1}]
    damaged = [replace(row, answer=answer) for row, answer in zip(rows, answers, strict=False)]
    assert observations(setup, damaged) == []
    assert len(observations(setup, [*damaged, *rows[3:]])) == 13


def test_settings_of_an_engine_are_in_the_key(tmp_path: Path) -> None:
    """Two searches that differ in what steps or schedules depend on never share a prediction."""
    prior = SimulatedPrior(MODEL, tmp_path, None)
    family = prior._family(prepare_study(config_of("s", **REAL)), HERE)
    assert family["engine"].keys() | {"model", "model_path", "block_size", "env"} == set(EngineSettings.__dataclass_fields__)
    others: list[dict[str, Any]] = [
        {"max_num_seqs": 4},
        {"workload": "chat"},
        {"seed": 3},
        {"dtype": "bfloat16"},
        {"enable_prefix_caching": False},
    ]
    for changes in others:
        assert prior._family(prepare_study(config_of("s", **REAL, **changes)), HERE) != family, changes

"""The read-only verbs find in storage what the run concluded."""

from __future__ import annotations

import pytest

from storage.records import Environment, Stage, Study
from tests.tuner.workbench import FinishedStudy, Workbench
from tuner.core.errors import BadInput
from tuner.verdict.conclude import compare_stored, compared_metrics, load_evidence, recommend_stored, stock_settings


def test_what_is_stored_gives_the_same_answer_again(grid: FinishedStudy) -> None:
    study = grid.bench.storage.get_study("s")
    again = compare_stored(grid.bench.storage, study)
    assert again.answers == grid.outcome.comparison.answers
    assert recommend_stored(grid.bench.storage, study).body == grid.outcome.recommendation.body


def test_the_objectives_metric_comes_first_and_side_metrics_follow(grid: FinishedStudy) -> None:
    study = grid.bench.storage.get_study("s")
    measurements = grid.bench.storage.list_measurements(study_id=study.id)
    assert compared_metrics(study, measurements) == ["total_token_throughput", "ttft_p99_ms"]


def test_one_metric_can_be_asked_for(grid: FinishedStudy) -> None:
    study = grid.bench.storage.get_study("s")
    assert list(compare_stored(grid.bench.storage, study, ["ttft_p99_ms"]).answers) == ["ttft_p99_ms"]
    with pytest.raises(BadInput, match="metric 'speed' is unknown"):
        compare_stored(grid.bench.storage, study, ["speed"])


def test_evidence_holds_everything(grid: FinishedStudy) -> None:
    evidence = load_evidence(grid.bench.storage, grid.bench.storage.get_study("s"))
    assert len(evidence.trials) == 10 and len(evidence.measurements) == 30 and len(evidence.profiles) == 4
    assert evidence.environment is not None and evidence.environment.platform == "fake"
    assert evidence.workload is not None and evidence.workload.name == "demo"
    assert evidence.stock == {"block_size": 32, "max_num_batched_tokens": 2048}


def test_confirmation_does_not_enter_the_comparison(grid: FinishedStudy) -> None:
    confirm = {trial.id for trial in grid.bench.trials(Stage.CONFIRM)}
    comparisons = grid.outcome.comparison.comparisons
    assert not any({item.baseline_trial_id, item.candidate_trial_id} & confirm for item in comparisons)


def test_the_budget_of_chips_with_much_memory_is_not_known() -> None:
    study = Study("s", "m", {"resolved": {"max_model_len": 512}}, "throughput")
    chip = Environment("f", "tpu", "TPU v5p-4", 4, {})
    assert stock_settings(study, chip) == {"block_size": 32}


def test_a_study_that_has_not_begun_recommends_nothing(bench: Workbench) -> None:
    study = bench.storage.create_study(Study("empty", "m", {"slos": []}, "throughput"))
    assert recommend_stored(bench.storage, study).body["reason"] == "the study has no trial yet"
    assert compare_stored(bench.storage, study).comparisons == ()

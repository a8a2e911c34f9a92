"""The read-only verbs find in storage what the run concluded."""

from __future__ import annotations

from dataclasses import replace

import pytest

from storage.records import Json, Stage, Study
from tests.tuner.workbench import FinishedStudy, Workbench
from tuner.core.errors import BadInput
from tuner.verdict.conclude import compare_measured, compare_stored, compared_metrics, default_settings, load_evidence, recommend_stored


def test_what_is_stored_gives_the_engines_own_answer(grid: FinishedStudy) -> None:
    """The fake engine (tests.tuner.fake_engine.value_of): page alignment gains 10 % everywhere, and larger pages and budgets are better."""
    study = grid.bench.storage.get_study("s")
    for found in (compare_stored(grid.bench.storage, study), compare_measured(grid.bench.storage, study)):
        answer = found.answer
        assert answer is not None and answer.pooled is not None
        assert (answer.metric, answer.answer, answer.counts["better"]) == ("total_token_throughput", "on", 4)
        assert answer.pooled.ratio == pytest.approx(1.1) and answer.pooled.pairs == 12
        assert [item.ratio for item in found.comparisons if item.metric == answer.metric] == [pytest.approx(1.1)] * 4
    body = recommend_stored(grid.bench.storage, study).body
    assert body["settings"] == {"arm": "page_aligned", "block_size": 32, "max_num_batched_tokens": 256, "page_aligned": True}
    assert body["expected"]["total_token_throughput"]["value"] == pytest.approx(1.1 * (100 + 32 + 25.6))


def test_an_answer_is_made_once_and_read_afterwards(grid: FinishedStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    study = grid.bench.storage.get_study("s")
    stored = grid.bench.storage.list_comparisons(study.id)
    monkeypatch.setattr(type(grid.bench.storage), "list_measurements", None)  # whoever judges again needs them
    assert compare_stored(grid.bench.storage, study).answers == grid.outcome.comparison.answers
    assert compare_stored(grid.bench.storage, study).comparisons == tuple(stored)


@pytest.mark.slow
def test_what_an_older_version_ended_without_an_answer_is_judged_again(bench: Workbench) -> None:
    outcome = bench.run()
    study = bench.storage.get_study("s")
    older = [
        replace(item, details={name: value for name, value in item.details.items() if name != "study_answer"})
        for item in bench.storage.list_comparisons(study.id)
    ]
    bench.storage.replace_comparisons(study.id, older)
    assert compare_stored(bench.storage, study).answers == outcome.comparison.answers


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
    assert evidence.defaults == {"block_size": 32, "max_num_batched_tokens": 2048}


def test_confirmation_does_not_enter_the_comparison(grid: FinishedStudy) -> None:
    confirm = {trial.id for trial in grid.bench.trials(Stage.CONFIRM)}
    comparisons = grid.outcome.comparison.comparisons
    assert not any({item.baseline_trial_id, item.candidate_trial_id} & confirm for item in comparisons)


def test_vllms_own_defaults_of_a_stored_study() -> None:
    def defaults_of(resolved: Json, **features: str) -> Json:
        return default_settings(Study("s", "m", {"resolved": resolved}, "throughput", model_features=features))

    assert defaults_of({"max_model_len": 512, "max_num_seqs": 8}) == {"block_size": 32, "max_num_batched_tokens": 2048}
    assert defaults_of({"max_model_len": 40960, "max_num_seqs": 128})["block_size"] == 64
    assert defaults_of({"max_model_len": 40960, "max_num_seqs": 128}, attention="mla")["block_size"] == 1024
    assert defaults_of({"max_model_len": 512, "max_num_seqs": 2})["max_num_batched_tokens"] == 1024
    assert defaults_of({"max_model_len": 512}) == {}


def test_a_study_that_has_not_begun_recommends_nothing(bench: Workbench) -> None:
    study = bench.storage.create_study(Study("empty", "m", {"slos": []}, "throughput"))
    assert recommend_stored(bench.storage, study).body["reason"] == "the study has no trial yet"
    assert compare_stored(bench.storage, study).comparisons == ()

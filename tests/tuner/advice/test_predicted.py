"""Predictions as answers: only where nothing was measured, only for the very question, never under another name."""

from __future__ import annotations

from typing import Any

import pytest

from storage.base import Storage
from tests.storage.builders import a_recommendation, stored_study
from tests.tuner.search.foreseen import ERROR, kept_predictions
from tuner.advice.advice import advise
from tuner.advice.lookup import Query
from tuner.advice.predicted import or_predicted
from tuner.core.errors import BadInput
from tuner.foresight.prediction import Span
from tuner.metrics.objective import parse_slo
from tuner.verdict.answer import Answer

ASKED: dict[str, Any] = {"model": "other/model", "accelerator": "TPU v6e-1", "workload": "chat"}


def asked(storage: Storage, **changes: Any) -> Answer:
    query = Query(**{**ASKED, **changes})
    return or_predicted(storage, query, advise(storage, query))


def test_the_best_that_was_simulated_is_predicted_with_its_error(storage: Storage) -> None:
    storage.put_foresight(kept_predictions(100.0, 300.0, 200.0))
    found = asked(storage)
    assert (found.status, found.id, found.match["kind"]) == ("predicted", None, "none")
    assert found.settings["block_size"] == 32 and found.config == {"model": "other/model", "block_size": 32}
    assert found.vllm_args == ["--block-size", "32"]
    expected = found.expected["total_token_throughput"]
    assert (expected["value"], expected["measurements"]) == (300.0, 0)
    assert expected["low"] == pytest.approx(250) and expected["high"] == pytest.approx(1000 / 3)
    assert found.prediction == {
        "configurations": 3,
        "step_times": "given: a test",
        "low": 0.9,
        "high": 1.2,
        "confidence": 0.9,
        "held_out": "its file says so",
        "median_error": None,
    }
    assert found.reason.startswith("predicted, never measured: best total_token_throughput of 3 simulated configurations: page size 32")
    assert ERROR.sentence in found.caveats
    assert storage.list_recommendations() == []


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "another/model"},
        {"accelerator": "TPU v6e-4"},
        {"accelerator": "TPU v5e-1"},
        {"accelerator": "cpu x86_64"},
        {"workload": "docs"},
        {"objective": "tpot_p99_ms"},
        {"workload_features": {"request_rate": 4.0}},
        {"workload": None, "workload_features": {"input_p50": 300.0}},
        {"slos": (parse_slo("tpot_p99_ms<=50"),)},
    ],
    ids=str,
)
def test_another_question_gets_vllms_default_and_why(storage: Storage, changes: dict[str, Any]) -> None:
    storage.put_foresight(kept_predictions(100.0, 300.0))
    found = asked(storage, **changes)
    assert (found.status, found.vllm_args) == ("default", [])
    assert found.prediction is not None and found.prediction["reason"]
    assert found.caveats[-1] == f"no prediction: {found.prediction['reason']}"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"accelerator": "TPU v5p-8"}, "step times of a TPU v5p are not known, only of TPU v6e; tuner simulate takes your own"),
        ({"model": "another/model"}, "nothing is kept that was simulated for this question; tuner simulate keeps what it predicts"),
        ({"workload": None, "workload_features": {"input_p50": 300.0}}, "predictions are found by the workload's name; name it"),
        ({"slos": (parse_slo("ttft_p99_ms<=1"),)}, "none of 2 simulated configurations meets ttft_p99_ms<=1"),
    ],
    ids=["no model for the chip", "not simulated", "no name", "misses the SLO"],
)
def test_it_says_why_there_is_none(storage: Storage, changes: dict[str, Any], reason: str) -> None:
    storage.put_foresight(kept_predictions(100.0, 300.0))
    found = asked(storage, **changes)
    assert found.prediction is not None and found.prediction["reason"].startswith(reason)


def test_what_was_measured_goes_before_what_is_predicted(storage: Storage) -> None:
    study = stored_study(storage)
    storage.add_recommendation(
        a_recommendation(study.id, model="other/model", accelerator="TPU v6e-1", objective="throughput", body={"reason": "measured"})
    )
    storage.put_foresight(kept_predictions(100.0))
    query = Query(**ASKED)
    measured = advise(storage, query)
    assert measured.status == "recommended"
    assert asked(storage) == measured


def test_measured_and_nothing_recommended_stays(storage: Storage) -> None:
    study = stored_study(storage)
    nothing = a_recommendation(
        study.id, status="none", model="other/model", accelerator="TPU v6e-1", objective="throughput", body={"reason": "none fit"}
    )
    storage.add_recommendation(nothing)
    storage.put_foresight(kept_predictions(100.0))
    assert asked(storage).status == "none"


def test_slos_choose_among_predictions_and_what_the_interval_leaves_open_is_said(storage: Storage) -> None:
    """Predicted TTFT: 1000, 500 and 333 ms."""
    storage.put_foresight(kept_predictions(100.0, 200.0, 300.0))
    assert asked(storage, objective="ttft_p99_ms").settings["block_size"] == 64
    found = asked(storage, slos=(parse_slo("ttft_p99_ms<=350"),))
    assert found.settings["block_size"] == 64
    assert "ttft_p99_ms<=350 is met as predicted, not over the whole interval" in found.caveats
    surely = asked(storage, slos=(parse_slo("ttft_p99_ms<=2000"),))
    assert not any("whole interval" in caveat for caveat in surely.caveats)


def test_the_newest_simulation_answers_alone(storage: Storage) -> None:
    """Predictions under other step times or engine settings do not compare."""
    storage.put_foresight(kept_predictions(900.0, family="old"))
    storage.put_foresight(kept_predictions(100.0, 300.0, family="new"))
    found = asked(storage)
    assert found.expected["total_token_throughput"]["value"] == 300.0
    assert found.prediction is not None and found.prediction["configurations"] == 2


def test_a_rate_that_was_simulated_answers_that_rate_only(storage: Storage) -> None:
    storage.put_foresight(kept_predictions(100.0, request_rate=4.0))
    assert asked(storage, workload_features={"request_rate": 4.0}).status == "predicted"
    for features in (None, {"request_rate": 8.0}, {"request_rate": 4.0, "input_p50": 300.0}):
        assert asked(storage, workload_features=features).status == "default"


def test_goodput_is_only_that_under_the_very_limits(storage: Storage) -> None:
    metrics = {"goodput": Span(3.0, 2.0, 4.0), "ttft_p99_ms": Span(300, 270, 360)}
    storage.put_foresight(kept_predictions(1.0, metrics=metrics, limits=("ttft_p99_ms<=500",)))
    slo = parse_slo("ttft_p99_ms<=500")
    assert asked(storage, objective="goodput", slos=(slo,)).status == "predicted"
    assert asked(storage, objective="goodput", slos=(parse_slo("ttft_p99_ms<=900"),)).status == "default"
    assert asked(storage, objective="ttft_p99_ms").status == "predicted"


def test_other_versions_make_a_prediction_stale(storage: Storage) -> None:
    storage.put_foresight(kept_predictions(100.0, versions={"vllm": "0.1"}))
    assert asked(storage, versions={"vllm": "0.2"}).stale == {"stale": True, "reasons": ["vllm was 0.1, is 0.2"]}
    assert not asked(storage, versions={"vllm": "0.1"}).stale["stale"]


def test_an_unknown_objective_is_refused(storage: Storage) -> None:
    with pytest.raises(BadInput):
        asked(storage, objective="speed")

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.records import Measurement
from tests.quick import examples
from tuner.core.errors import BadInput, FailureClass, TrialFailed
from tuner.metrics.catalog import CATALOG, Direction
from tuner.metrics.objective import (
    Objective,
    Slo,
    aggregate,
    aggregate_metric,
    constraint_values,
    is_feasible,
    median_metrics,
    objective_names,
    objective_values,
    parse_guard,
    parse_objectives,
    parse_slo,
    request_limits,
)
from tuner.metrics.window import RequestLimit

finite = st.floats(-1e9, 1e9, allow_nan=False)


def measurement(round_number: int, valid: bool = True, **metrics: float) -> Measurement:
    return Measurement(1, round_number, 0, 0.0, 1.0, metrics, valid=valid, invalid_reason=None if valid else "recompiled")


def test_default_and_aliases() -> None:
    assert parse_objectives() == (Objective("throughput", "total_token_throughput", Direction.MAXIMIZE),)
    assert parse_objectives("output_throughput")[0].metric == "output_token_throughput"
    assert set(objective_names()) >= {"throughput", "output_throughput"}


@pytest.mark.parametrize("name", sorted(CATALOG))
def test_any_metric_is_an_objective_in_its_natural_direction(name: str) -> None:
    (objective,) = parse_objectives(name)
    assert objective == Objective(name, name, CATALOG[name].direction)


def test_the_name_that_a_metric_had_before_is_still_understood() -> None:
    (objective,) = parse_objectives("cached_token_share")
    assert (objective.name, objective.metric) == ("cached_token_share", "prefix_cache_hit_rate")
    assert parse_slo("cached_token_share>=0.5") == parse_slo("prefix_cache_hit_rate>=0.5")
    with pytest.raises(BadInput, match="names the same metric twice"):
        parse_objectives("cached_token_share,prefix_cache_hit_rate")


def test_a_comma_list_is_several_objectives() -> None:
    names = [objective.name for objective in parse_objectives(" throughput, ttft_p99_ms ")]
    assert names == ["throughput", "ttft_p99_ms"]


@pytest.mark.parametrize("text", ["", "throughput,", "p95", "throughput,total_token_throughput"])
def test_bad_objectives_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_objectives(text)
    assert "\n" not in str(caught.value)


def test_is_better_respects_the_direction() -> None:
    up, down = parse_objectives("throughput,ttft_p99_ms")
    assert up.is_better(2, 1) and not up.is_better(1, 1)
    assert down.is_better(1, 2) and not down.is_better(2, 1)


@pytest.mark.parametrize(
    ("metric", "operator"), [("ttft_p99_ms", "<="), ("ttft_p99_ms", "<"), ("goodput", ">="), ("goodput", ">"), ("goodput", "<=")]
)
@pytest.mark.parametrize("space", ["", " "])
def test_slo_reads_and_writes(metric: str, operator: str, space: str) -> None:
    slo = parse_slo(f"{metric}{space}{operator}{space}5e2")
    assert slo == Slo(metric, operator, 500.0)
    assert parse_slo(str(slo)) == slo


@pytest.mark.parametrize(
    "text", ["", "ttft_p99_ms", "ttft_p99_ms=5", "ttft_p99_ms<=fast", "ttft_p99_ms<=nan", "p95<=5", "5<=ttft_p99_ms", "a<=1<=2"]
)
def test_bad_slos_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_slo(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("ttft_p99_ms>=5", "of which less is better; write ttft_p99_ms<=5"),
        ("padding_share>0.2", "write padding_share<=0.2"),
        ("ttft_p99_ms<=-5", "ttft_p99_ms is never below 0; write for instance ttft_p99_ms<=500"),
        ("ttft_p98_ms<=5", "did you mean ttft_p99_ms?"),
    ],
)
def test_a_slo_that_nobody_can_mean_names_the_fix(text: str, fix: str) -> None:
    with pytest.raises(BadInput, match=re.escape(fix)):
        parse_slo(text)


@examples(60)
@given(st.text(max_size=30))
def test_any_text_is_an_slo_or_bad_input(text: str) -> None:
    try:
        limit = parse_slo(text).limit
    except BadInput as error:
        message = str(error)
    else:
        message = "fine"
        assert math.isfinite(limit)
    assert len(message.splitlines()) == 1


@examples(100)
@given(st.sampled_from(["<=", "<", ">=", ">"]), finite, finite, st.booleans())
def test_constraint_is_at_most_zero_exactly_where_the_slo_is_met(operator: str, limit: float, value: float, same: bool) -> None:
    slo = Slo("ttft_p99_ms", operator, limit)
    seen = limit if same else value
    assert (slo.constraint(seen) <= 0) == slo.is_met(seen)


def test_request_limits_come_from_latency_slos() -> None:
    slos = [parse_slo(text) for text in ("ttft_p99_ms<=500", "itl_p95_ms<50", "itl_max_ms<=80", "itl_mean_ms<=30", "throughput>=5")]
    assert request_limits((), slos) == (
        RequestLimit("ttft", 500),
        RequestLimit("itl", 50, 95),
        RequestLimit("itl", 80, 100),
        RequestLimit("tpot", 30),
    )


def test_goodput_without_a_limit_is_refused_with_the_fix() -> None:
    with pytest.raises(BadInput, match="--slo"):
        request_limits(parse_objectives("goodput"), [parse_slo("throughput>=5")])


def test_aggregate_is_median_and_scaled_relative_deviation() -> None:
    result = aggregate([100, 102, 98, 101, 500])
    assert result.value == 101 and result.count == 5
    assert result.spread == pytest.approx(1.4826 * 1 / 101)
    assert aggregate([7.0]).spread == 0 and aggregate([0.0, 0.0]).spread == 0


@examples(60)
@given(st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=20), st.floats(1e-3, 1e3), st.randoms(use_true_random=False))
def test_aggregate_ignores_order_and_scales(values: list[float], factor: float, random: object) -> None:
    result = aggregate(values)
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert aggregate(shuffled) == result
    scaled = aggregate([value * factor for value in values])
    assert scaled.value == pytest.approx(result.value * factor) and scaled.spread == pytest.approx(result.spread, abs=1e-9)


@pytest.mark.parametrize("values", [[], [math.nan], [1.0, math.inf]])
def test_no_valid_measurement_raises_and_is_never_a_number(values: list[float]) -> None:
    with pytest.raises(TrialFailed) as caught:
        aggregate(values)
    assert caught.value.failure is FailureClass.INVALID_MEASUREMENT


def test_invalid_measurements_never_enter_a_value() -> None:
    measurements = [measurement(0, goodput=5.0), measurement(1, valid=False, goodput=1e9), measurement(2, goodput=7.0)]
    assert aggregate_metric(measurements, "goodput").value == 6.0
    assert objective_values(parse_objectives("goodput"), measurements) == {"goodput": 6.0}
    assert median_metrics(measurements) == {"goodput": 6.0}
    for read in (lambda m: aggregate_metric(m, "goodput"), median_metrics):
        with pytest.raises(TrialFailed):
            read([measurements[1]])


def test_a_measurement_without_the_metric_fails_the_trial() -> None:
    with pytest.raises(TrialFailed, match="goodput"):
        aggregate_metric([measurement(0, goodput=1.0), measurement(1, completed=1.0)], "goodput")
    assert median_metrics([measurement(0, goodput=1.0, failed=0.0), measurement(1, failed=0.0)]) == {"failed": 0.0}


def test_an_slo_on_an_unmeasured_metric_is_not_met() -> None:
    slos = [parse_slo("ttft_p99_ms<=500")]
    assert is_feasible(slos, {"ttft_p99_ms": 500.0}) and not is_feasible(slos, {"ttft_p99_ms": 501.0})
    assert not is_feasible(slos, {}) and is_feasible([], {})
    assert constraint_values(slos, {"ttft_p99_ms": 510.0}) == (10.0,)
    with pytest.raises(TrialFailed):
        constraint_values(slos, {})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("canary_match>=2", "never above 1"),
        ("canary_match>1", "never above 1"),
        ("canary_divergence<0", "never below 0"),
        ("canary_match<=0.5", "of which more is better"),
        ("canary_match>=98%", "canary_match>=0.9$"),
    ],
)
def test_a_guard_that_no_engine_meets_or_that_wants_wrong_answers_is_refused(text: str, reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        parse_guard(text)

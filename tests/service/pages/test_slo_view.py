"""How far a trial is inside a limit."""

from __future__ import annotations

import pytest

from service.pages.slo_view import Margin, margins_of, misses, slos_of
from storage.records import TrialState
from tests.storage.builders import a_measurement, a_study, a_trial
from tuner.metrics.objective import parse_slo

TRIAL = a_trial(1, 0, id=7, state=TrialState.COMPLETE)


def margin(slo: str, *values: float, state: TrialState = TrialState.COMPLETE, valid: bool = True) -> Margin | None:
    parsed = parse_slo(slo)
    windows = [
        a_measurement(7, id=number + 1, round=number, metrics={parsed.metric: value}, valid=valid) for number, value in enumerate(values)
    ]
    found = margins_of([a_trial(1, 0, id=7, state=state)], windows, [parsed])
    return found[7][0] if 7 in found else None


@pytest.mark.parametrize(
    ("slo", "values", "inside", "met"),
    [
        ("ttft_p99_ms<=400", [300.0], 25.0, True),
        ("ttft_p99_ms<=400", [500.0], -25.0, False),
        ("ttft_p99_ms<=400", [400.0], 0.0, True),
        ("ttft_p99_ms<400", [400.0], 0.0, False),
        ("total_token_throughput>=1000", [1200.0], 20.0, True),
        ("total_token_throughput>=1000", [900.0], -10.0, False),
        ("ttft_p99_ms<=400", [300.0, 320.0, 500.0], 20.0, True),  # the median, as recommendations are chosen
        ("preemptions<=0", [0.0], None, True),  # no percent of a limit of 0
        ("preemptions<=0", [2.0], None, False),
    ],
)
def test_nobody_could_see_how_near_a_candidate_was_to_its_limit(slo: str, values: list[float], inside: float | None, met: bool) -> None:
    found = margin(slo, *values)
    assert found is not None and found.met is met
    assert found.inside == (None if inside is None else pytest.approx(inside))


def test_the_interval_holds_the_margin_and_is_the_other_way_round_than_the_latency() -> None:
    found = margin("ttft_p99_ms<=400", 300.0, 310.0, 305.0, 299.0)
    assert found is not None and found.low is not None and found.inside is not None and found.high is not None
    assert 15 < found.low < found.inside < found.high < 30
    alone = margin("ttft_p99_ms<=400", 300.0)
    assert alone is not None and (alone.low, alone.high) == (None, None)


def test_what_did_not_count_has_no_margin() -> None:
    assert margin("ttft_p99_ms<=400", 300.0, state=TrialState.FAIL) is None
    assert margin("ttft_p99_ms<=400", 300.0, valid=False) is None
    assert margin("ttft_p99_ms<=400") is None
    assert margins_of([TRIAL], [a_measurement(7, metrics={"tpot_p99_ms": 1.0})], [parse_slo("ttft_p99_ms<=400")]) == {7: ()}


def test_what_a_trial_misses_is_named() -> None:
    slos = [parse_slo("ttft_p99_ms<=400"), parse_slo("tpot_p99_ms<=5")]
    found = margins_of([TRIAL], [a_measurement(7, metrics={"ttft_p99_ms": 300.0, "tpot_p99_ms": 9.0})], slos)
    assert misses(found, 7) == ("tpot_p99_ms<=5",) and misses(found, 8) == ()


def test_a_study_that_cannot_be_read_has_no_limits() -> None:
    assert slos_of(a_study(config={"slos": ["nonsense"]})) == () == slos_of(a_study(config={"slos": 7}))
    assert [str(slo) for slo in slos_of(a_study(config={"slos": ["ttft_p99_ms<=400"]}))] == ["ttft_p99_ms<=400"]

"""The trade-off with the limits that were asked for."""

from __future__ import annotations

import re

import pytest

from service.pages.charts.tradeoff import tradeoff
from service.pages.tradeoff_view import TradeOff, trade_off
from storage.records import TrialState
from tests.storage.builders import a_measurement, a_trial
from tests.tuner.report.charts.drawings import links, texts
from tuner.metrics.objective import parse_objectives, parse_slo
from tuner.report.charts.render import Renderer
from tuner.report.charts.theme import Look, Scheme

RULE = r'<g class="mark-rule role-mark'


def found(*slos: str, objective: str = "throughput", points: int = 4) -> TradeOff:
    """Trials with a throughput of 100, 200, ... at a TTFT of 10, 20, ... and a TPOT of 1, 2, ..."""
    trials = [a_trial(1, number, id=number + 1, block_size=16 * 2**number, state=TrialState.COMPLETE) for number in range(points)]
    windows = [
        a_measurement(
            trial.id,
            id=trial.id,
            metrics={"total_token_throughput": 100.0 * trial.id, "ttft_p99_ms": 10.0 * trial.id, "tpot_p99_ms": 1.0 * trial.id},
        )
        for trial in trials
    ]
    made = trade_off(trials, windows, parse_objectives(objective), ("default", 16, 256), [parse_slo(slo) for slo in slos])
    assert made is not None
    return made


def drawn(made: TradeOff) -> str:
    return Renderer().picture(tradeoff(made, Look(Scheme.LIGHT)), "title", "description")


@pytest.mark.slow
@pytest.mark.parametrize("slo", ["ttft_p99_ms<=25", "ttft_p99_ms<=12", "ttft_p99_ms<=39", "total_token_throughput>=250"])
def test_the_limit_was_not_in_the_picture(slo: str) -> None:
    made = found(slo)
    svg = drawn(made)
    assert slo in texts(svg) and re.search(RULE, svg)
    missed = [point for point in made.points if point.misses]
    assert 0 < len(missed) < 4 and all(point.misses == (slo,) for point in missed)
    said = links(svg)
    assert said.keys() == {f"/trials/{point.trial.id}" for point in made.points}
    assert sum(f"misses {slo}" in words for words in said.values()) == len(missed)


@pytest.mark.slow
@pytest.mark.parametrize(("slo", "says"), [("ttft_p99_ms<=5000", "met by all"), ("ttft_p99_ms<=0.001", "met by none")])
def test_a_limit_far_away_is_told_and_does_not_squeeze_the_points(slo: str, says: str) -> None:
    made = found(slo) if "none" not in says else found("ttft_p99_ms<=0.001", points=2)
    svg = drawn(made)
    far = not re.search(RULE, svg)
    assert far is (says == "met by all")
    assert (f"{slo}: {says}" in texts(svg)) is far


def test_the_metric_beside_the_objective_is_the_one_that_is_limited() -> None:
    assert found().x_metric == "ttft_p99_ms"
    assert found("tpot_p99_ms<=2").x_metric == "tpot_p99_ms"
    assert found("total_token_throughput>=250").x_metric == "ttft_p99_ms", "not the objective itself"
    both = found("tpot_p99_ms<=2", objective="throughput,ttft_p99_ms")
    assert (both.x_metric, both.slos) == ("ttft_p99_ms", ()), "two objectives stay the two"
    assert [point.misses for point in both.points][-1] == ("tpot_p99_ms<=2",)

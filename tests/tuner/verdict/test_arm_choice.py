"""Between the arms of a cell the pairs decide where they can; cold values stand where pairs and cold starts do not agree."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tuner.evidence_builder import CONFIRM, METRIC, StudyBuilder
from tuner.metrics.objective import parse_objectives, parse_slo
from tuner.verdict.recommend import recommend

NOISE = (0.999, 1.0, 1.001, 1.0, 0.9995, 1.0005)


def body_of(paired: float, cold: float, *, noise: float = 1.0, objective: str = "throughput", slo_misses: bool = False) -> dict[str, Any]:
    """One cell: `paired` and `cold` are page_aligned / default in the search and when started cold."""
    builder = StudyBuilder()
    (parsed,) = parse_objectives(objective)
    shared = {"ttft_p99_ms": 1.0} if parsed.metric != "ttft_p99_ms" else {}
    for stage, ratio in (({}, paired), (CONFIRM, cold)):
        for arm, level in (("default", 1000.0), ("page_aligned", 1000.0 * ratio)):
            trial = builder.trial(arm, **stage)
            for number, wobble in enumerate(NOISE):
                swing = wobble ** (noise * (1 if arm == "default" else -1))
                late = {"ttft_p99_ms": 900.0} if slo_misses and arm == "default" and stage else {}
                builder.measure(trial, number, {parsed.metric: level * swing, **shared, **late})
    slos = [parse_slo("ttft_p99_ms<=500")] if slo_misses else []
    return recommend(builder.evidence(), (parsed,), slos).body


@pytest.mark.parametrize(
    ("paired", "cold", "arm"),
    [
        (1.05, 1.05, "page_aligned"),
        (1.05, 1.03, "page_aligned"),
        (1.03, 1.005, "page_aligned"),  # cold a tie, but in agreement with pairs beyond the tie band
        (1.012, 1.025, "default"),  # better, but within the tie band: the simpler one
        (1.20, 1.001, "default"),  # what the search saw does not hold when started cold
        (1.001, 1.03, "default"),  # no practical difference in pairs: two starts differ so much by themselves
        (0.97, 1.04, "default"),  # worse in pairs: never recommended against its own evidence
        (0.97, 0.97, "default"),
    ],
)
def test_who_decides_between_the_arms(paired: float, cold: float, arm: str) -> None:
    assert body_of(paired, cold)["settings"]["arm"] == arm


def test_undecided_pairs_leave_it_to_the_cold_values() -> None:
    body = body_of(1.0, 1.03, noise=40)
    assert body["evidence"]["arms"]["verdict"] == "inconclusive" and body["settings"]["arm"] == "page_aligned"


def test_less_is_better_for_a_latency() -> None:
    assert body_of(0.965, 0.99, objective="mean_step_ms")["settings"]["arm"] == "page_aligned"
    assert body_of(1.03, 0.97, objective="mean_step_ms")["settings"]["arm"] == "default"


def test_an_other_arm_that_misses_an_slo_is_no_alternative() -> None:
    assert body_of(0.97, 1.04, slo_misses=True)["settings"]["arm"] == "page_aligned"


def test_the_reason_says_that_the_pairs_decided() -> None:
    body = body_of(0.97, 1.04)
    assert f"{METRIC} 1,000 tokens/s after a cold start, 3.8 % behind the best (1,040): " in body["reason"]
    assert "between the arms of its cell the pairs decide (page_aligned -3.0 %, worse)" in body["reason"]
    assert "pairs decide" not in body_of(1.05, 1.05)["reason"]


@pytest.mark.parametrize(
    ("paired", "cold", "why"),
    [
        (1.012, 1.025, "within the tie band of 2%"),
        (1.20, 1.001, "did not agree with it within 3%"),
        (1.05, 1.05, None),  # it is recommended
        (0.97, 0.97, None),
    ],
)
def test_a_better_arm_that_is_not_recommended_says_why(paired: float, cold: float, why: str | None) -> None:
    body = body_of(paired, cold)
    told = body["evidence"]["arms"]["set_aside"]
    assert (told is None) == (why is None)
    if why is not None:
        assert why in told and any(caveat.endswith(f"not recommended: {told}") for caveat in body["caveats"])

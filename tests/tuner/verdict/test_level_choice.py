"""Between the arms, or the levels of another compared factor, of a cell the pairs decide where they can; cold values stand where pairs and
cold starts do not agree."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.tuner.evidence_builder import CONFIRM, METRIC, STUDY, StudyBuilder
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


SEQS = replace(STUDY, config={"compare": "max_num_seqs", "rounds": {"min": 6, "max": 6}, "resolved": {"compared_to": 256}})


def levels_of(paired: dict[int, float], cold: dict[int, float], **noise: float) -> dict[str, Any]:
    """One cell of a study that compares max_num_seqs: level -> level / 256 in the search, and started cold."""
    builder = StudyBuilder()
    for stage, ratios in (({}, paired), (CONFIRM, cold)):
        for level, ratio in {256: 1.0, **ratios}.items():
            trial = builder.trial(factors={"max_num_seqs": level}, requested={"max_num_seqs": level}, **stage)
            for number, wobble in enumerate(NOISE):
                swing = wobble ** (noise.get("noise", 1.0) * (1 if level == 256 else -1))
                builder.measure(trial, number, {METRIC: 1000.0 * ratio * swing})
    return recommend(builder.evidence(study=SEQS), parse_objectives("throughput"), []).body


@pytest.mark.parametrize(
    ("paired", "cold", "level"),
    [
        ({64: 1.05}, {64: 1.05}, 64),
        ({64: 1.03}, {64: 1.005}, 64),  # cold a tie, but in agreement with pairs beyond the tie band
        ({64: 1.012}, {64: 1.025}, 256),  # better, but within the tie band
        ({64: 1.001}, {64: 1.03}, 256),  # no practical difference in pairs
        ({64: 0.97}, {64: 1.04}, 256),  # worse in pairs: never recommended against its own evidence
        ({64: 1.20}, {64: 1.001}, 256),  # what the search saw does not hold when started cold
        ({64: 0.97, 128: 1.04}, {64: 1.05, 128: 1.03}, 128),  # of several levels the one that the pairs show to be better
        ({64: 1.05, 128: 1.04}, {64: 1.03, 128: 1.06}, 128),  # both are better: between the two the values decide
        ({64: 1.05, 128: 1.04}, {64: 1.03, 128: 1.0, 512: 1.06}, 512),  # not compared, or undecided: the cold values stand
    ],
)
def test_who_decides_between_the_levels(paired: dict[int, float], cold: dict[int, float], level: int) -> None:
    body = levels_of(paired, cold)
    assert body["settings"]["max_num_seqs"] == level and body["config"]["max_num_seqs"] == level
    compared = body["evidence"]["compared"]
    assert (compared["factor"], compared["baseline"], compared["recommended"], compared["unit"]) == ("max_num_seqs", 256, level, "round")
    assert {item["level"]: item["ratio"] for item in compared["levels"]} == pytest.approx(paired, rel=1e-3)
    assert body["evidence"]["arms"] is None


def test_undecided_pairs_leave_the_level_to_the_cold_values() -> None:
    body = levels_of({64: 1.0}, {64: 1.03}, noise=40)
    assert body["settings"]["max_num_seqs"] == 64
    assert "its advantage over max_num_seqs 256 in the same cell is not established (verdict: inconclusive)" in body["caveats"]


def test_the_reason_says_that_the_pairs_decided_the_level() -> None:
    body = levels_of({64: 0.97}, {64: 1.04})
    assert (
        "3.8 % behind the best (1,040): between max_num_seqs 64 and 256 of its cell the pairs decide (64 -3.0 %, worse)" in body["reason"]
    )
    assert "pairs decide" not in levels_of({64: 1.05}, {64: 1.05})["reason"]


def test_a_better_level_that_is_not_recommended_says_why() -> None:
    (item,) = levels_of({64: 1.012}, {64: 1.025})["evidence"]["compared"]["levels"]
    assert "within the tie band of 2%" in item["set_aside"]
    body = levels_of({64: 1.20}, {64: 1.001})
    assert "max_num_seqs 64 is better in this cell over the pairs of the search, but not recommended: when both" in "; ".join(
        body["caveats"]
    )

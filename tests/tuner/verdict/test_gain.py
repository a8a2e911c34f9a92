from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from storage.records import Stage
from tests.tuner.evidence_builder import METRIC, StudyBuilder
from tuner.metrics.objective import parse_objectives, parse_slo
from tuner.verdict.recommend import recommend

DEFAULTS = {"block_size": 16, "max_num_batched_tokens": 2048}
OF_THE_DEFAULTS, WINNER = [100.0, 101.0, 99.0], [120.0, 121.0, 119.0]


def body_of(builder: StudyBuilder, objective: str = "throughput", defaults: dict[str, int] | None = None) -> dict[str, Any]:
    return recommend(builder.evidence(defaults=DEFAULTS if defaults is None else defaults), parse_objectives(objective), ()).body


def searched(baseline: tuple[int, int] = (16, 2048)) -> StudyBuilder:
    builder = StudyBuilder()
    builder.trial("default", *baseline, OF_THE_DEFAULTS)
    builder.trial("default", 64, 512, [105.0, 104.0, 106.0])
    builder.trial("page_aligned", 64, 512, WINNER)
    return builder


def test_the_gain_over_vllms_own_defaults_with_its_interval() -> None:
    body = body_of(searched())
    gain = body["evidence"]["over_default"]
    assert (gain["value"], gain["baseline_value"], gain["ratio"]) == (120.0, 100.0, pytest.approx(1.2))
    assert 1.17 < gain["low"] < 1.2 < gain["high"] < 1.23
    assert gain["baseline"] == {
        "trial_id": 1,
        "arm": "default",
        "block_size": 16,
        "max_num_batched_tokens": 2048,
        "is_stock": True,
        "misses": [],
    }
    assert gain["metric"] == METRIC and gain["stages"] == ["search", "search"]
    assert "; +20.0 % (+1" in body["reason"] and "against vLLM's own defaults (page size 16, chunk budget 2048)" in body["reason"]


def test_where_the_defaults_were_not_measured_the_nearest_is_named_as_such() -> None:
    gain = body_of(searched((16, 1024)))
    assert gain["evidence"]["over_default"]["baseline"]["is_stock"] is False
    assert "the nearest to vLLM's own defaults that was measured (page size 16, chunk budget 1024)" in gain["reason"]
    unknown = body_of(searched(), defaults={})
    assert unknown["evidence"]["over_default"]["baseline"]["is_stock"] is False


def test_the_winner_counts_with_its_confirmed_value() -> None:
    """The search promised 20 %; the defaults were not chosen for their value, so they need no confirmation."""
    builder = searched()
    builder.trial("page_aligned", 64, 512, [110.0, 110.0, 110.0], stage=Stage.CONFIRM, requested={"kv_write": "loop,loop"})
    gain = body_of(builder)["evidence"]["over_default"]
    assert gain["ratio"] == pytest.approx(1.1) and gain["stages"] == ["confirm", "search"]
    builder.trial("default", 16, 2048, [88.0, 88.0, 88.0], stage=Stage.CONFIRM)
    gain = body_of(builder)["evidence"]["over_default"]
    assert gain["ratio"] == pytest.approx(1.25) and gain["stages"] == ["confirm", "confirm"]


def test_values_of_two_paths_are_not_divided_by_each_other() -> None:
    """Confirmed over HTTP, at half of everything: the gain is then what the search saw."""
    builder = searched()
    builder.measurements = [replace(item, details={"launcher": "local"}) for item in builder.measurements]
    confirmed = builder.trial("page_aligned", 64, 512, stage=Stage.CONFIRM)
    for number in range(3):
        builder.measure(confirmed, number, {METRIC: 60.0}, details={"launcher": "serve"})
    gain = body_of(builder)["evidence"]["over_default"]
    assert gain["ratio"] == pytest.approx(1.2) and gain["stages"] == ["search", "search"]


def test_nothing_is_said_where_there_is_nothing_to_compare() -> None:
    alone = StudyBuilder()
    alone.trial("default", 16, 2048, OF_THE_DEFAULTS)
    assert body_of(alone)["evidence"]["over_default"] is None, "the winner is the default"
    aligned = StudyBuilder()
    aligned.trial("page_aligned", 16, 2048, OF_THE_DEFAULTS)
    assert body_of(aligned)["evidence"]["over_default"] is None, "no default arm"
    assert "against" not in body_of(aligned)["reason"]


def test_defaults_that_miss_an_slo_are_said_to() -> None:
    """A winner that has to keep an SLO may be slower than defaults that do not."""
    builder = StudyBuilder()
    for block_size, throughput, ttft_ms in ((16, 120.0, 900.0), (64, 100.0, 100.0)):
        trial = builder.trial("default", block_size, 2048)
        for number in range(2):
            builder.measure(trial, number, {METRIC: throughput, "ttft_p99_ms": ttft_ms})
    slos = [parse_slo("ttft_p99_ms<=500")]
    body = recommend(builder.evidence(defaults=DEFAULTS), parse_objectives("throughput"), slos).body
    assert body["evidence"]["over_default"]["baseline"]["misses"] == ["ttft_p99_ms<=500"]
    assert body["reason"].endswith("against vLLM's own defaults (page size 16, chunk budget 2048), which miss ttft_p99_ms<=500")


def test_less_is_better_for_a_latency() -> None:
    builder = StudyBuilder()
    for arm, block_size, values in (("default", 16, (100.0, 102.0)), ("page_aligned", 64, (80.0, 81.0))):
        trial = builder.trial(arm, block_size, 2048)
        for number, value in enumerate(values):
            builder.measure(trial, number, {"ttft_p99_ms": value})
    body = body_of(builder, "ttft_p99_ms")
    assert body["evidence"]["over_default"]["ratio"] < 1 and "; -20.3 %" in body["reason"]


NOT_MEASURED = "vLLM's own defaults (page size 16, chunk budget 2048) were not measured"


@pytest.mark.parametrize(
    ("levels", "caveat"),
    [
        ([("default", 16, 2048, 100.0), ("default", 64, 512, 120.0)], None),
        ([("default", 32, 2048, 100.0), ("default", 64, 512, 120.0)], f"{NOT_MEASURED}: the gain is told against the nearest that was"),
        (
            [("default", 32, 2048, 120.0), ("default", 64, 512, 100.0)],
            f"{NOT_MEASURED}: what is recommended is the nearest to them that was",
        ),
        ([("page_aligned", 16, 2048, 100.0)], f"{NOT_MEASURED}, and nothing in the default arm was"),
    ],
)
def test_defaults_that_were_not_measured_are_said_not_to_be(levels: list[tuple[str, int, int, float]], caveat: str | None) -> None:
    builder = StudyBuilder()
    for arm, block_size, budget, value in levels:
        builder.trial(arm, block_size, budget, [value, value + 1])
    told = [item for item in body_of(builder)["caveats"] if "own defaults" in item]
    assert told == ([] if caveat is None else [caveat])


def test_defaults_that_failed_were_not_measured() -> None:
    builder = StudyBuilder()
    builder.failed("default", 16, 2048)
    builder.trial("default", 64, 512, WINNER)
    assert any(item.startswith(NOT_MEASURED) for item in body_of(builder)["caveats"])


def test_a_gain_names_what_it_costs_in_the_other_objectives() -> None:
    """4 % more throughput was told without its 28 % more TTFT."""
    builder = StudyBuilder()
    for arm, block_size, throughput, ttft_ms in (("default", 16, 100.0, 100.0), ("page_aligned", 64, 104.0, 128.0)):
        trial = builder.trial(arm, block_size, 2048)
        for number, wobble in enumerate((1.0, 1.001)):
            builder.measure(trial, number, {METRIC: throughput * wobble, "ttft_p99_ms": ttft_ms * wobble, "tpot_p99_ms": 10.0})
    body = body_of(builder, "throughput,ttft_p99_ms,tpot_p99_ms")
    assert re.search(r"; \+4.0 % \(.*\), ttft_p99_ms \+28.0 % \(.*\), tpot_p99_ms \+0.0 % \(.*\) against vLLM's own", body["reason"])
    further = body["evidence"]["over_default_further"]
    assert [(gain["metric"], gain["ratio"]) for gain in further] == [("ttft_p99_ms", pytest.approx(1.28)), ("tpot_p99_ms", 1.0)]
    assert body_of(builder)["evidence"]["over_default_further"] == []


def with_latencies(baseline: list[float], winner: list[float], metric: str = "ttft_p99_ms") -> StudyBuilder:
    """`searched`, with one more metric."""
    builder = searched()
    values = {1: baseline, 3: winner}
    taken = [
        replace(item, metrics={**item.metrics, metric: values.get(item.trial_id, baseline)[item.round]}) for item in builder.measurements
    ]
    builder.measurements = taken
    return builder


@pytest.mark.parametrize(
    ("metric", "baseline", "winner", "says"),
    [
        ("ttft_p99_ms", [50.0, 51.0, 49.0], [64.0, 65.0, 63.0], ", at +28.0 % ttft_p99_ms (+2"),
        ("tpot_p99_ms", [10.0, 10.1, 9.9], [11.0, 11.1, 10.9], ", at +10.0 % tpot_p99_ms (+"),
        ("ttft_p99_ms", [64.0, 65.0, 63.0], [50.0, 51.0, 49.0], None),  # a gain, no cost
        ("ttft_p99_ms", [50.0, 90.0, 20.0], [64.0, 30.0, 99.0], None),  # noise
        ("ttft_p50_ms", [50.0, 51.0, 49.0], [64.0, 65.0, 63.0], None),  # nobody promises a median
    ],
)
def test_a_gain_of_throughput_hid_what_users_wait_for_it(metric: str, baseline: list[float], winner: list[float], says: str | None) -> None:
    body = body_of(with_latencies(baseline, winner, metric))
    costs = body["evidence"]["over_default_costs"]
    assert [item["metric"] for item in costs] == ([] if says is None else [metric])
    assert (", at " in body["reason"]) is (says is not None) and (says or "+20.0 %") in body["reason"]
    if says is not None:
        assert costs[0]["baseline"]["trial_id"] == 1
        assert re.search(r"\+20\.0 % \(.*?\), at \+[\d.]+ % \w+ \(.*?\), against vLLM's own defaults", body["reason"])


def test_a_latency_that_is_an_objective_is_told_once() -> None:
    body = body_of(with_latencies([50.0, 51.0, 49.0], [64.0, 65.0, 63.0]), "throughput,ttft_p99_ms")
    assert body["evidence"]["over_default_costs"] == [] and ", at " not in body["reason"]

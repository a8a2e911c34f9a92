"""Does a host measure what its peers do? Never told of few starts or of two hosts, rarely wrong, and it finds what is really off."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.host_drift import rates
from tuner.stats.hosts import LEAST_STARTS, Reading, Standing, judge_hosts


def measured(starts: dict[str, int], off: dict[str, float] | None = None, *, spread: float = 0.005, question: str = "q") -> list[Reading]:
    random = np.random.default_rng(3)
    factors = off or {}
    return [
        Reading(host, question, 100.0 * factors.get(host, 1.0) * math.exp(random.normal(0.0, spread)))
        for host, count in starts.items()
        for _ in range(count)
    ]


def test_the_one_that_is_off_is_told_and_its_peers_are_not() -> None:
    found = judge_hosts(measured({"a": 6, "b": 6, "c": 6}, {"c": 0.85}))
    assert {host: item.standing for host, item in found.items()} == {
        "a": Standing.ALIKE,
        "b": Standing.ALIKE,
        "c": Standing.DRIFTS,
    }
    drifting = found["c"]
    assert drifting.ratio == pytest.approx(0.85, rel=0.02) and drifting.high is not None and drifting.high < 0.97
    assert (drifting.starts, drifting.peers) == (6, 2) and drifting.reason.startswith("-1")


@pytest.mark.parametrize(
    ("starts", "why"),
    [
        ({"a": 8, "b": 8}, "nothing that it measured was measured by 2 other hosts"),
        ({"a": 8, "b": 8, "c": LEAST_STARTS - 1}, "3 engine starts can be compared, 4 are needed"),
        ({"a": 8, "b": 8, "c": 1}, "1 engine starts can be compared, 4 are needed"),
    ],
)
def test_few_data_say_nothing_however_far_off(starts: dict[str, int], why: str) -> None:
    """Of two hosts nobody knows which is the odd one; a single start may be anything."""
    odd = list(starts)[-1]
    found = judge_hosts(measured(starts, {odd: 0.5}))[odd]
    assert found.standing is Standing.UNDECIDED and why in found.reason


def test_hosts_that_measured_other_things_are_not_compared() -> None:
    readings = [item for host in "abc" for item in measured({host: 6}, {host: 1.0 + ord(host)}, question=host)]
    assert {item.standing for item in judge_hosts(readings).values()} == {Standing.UNDECIDED}
    assert judge_hosts([]) == {}


def test_what_starts_differ_by_anyway_is_no_drift() -> None:
    found = judge_hosts(measured(dict.fromkeys("abc", 40), {"c": 0.98}, spread=0.01))
    assert Standing.DRIFTS not in {item.standing for item in found.values()}


def test_a_slow_question_is_no_slow_host() -> None:
    """It measured the slow one more often than its peers."""
    readings = measured({"a": 8, "b": 8, "c": 2}, question="fast")
    readings += [Reading(item.host, "slow", item.value / 3) for item in measured({"a": 2, "b": 2, "c": 9})]
    assert judge_hosts(readings)["c"].standing is Standing.ALIKE


@pytest.mark.slow
def test_over_many_looks_hosts_that_are_alike_stay_free_and_a_slow_one_is_found() -> None:
    """The rates of bench/host_drift.py, of fewer studies."""
    alike = rates(4, 0.03, 0.0, studies=60, looks=8, seed=5)
    assert alike.false <= 0.02
    off = rates(4, 0.01, -0.1, studies=40, looks=6, seed=6)
    assert off.false <= 0.05 and off.found == 1.0

"""When a recommendation that was measured again holds, is withdrawn, or stays undecided."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from storage.records import TrialState
from tests.tuner.evidence_builder import METRIC, StudyBuilder
from tuner.metrics.objective import parse_objectives, parse_slo
from tuner.setup.space import Configuration
from tuner.upkeep.contenders import WINDOWS, Contenders
from tuner.upkeep.judgement import Fate, Judgement, judge

BEST, STOCK, NEXT = Configuration(32, 256, "page_aligned"), Configuration(32, 256, "default"), Configuration(32, 512, "page_aligned")
THROUGHPUT = parse_objectives("throughput")[0]


def _measured(
    ratios: dict[Configuration, float], *, sd: float = 0.004, rounds: int = 12, starts: bool = False, **changes: Any
) -> StudyBuilder:
    """Each configuration at this many times BEST's level; with `starts` each in an engine of its own, eight starts of three windows."""
    rng, builder = np.random.default_rng(5), StudyBuilder()
    shared = 0.05 * rng.standard_normal(rounds)
    for number, (item, ratio) in enumerate(({BEST: 1.0} | ratios).items()):
        trial = builder.trial(item.arm, item.block_size, item.max_num_batched_tokens, **(changes if item == BEST else {}))
        for at in range(rounds):
            start = 100 * number + at // WINDOWS if starts else 1
            value = 1000.0 * ratio * math.exp(shared[at] + sd * float(rng.standard_normal()))
            builder.measure(trial, at, {METRIC: value, "ttft_p99_ms": 1e5 / value}, details={"launcher": "fake", "engine_start": start})
    return builder


def _judged(builder: StudyBuilder, contenders: Contenders, slos: Sequence[str] = ()) -> Judgement:
    return judge(builder.evidence(), contenders, THROUGHPUT, [parse_slo(text) for text in slos])


@pytest.mark.parametrize(
    ("stock", "following", "slos", "fate", "words"),
    [
        (0.9, 0.97, (), Fate.HOLDS, "against vLLM's defaults"),
        (0.9, 1.01, (), Fate.HOLDS, "against its runner-up"),  # within the tie band
        (0.9, 1.08, (), Fate.WITHDRAWN, "it loses: -7"),
        (1.1, 0.9, (), Fate.WITHDRAWN, "it loses: -9"),
        (1.0, 0.9, (), Fate.WITHDRAWN, "wins nothing over vLLM's defaults"),
        (0.9, 0.97, ("ttft_p99_ms<=50",), Fate.WITHDRAWN, "ttft_p99_ms<=50 is missed"),
        (0.9, 0.97, ("ttft_p99_ms<=500",), Fate.HOLDS, "ttft_p99_ms<=500 is met"),
        (0.9, 0.97, ("ttft_p99_ms<=100",), Fate.UNDECIDED, "ttft_p99_ms<=100 is not clear"),
        (0.9, 0.97, ("startup_s<=5",), Fate.UNDECIDED, "not known"),
        (1.0, 0.97, ("ttft_p99_ms<=101.5",), Fate.UNDECIDED, "not clear"),  # the defaults may miss it
    ],
)
def test_what_is_shown_decides(stock: float, following: float, slos: tuple[str, ...], fate: Fate, words: str) -> None:
    found = _judged(_measured({STOCK: stock, NEXT: following}), Contenders(BEST, STOCK, NEXT), slos)
    assert (found.fate, words in found.sentence) == (fate, True), found


def test_noise_decides_nothing() -> None:
    found = _judged(_measured({STOCK: 0.99, NEXT: 1.01}, sd=0.08), Contenders(BEST, STOCK, NEXT))
    assert found.fate is Fate.UNDECIDED and "not clear" in found.sentence


@pytest.mark.parametrize(
    ("changes", "fate"),
    [
        ({"state": TrialState.FAIL, "error_class": "out_of_memory"}, Fate.WITHDRAWN),
        ({"state": TrialState.FAIL, "error_class": "wrong_output"}, Fate.WITHDRAWN),
        ({"state": TrialState.FAIL, "error_class": "startup"}, Fate.UNDECIDED),
        ({"state": TrialState.FAIL, "error_class": "timeout"}, Fate.UNDECIDED),
        ({"state": TrialState.FAIL, "error_class": "no_space"}, Fate.UNDECIDED),
        ({"state": TrialState.FAIL, "error_class": "of a later version"}, Fate.UNDECIDED),
    ],
)
def test_a_failure_is_its_own_or_the_machines(changes: dict[str, Any], fate: Fate) -> None:
    assert _judged(_measured({STOCK: 0.9}, **changes), Contenders(BEST, STOCK)).fate is fate


def test_engine_starts_are_the_pairs_of_what_needs_two_engines() -> None:
    other = Configuration(16, 256, "default")
    contenders = Contenders(BEST, other)
    found = _judged(_measured({other: 0.9}, rounds=24, starts=True), contenders)
    assert (found.fate, "8 pairs" in found.sentence) == (Fate.HOLDS, True), found
    few = _judged(_measured({other: 0.9}, rounds=9, starts=True), contenders)
    assert (few.fate, "no pairs" in few.sentence) == (Fate.UNDECIDED, True), few


def test_rounds_of_two_engines_are_no_pairs() -> None:
    builder = _measured({STOCK: 0.5})
    for number, item in enumerate(builder.measurements):
        builder.measurements[number] = type(item)(**{**vars(item), "details": {"launcher": "fake", "engine_start": item.trial_id}})
    assert _judged(builder, Contenders(BEST, STOCK)).fate is Fate.UNDECIDED


def test_two_cold_settings_apart_is_said() -> None:
    other = Configuration(16, 256, "default", (("kv_cache_dtype", "fp8"),))
    best = Configuration(32, 256, "page_aligned", (("kv_cache_dtype", "auto"),))
    assert Contenders(best, other).cold == ["block_size", "kv_cache_dtype"] and not Contenders(best, other).paired
    without = Configuration(32, 256, "default")  # its condition does not hold there
    assert Contenders(best, without).cold == ["kv_cache_dtype"] and not Contenders(best, without).paired
    assert Contenders(BEST, Configuration(16, 256, "default")).paired

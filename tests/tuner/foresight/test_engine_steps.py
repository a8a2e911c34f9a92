from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from tuner.core.contract import RequestRecord, StepRecord, WindowResult
from tuner.engine.step_costs import StepClock
from tuner.foresight.engine_steps import decode_contexts, fit_steps, prefill_segments

SIZES = (16, 64, 128, 256, 512)
BETWEEN = 3e-4


def seconds(padded: int, prefills: int, prefill_tokens: int, decodes: int) -> float:
    return (
        4e-3 + 5e-5 * padded + 2e-5 * max(0, padded - 128) + 1e-3 * prefills + 1e-5 * prefill_tokens + 5e-4 * bool(decodes) + 1e-4 * decodes
    )


def window(
    rng: np.random.Generator, *, noise: float = 0.0, outliers: float = 0.0, first: float = 1.0, sizes: tuple[int, ...] = SIZES
) -> WindowResult:
    """Without requests, so that no step has tokens in the cache."""
    found: list[StepRecord] = []
    now = 0.0
    for index in range(60):
        decodes = int(rng.integers(0, 9))
        padded = int(rng.choice(sizes)) if decodes < 8 else sizes[0]
        prefill_tokens = 0 if padded == sizes[0] and decodes else max(1, padded - decodes - int(rng.integers(0, padded // 4)))
        prefills = min(prefill_tokens, int(rng.integers(1, 4))) if prefill_tokens else 0
        took = seconds(padded, prefills, prefill_tokens, decodes) * float(np.exp(noise * rng.standard_normal()))
        took *= (5.0 if rng.random() < outliers else 1.0) * (first if index == 0 else 1.0)
        found.append(StepRecord(now, took, prefill_tokens + decodes, padded, prefill_tokens, prefills, decodes))
        now += took + BETWEEN
    return WindowResult((), tuple(found), 0.0, now)


def windows(count: int = 12, **how: float | tuple[int, ...]) -> list[WindowResult]:
    rng = np.random.default_rng(4)
    return [window(rng, **how) for _ in range(count)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("padded", "prefills", "decodes"),
    [(16, [], 8), (128, [(100, 0)], 0), (256, [(90, 0), (100, 0)], 6), (512, [(480, 0)], 3)],
)
def test_a_step_takes_what_was_planted_and_the_time_to_the_next(padded: int, prefills: list[tuple[int, int]], decodes: int) -> None:
    found = fit_steps(windows(), "planted")
    expected = seconds(padded, len(prefills), sum(chunk for chunk, _ in prefills), decodes) + BETWEEN
    assert found.between_s == pytest.approx(BETWEEN, rel=1e-6)
    assert StepClock(found.costs, [0]).step(padded, prefills, decodes, 0) == pytest.approx(expected, rel=0.02)


def test_noise_and_a_size_that_lies_between_those_seen_cost_little() -> None:
    found = fit_steps(windows(noise=0.1, sizes=(16, 64, 256, 512)), "planted")
    clock = StepClock(found.costs, [0])
    assert clock.step(64, [(60, 0)], 0, 0) == pytest.approx(seconds(64, 1, 60, 0) + BETWEEN, rel=0.06)
    assert clock.step(128, [(120, 0)], 0, 0) == pytest.approx(seconds(128, 1, 120, 0) + BETWEEN, rel=0.12)


def test_steps_that_take_five_times_as_long_raise_the_level_and_bend_nothing() -> None:
    """One in twenty costs 20 % of a window's time: every cost rises by about that."""
    quiet, loud = (fit_steps(windows(outliers=share), "planted") for share in (0.0, 0.05))
    ratios = [after.seconds / before.seconds for before, after in zip(quiet.costs.padded, loud.costs.padded, strict=True)]
    assert min(ratios) > 1.1 and max(ratios) < 1.3
    assert max(ratios) - min(ratios) < 0.1


def test_padding_never_makes_a_step_cheaper() -> None:
    for noise in (0.0, 0.3):
        points = fit_steps(windows(4, noise=noise), "planted").costs.padded
        assert [point.size for point in points] == list(SIZES)
        assert all(later.seconds >= earlier.seconds for earlier, later in pairwise(points))


@pytest.mark.slow
@pytest.mark.parametrize("first", [1.0, 1.5, 4.0])
def test_a_slow_first_step_is_told_apart_and_costs_the_others_nothing(first: float) -> None:
    found, without = fit_steps(windows(first=first), "planted"), fit_steps(windows(), "planted")
    assert found.costs.first == pytest.approx(first, rel=0.03)
    assert [point.seconds for point in found.costs.padded] == pytest.approx([point.seconds for point in without.costs.padded])


def test_tokens_in_the_cache_count_for_who_decodes_and_cost_what_was_planted() -> None:
    rng, windows = np.random.default_rng(1), []
    for _ in range(10):
        prompts = [int(prompt) for prompt in rng.integers(100, 2000, 4)]
        took = [0.02 + 1e-6 * (sum(prompts) + 4 * (step - 1) if step else 0) for step in range(30)]
        ends = np.cumsum(np.array(took) + 1e-5)
        steps = [
            StepRecord(end - seconds, seconds, 4, 16, *((4, 4, 0) if not step else (0, 0, 4)))
            for step, (end, seconds) in enumerate(zip(ends.tolist(), took, strict=True))
        ]
        requests = [
            RequestRecord(f"r{each}", prompt, 0.0, 0.0, tuple(ends.tolist()), float(ends[-1])) for each, prompt in enumerate(prompts)
        ]
        windows.append(WindowResult(tuple(requests), tuple(steps), 0.0, float(ends[-1])))
        assert decode_contexts(windows[-1]).tolist() == [0, *(sum(prompts) + 4 * step for step in range(29))]
    assert fit_steps(windows, "planted").costs.decode[2] == pytest.approx(1e-6, rel=0.02)


def test_windows_without_a_second_step_say_nothing() -> None:
    one = StepRecord(0.0, 1e-3, 4, 16, 4, 1, 0)
    nothings: list[list[WindowResult]] = [[], [WindowResult((), (), 0.0, 1.0)], [WindowResult((), (one,), 0.0, 1.0)]]
    for nothing in nothings:
        with pytest.raises(ValueError, match="no window has two steps"):
            fit_steps(nothing, "nothing")


def chunked(*prefills: tuple[int, int], cached: int = 0) -> WindowResult:
    """Prompts of 300 and 150 tokens that are sent at once; each step takes a second and prefills (tokens, requests). The first gets its
    token from the third step, the second from the last."""
    steps = [StepRecord(float(n), 0.9, tokens, 256, tokens, requests, 0) for n, (tokens, requests) in enumerate(prefills)]
    ends = [step.start_s + 0.95 for step in steps]
    requests = (
        RequestRecord("a", 300, 0.0, 0.0, (ends[2],), ends[2], cached_tokens=cached),
        RequestRecord("b", 150, 0.0, 0.0, (ends[-1],), ends[-1]),
    )
    return WindowResult(requests, tuple(steps), 0.0, ends[-1])


@pytest.mark.parametrize(
    ("prefills", "cached", "expected"),
    [
        ([(128, 1), (128, 1), (128, 2), (66, 1)], 0, [[(128, 0)], [(128, 128)], [(44, 256), (84, 0)], [(66, 84)]]),
        ([(128, 1), (40, 1), (88, 2), (106, 1)], 88, [[(128, 88)], [(40, 216)], [(44, 256), (44, 0)], [(106, 44)]]),
        ([(128, 1), (0, 0), (172, 1), (150, 1)], 0, [[(128, 0)], [], [(172, 128)], [(150, 0)]]),
        ([(256, 1), (0, 0), (194, 2)], 0, [[(256, 0)], [], [(44, 256), (150, 0)]]),  # both end in one step
    ],
)
def test_whose_chunk_a_prefill_was_and_how_far_the_prompt_had_come(
    prefills: list[tuple[int, int]], cached: int, expected: list[list[tuple[int, int]]]
) -> None:
    assert prefill_segments(chunked(*prefills, cached=cached)) == expected


def test_prefills_of_which_no_request_tells_are_segments_all_the_same() -> None:
    lost = WindowResult((), (StepRecord(0.0, 0.1, 101, 128, 101, 2, 0), StepRecord(0.1, 0.1, 1, 16, 0, 0, 1)), 0.0, 0.2)
    assert prefill_segments(lost) == [[(51, 0), (50, 0)], []]

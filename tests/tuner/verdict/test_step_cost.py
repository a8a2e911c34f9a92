"""What a padded token costs, from windows whose costs are known."""

from __future__ import annotations

import numpy as np
import pytest

from tuner.verdict.step_cost import Engine, WindowSteps, step_cost

SHAPES = {128: (49, 2448), 256: (45, 2864), 512: (43, 3008)}  # chunk budget -> steps, padded tokens: the demo at page size 16
ALIGNED = {128: (63, 4048), 256: (50, 3856), 512: (45, 3632)}

type Engines = dict[Engine, dict[int, dict[int, WindowSteps]]]


def windows(
    shapes: dict[int, tuple[int, int]], step_ms: float, token_ms: float, *, noise: float = 0.0, seed: int = 0, scale: float = 1.0
) -> dict[int, dict[int, WindowSteps]]:
    """Six rounds; every window of a round shares a disturbance of 20 %, and has noise of its own."""
    rng = np.random.default_rng(seed)
    shared = np.exp(0.2 * rng.standard_normal(6))
    found: dict[int, dict[int, WindowSteps]] = {}
    for budget, (steps, padded) in shapes.items():
        own = np.exp(noise * rng.standard_normal(6))
        times = scale * (step_ms * steps + token_ms * padded) * shared * own
        found[budget] = {number: WindowSteps(steps, 1966, padded, 1700, float(times[number])) for number in range(6)}
    return found


def engines_of(step_ms: float, token_ms: float, noise: float = 0.0) -> Engines:
    shapes = {"default": SHAPES, "page_aligned": ALIGNED}
    return {
        (arm, page): windows(found, step_ms, token_ms, noise=noise, seed=10 * page + len(arm), scale=1 + page / 100)
        for page in (16, 32)
        for arm, found in shapes.items()
    }


@pytest.mark.parametrize(("step_ms", "token_ms"), [(6.0, 0.05), (6.0, 0.0), (0.0, 0.05), (1.0, 0.1)])
def test_the_fraction_that_goes_with_padded_tokens_is_found(step_ms: float, token_ms: float) -> None:
    found = step_cost(engines_of(step_ms, token_ms))
    assert found is not None and found.padded_fraction is not None
    steps, padded = found.typical
    truth = token_ms * padded / (step_ms * steps + token_ms * padded)
    assert found.padded_fraction == pytest.approx(truth, abs=0.01)
    assert found.differences == 8  # two budgets against the third, in each engine and arm


def test_the_interval_holds_the_truth_and_widens_with_noise() -> None:
    quiet, loud = step_cost(engines_of(6.0, 0.05, 0.005)), step_cost(engines_of(6.0, 0.05, 0.03))
    assert quiet is not None and loud is not None
    truth = 0.05 * quiet.typical[1] / (6.0 * quiet.typical[0] + 0.05 * quiet.typical[1])
    assert quiet.low <= truth <= quiet.high and loud.low <= truth <= loud.high
    assert quiet.high - quiet.low < loud.high - loud.low


def test_the_arms_are_never_compared_so_that_an_effect_does_not_explain_itself() -> None:
    engines = engines_of(6.0, 0.05)
    slower = {
        engine: {
            budget: {
                number: WindowSteps(w.steps, w.scheduled_tokens, w.padded_tokens, w.prefill_tokens, 2 * w.engine_ms)
                for number, w in rounds.items()
            }
            for budget, rounds in budgets.items()
        }
        if engine[0] == "page_aligned"  # type: ignore[index]
        else budgets
        for engine, budgets in engines.items()
    }
    assert step_cost(slower) == step_cost(engines)


def test_one_disturbed_window_in_six_changes_nothing() -> None:
    engines = engines_of(6.0, 0.05)
    undisturbed = step_cost(engines)
    first = engines["default", 16][128]
    first[3] = WindowSteps(49, 1966, 2448, 1700, 10 * first[3].engine_ms)
    found = step_cost(engines)
    assert found is not None and undisturbed is not None and found.padded_fraction == undisturbed.padded_fraction


@pytest.mark.parametrize(
    "shapes",
    [
        {128: (49, 2448)},  # one budget
        {128: (43, 3008), 256: (43, 3008), 512: (43, 3008)},  # budgets that do the same
        {128: (40, 4000), 256: (20, 2000), 512: (10, 1000)},  # steps and tokens in proportion: nobody can tell them apart
    ],
)
def test_a_study_that_cannot_tell_says_so(shapes: dict[int, tuple[int, int]]) -> None:
    found = step_cost({"default": windows(shapes, 6.0, 0.05, noise=0.01), "page_aligned": windows(shapes, 6.0, 0.05, noise=0.01, seed=1)})
    assert found is not None
    assert (found.padded_fraction, found.low, found.high) == (None, 0.0, 1.0)


def test_without_windows_there_is_no_cost() -> None:
    assert step_cost({}) is None

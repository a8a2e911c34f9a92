from __future__ import annotations

import numpy as np
import pytest

from tuner.engine.step_costs import StepClock
from tuner.foresight.engine_windows import step_costs_of, window_table
from tuner.foresight.step_time import kinds_left_out

FIXED, PADDED, PREFILL, DECODE = 4e-3, 5e-5, 2e-5, 1e-4
CONFIGURATIONS = [(16, 40.0, 36.0, 20.0), (32, 44.0, 38.0, 22.0), (64, 60.0, 52.0, 35.0), (128, 70.0, 64.0, 41.0), (256, 90.0, 70.0, 62.0)]


def _windows(noise: float = 0.0) -> list[tuple[str, dict[str, float]]]:
    random = np.random.default_rng(3)
    found = []
    for name, padded, scheduled, prefill in CONFIGURATIONS:
        for _ in range(5):
            seconds = FIXED + PADDED * padded + PREFILL * prefill + DECODE * (scheduled - prefill)
            metrics = {
                "mean_step_ms": 1000 * seconds * float(np.exp(random.normal(0, noise))),
                "scheduled_tokens_per_step": scheduled,
                "padded_tokens_per_step": padded,
                "prefill_tokens_per_step": prefill,
            }
            found.append((f"b{name}", metrics))
    return found


def test_a_configuration_that_was_left_out_is_predicted_from_the_others() -> None:
    folds = kinds_left_out(window_table(_windows()))
    assert len(folds) == 5
    assert all(fold.median_error < 0.02 for fold in folds)


def test_noise_of_windows_is_inside_the_interval() -> None:
    folds = kinds_left_out(window_table(_windows(noise=0.03)))
    assert np.mean([fold.inside.mean() for fold in folds]) >= 0.7
    assert all(fold.median_error < 0.1 for fold in folds)


def test_what_was_fitted_is_a_clock_for_simulations() -> None:
    costs = step_costs_of(window_table(_windows(noise=0.01)), "planted")
    assert len(costs.window_noise) == 25
    quiet = StepClock(step_costs_of(window_table(_windows()), "planted"), [0])
    expected = FIXED + PADDED * 64 + PREFILL * 50 + DECODE * 3
    assert quiet.step(64, [(50, 0)], 3, 0) == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("missing", ["mean_step_ms", "padded_tokens_per_step", "scheduled_tokens_per_step"])
def test_windows_that_saw_no_steps_say_nothing(missing: str) -> None:
    windows = [(name, {key: value for key, value in metrics.items() if key != missing}) for name, metrics in _windows()]
    assert window_table(windows) == []


def test_one_configuration_tells_no_costs_apart() -> None:
    with pytest.raises(ValueError, match=r"1 configuration\(s\)"):
        step_costs_of(window_table(_windows()[:5]), "one")

"""Kernel, posterior and acquisition against what can be computed by hand or by brute force."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from tuner.sampler import kernel
from tuner.sampler.acquisition import log_expected_improvement
from tuner.sampler.grid import CandidateGrid, Indices, Space
from tuner.sampler.kernel import Correlation, Hyperparameters, Prior, fit
from tuner.sampler.posterior import Belief, Posterior, View


def whole(distributions: dict[str, BaseDistribution]) -> CandidateGrid:
    space = Space(distributions)
    return CandidateGrid(space, space.first(10_000, seed=0)[0])


def belief(posterior: Posterior, scores: np.ndarray[tuple[int], np.dtype[np.float64]], pending: Indices | None = None) -> Belief:
    """Of all candidates; `pending` [p]: candidates."""
    rows = GRID.levels[np.zeros(0, dtype=np.intp) if pending is None else pending]
    return View(posterior, GRID.levels).belief(posterior.explain(scores), rows)


GRID = whole({"a": IntDistribution(1, 6), "b": IntDistribution(1, 5), "c": CategoricalDistribution(("x", "y", "z"))})
HYPER = Hyperparameters(np.log([0.4, 0.9, 1.5]), 0.03, 0.3, 0.4)


def _data(size: int, seed: int = 0) -> tuple[np.ndarray[tuple[int], np.dtype[np.intp]], np.ndarray[tuple[int], np.dtype[np.float64]]]:
    rng = np.random.default_rng(seed)
    return rng.permutation(len(GRID))[:size].astype(np.intp), rng.standard_normal(size)


def test_the_gradient_is_the_slope_of_the_loss() -> None:
    observed, scores = _data(25)
    earlier = (np.arange(25) < 8).astype(float)
    theta = np.array([-0.5, 0.3, 1.0, -2.0, -1.5, 0.7])
    prior = Prior.of(GRID.axes)

    data = kernel.Data.of(GRID.axes, GRID.levels[observed], scores, earlier)

    def loss(at: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
        return kernel._loss(at, prior, data)[0]

    slope = kernel._loss(theta, prior, data)[1]
    numeric = [(loss(theta + step) - loss(theta - step)) / 2e-5 for step in np.eye(6) * 1e-5]
    assert slope == pytest.approx(numeric, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("rows", [1, 2, 40])
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_correlations_are_the_formula_however_they_are_computed(rows: int, share: float) -> None:
    lengths = [0.4, 0.9, 1.5]
    found = Correlation(GRID.axes, Hyperparameters(np.log(lengths), 0.1, 0.1, share)).between(GRID.levels[:rows], GRID.levels[10:30])
    for one in range(rows):
        for other in range(20):
            parts = []
            for axis, length, left, right in zip(GRID.axes, lengths, GRID.levels[one], GRID.levels[10 + other], strict=True):
                scaled = math.sqrt(3) * axis.distances[left, right] / length
                parts.append((1 + scaled) * math.exp(-scaled))
            assert found[one, other] == pytest.approx(share * math.prod(parts) + (1 - share) * sum(parts) / 3)


def test_axes_without_order_begin_with_longer_lengths() -> None:
    space = whole({"a": IntDistribution(0, 5), "b": IntDistribution(0, 1), "c": CategoricalDistribution(("x", "y", "z"))})
    ordered, switch, words = Prior.of(space.axes).median[:3]
    assert switch == words == pytest.approx(ordered + math.log(kernel.UNORDERED))


def test_switches_that_add_up_are_known_from_few_results() -> None:
    """14 of 256 configurations: the best one is then expected to be."""
    grid = whole({f"on{number}": IntDistribution(0, 1) for number in range(8)})
    truth = grid.levels @ np.array([5.0, -4.0, 3.0, 2.0, -2.0, 1.0, 1.0, -1.0])
    measured = np.random.default_rng(0).permutation(256)[:14]
    scores = (truth[measured] - truth.mean()) / truth.std()
    posterior = Posterior(grid.axes, fit(grid.axes, grid.levels[measured], scores, np.zeros(14)), grid.levels[measured], np.zeros(14))
    mean = View(posterior, grid.levels).belief(posterior.explain(scores), grid.levels[:0]).mean
    assert np.corrcoef(mean, truth)[0, 1] > 0.9


@pytest.mark.slow
def test_fit_finds_which_parameter_matters_and_which_results_are_noisy() -> None:
    rng = np.random.default_rng(3)
    grid = whole({"matters": IntDistribution(0, 9), "idle": IntDistribution(0, 9)})
    truth = np.sin(grid.levels[:, 1] * 0.9)  # axes are sorted by name: idle, matters
    marks = (rng.random(100) < 0.5).astype(float)
    scores = truth + np.where(marks > 0, 0.8, 0.01) * rng.standard_normal(100)
    found = fit(grid.axes, grid.levels, scores, marks)
    assert found.log_lengths[0] > found.log_lengths[1] + math.log(3)
    assert found.earlier_noise > 5 * found.noise


def test_the_posterior_is_the_text_books_however_it_was_reached() -> None:
    observed, scores = _data(20)
    earlier = (np.arange(20) < 5).astype(float)
    alike = Correlation(GRID.axes, HYPER)
    covariance = alike.between(GRID.levels[observed], GRID.levels[observed]) + np.diag(np.where(earlier > 0, 0.3, 0.03))
    cross = alike.between(GRID.levels[observed], GRID.levels)
    inverse = np.linalg.inv(covariance)
    level = inverse.sum(axis=0) @ scores / inverse.sum()
    variance = ((scores - level) @ inverse @ (scores - level) + 1) / 21
    mean = level + cross.T @ inverse @ (scores - level)
    deviation = np.sqrt(variance * (1 - np.einsum("ij,ik,kj->j", cross, inverse, cross)))

    at_once = Posterior(GRID.axes, HYPER, GRID.levels[observed], earlier)
    grown = Posterior(GRID.axes, HYPER, GRID.levels[observed[:12]], earlier[:12])
    for candidate in observed[12:]:
        grown.observe(GRID.levels[candidate])
    for posterior in (at_once, grown):
        found = belief(posterior, scores)
        assert found.mean == pytest.approx(mean, abs=1e-8)
        assert found.deviation == pytest.approx(deviation, abs=1e-8)
        assert posterior.explain(scores).expected == pytest.approx(mean[observed], abs=1e-8)


def test_levels_that_were_never_measured_change_nothing() -> None:
    observed, scores = _data(30)
    seen = observed[GRID.levels[observed, 0] < 4]  # of six
    scores = scores[: len(seen)]
    smaller = whole({"a": IntDistribution(1, 4), "b": IntDistribution(1, 5), "c": CategoricalDistribution(("x", "y", "z"))})
    smaller.axes[0].distances[:] = GRID.axes[0].distances[:4, :4]  # ranks among six
    marks = np.zeros(len(seen))
    full, part = fit(GRID.axes, GRID.levels[seen], scores, marks), fit(smaller.axes, GRID.levels[seen], scores, marks)
    assert np.array_equal(full.log_lengths, part.log_lengths) and full.noise == part.noise


@pytest.mark.slow
def test_many_observations_and_running_trials_find_room() -> None:
    observed, scores = _data(80)
    grown = Posterior(GRID.axes, HYPER, GRID.levels[observed[:3]], np.zeros(3))
    view = View(grown, GRID.levels)
    for count, candidate in enumerate(observed[3:], start=3):
        view.belief(grown.explain(scores[:count]), GRID.levels[observed[count : count + 20]])  # more than there is room for
        grown.observe(GRID.levels[candidate])
    found = view.belief(grown.explain(scores), GRID.levels[:0])
    expected = belief(Posterior(GRID.axes, HYPER, GRID.levels[observed], np.zeros(80)), scores)
    assert found.mean == pytest.approx(expected.mean, abs=1e-8) and found.deviation == pytest.approx(expected.deviation, abs=1e-8)


def test_a_running_trial_takes_uncertainty_away_and_leaves_the_mean() -> None:
    observed, scores = _data(10)
    posterior = Posterior(GRID.axes, HYPER, GRID.levels[observed], np.zeros(10))
    running = np.array([int(np.setdiff1d(np.arange(len(GRID)), observed)[0])])
    before, after = belief(posterior, scores), belief(posterior, scores, running)
    assert np.array_equal(before.mean, after.mean)
    assert (after.deviation <= before.deviation + 1e-12).all()
    assert after.deviation[running[0]] < 0.3 * before.deviation[running[0]]
    posterior.observe(GRID.levels[running[0]])
    told = belief(posterior, np.append(scores, before.mean[running[0]]))
    assert told.mean == pytest.approx(before.mean, abs=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("z", [-3.0, -0.5, 0.0, 1.0, 4.0])
def test_expected_improvement_is_the_integral(z: float) -> None:
    deviation = 0.7
    points = np.array([NormalDist().inv_cdf((number + 0.5) / 200_000) for number in range(200_000)])
    expected = np.maximum(0.0, 2.0 + deviation * (points + z) - 2.0).mean()
    found = log_expected_improvement(Belief(np.array([2.0 + deviation * z]), np.array([deviation])), 2.0)[0]
    assert math.exp(found) == pytest.approx(expected, rel=2e-3)


def test_far_below_the_best_the_order_is_kept() -> None:
    z = np.linspace(-40.0, 0.0, 400)
    values = log_expected_improvement(Belief(z, np.ones(400)), 0.0)
    assert np.isfinite(values).all()
    assert (np.diff(values) > 0).all()

"""Known answers, the four verdicts, symmetry, and that a verdict never contradicts its interval."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.quick import examples
from tuner.core.errors import BadInput
from tuner.metrics.catalog import Direction
from tuner.stats.intervals import (
    EQUIVALENCE_RATIO,
    Effect,
    Verdict,
    floor_of,
    interval_at,
    judge,
    judge_family,
    log_mean_interval,
    p_value,
    paired_log_ratios,
    robust_spread,
    verdict_of,
    welch_interval,
)
from tuner.stats.samples import sample_of, typical_of
from tuner.stats.sequential import InterimPlan

UP, DOWN = Direction.MAXIMIZE, Direction.MINIMIZE
ratios = st.lists(st.floats(-0.5, 0.5), min_size=2, max_size=14)
directions = st.sampled_from([UP, DOWN])
SWAPPED = {Verdict.BETTER: Verdict.WORSE, Verdict.WORSE: Verdict.BETTER}


def test_known_answer() -> None:
    effect = judge([0.02, 0.03, 0.04], UP)  # mean 0.03, sd 0.01, t(2) = 4.302653
    half = 4.302653 * 0.01 / math.sqrt(3)
    assert effect.ratio == pytest.approx(math.exp(0.03)) and effect.sd == pytest.approx(0.01)
    assert effect.low == pytest.approx(math.exp(0.03 - half)) and effect.high == pytest.approx(math.exp(0.03 + half))
    assert (effect.pairs, effect.verdict, effect.level) == (3, Verdict.BETTER, 0.05)
    assert judge([0.02, 0.03, 0.04], DOWN).verdict is Verdict.WORSE


@pytest.mark.parametrize(
    ("low", "high", "up"),
    [
        (1.001, 1.05, Verdict.BETTER),
        (0.95, 0.999, Verdict.WORSE),
        (0.995, 1.005, Verdict.EQUIVALENT),
        (1.002, 1.008, Verdict.EQUIVALENT),  # different, but too little to matter
        (1 / 1.01, 1.01, Verdict.EQUIVALENT),
        (0.98, 1.005, Verdict.INCONCLUSIVE),
        (1.0, 1.05, Verdict.INCONCLUSIVE),
    ],
)
def test_verdicts_of_intervals(low: float, high: float, up: Verdict) -> None:
    assert verdict_of(low, high, UP) is up
    assert verdict_of(low, high, DOWN) is SWAPPED.get(up, up)


def test_too_few_pairs_are_inconclusive_without_an_interval() -> None:
    assert judge([], UP) == Effect(0, None, None, None, Verdict.INCONCLUSIVE)
    assert judge([0.3], UP).verdict is Verdict.INCONCLUSIVE
    early = judge([0.3, 0.3001], UP, plan=InterimPlan(3, 5))
    assert early.ratio is not None and early.low is None and early.verdict is Verdict.INCONCLUSIVE


@pytest.mark.slow
def test_an_interval_without_bounds_is_no_interval() -> None:
    """Two rounds of a noisy tail latency in a family of twelve: the interval would not even fit into a float."""
    effects = judge_family({cell: [0.0, 1.2] for cell in range(12)}, DOWN, plan=InterimPlan(2, 24))
    assert {(effect.low, effect.high, effect.verdict) for effect in effects.values()} == {(None, None, Verdict.INCONCLUSIVE)}
    assert effects[0].ratio == pytest.approx(math.exp(0.6))
    assert log_mean_interval([1.0, 1e9]) is None


def test_pairs_need_both_values_positive_and_finite() -> None:
    baseline = {0: 1.0, 1: 2.0, 2: 0.0, 3: math.nan, 5: 4.0}
    candidate = {0: 2.0, 1: 1.0, 2: 3.0, 3: 1.0, 4: 1.0, 5: -1.0}
    assert paired_log_ratios(baseline, candidate) == pytest.approx({0: math.log(2), 1: -math.log(2)})


@examples(80)
@given(ratios, directions, st.randoms(use_true_random=False))
def test_the_order_of_rounds_does_not_matter(values: list[float], direction: Direction, random: object) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert judge(shuffled, direction) == judge(values, direction)


@examples(80)
@given(ratios, directions)
def test_swapping_the_arms_inverts_ratio_interval_and_verdict(values: list[float], direction: Direction) -> None:
    effect, swapped = judge(values, direction), judge([-value for value in values], direction)
    assert effect.ratio is not None and effect.low is not None and effect.high is not None
    assert (swapped.ratio, swapped.low, swapped.high) == pytest.approx((1 / effect.ratio, 1 / effect.high, 1 / effect.low))
    near_an_edge = any(abs(end - edge) < 1e-9 for end in (effect.low, effect.high) for edge in (1, 1.01, 1 / 1.01))
    assert near_an_edge or swapped.verdict is SWAPPED.get(effect.verdict, effect.verdict)


@examples(60)
@given(st.lists(st.tuples(st.floats(0.1, 1e4), st.floats(0.1, 1e4)), min_size=2, max_size=10), st.floats(1e-3, 1e3))
def test_the_unit_of_the_metric_does_not_matter(pairs: list[tuple[float, float]], factor: float) -> None:
    plain = paired_log_ratios({i: b for i, (b, _) in enumerate(pairs)}, {i: c for i, (_, c) in enumerate(pairs)})
    scaled = paired_log_ratios({i: b * factor for i, (b, _) in enumerate(pairs)}, {i: c * factor for i, (_, c) in enumerate(pairs)})
    assert scaled == pytest.approx(plain, abs=1e-9)


@examples(80)
@given(ratios, st.floats(0.001, 0.5), st.floats(0.001, 0.5))
def test_intervals_hold_the_point_and_grow_with_confidence(values: list[float], one: float, other: float) -> None:
    strict, loose = (judge(values, UP, level=level) for level in sorted((one, other)))
    assert strict.ratio is not None and strict.ratio == loose.ratio
    (low, high), (inner_low, inner_high) = bounds(strict), bounds(loose)
    assert low <= inner_low <= strict.ratio <= inner_high <= high


def bounds(effect: Effect) -> tuple[float, float]:
    return (0.0, math.inf) if effect.low is None or effect.high is None else (effect.low, effect.high)


def contradicts(effect: Effect, direction: Direction) -> bool:
    """The verdict's own words, checked against the interval without using verdict_of."""
    if effect.low is None or effect.high is None or effect.ratio is None:
        return effect.verdict is not Verdict.INCONCLUSIVE
    above, below = effect.low > 1, effect.high < 1
    inside = effect.low >= 1 / 1.01 and effect.high <= 1.01
    good, bad = (above, below) if direction is UP else (below, above)
    claims = {Verdict.EQUIVALENT: inside, Verdict.BETTER: good, Verdict.WORSE: bad, Verdict.INCONCLUSIVE: not (inside or above or below)}
    return not claims[effect.verdict] or not effect.low <= effect.ratio <= effect.high


families = st.dictionaries(st.integers(0, 30), st.lists(st.floats(-0.1, 0.1), max_size=10), max_size=12)


@pytest.mark.slow
@examples(80)
@given(families, directions, st.sampled_from([None, InterimPlan(3, 8)]))
def test_a_verdict_never_contradicts_its_interval(cells: dict[int, list[float]], direction: Direction, plan: InterimPlan | None) -> None:
    effects = judge_family(cells, direction, plan=plan)
    assert effects.keys() == cells.keys()
    assert not any(contradicts(effect, direction) for effect in effects.values())


@pytest.mark.slow
@examples(60)
@given(families, directions)
def test_a_family_never_decides_more_than_its_cells_alone(cells: dict[int, list[float]], direction: Direction) -> None:
    for key, effect in judge_family(cells, direction).items():
        alone = judge(cells[key], direction)
        if effect.low is not None and effect.high is not None and alone.low is not None and alone.high is not None:
            assert effect.low <= alone.low <= alone.high <= effect.high
        assert alone.verdict.decided or not effect.verdict.decided


def judged_by_trying_every_family_size(
    cells: dict[int, list[float]], direction: Direction, level: float, plan: InterimPlan | None
) -> dict[int, tuple[Verdict, float | None, float | None]]:
    """The definition, without p-values: of m cells the largest R that are different at R / m of the level; then the largest R of cells
    that are either of these or equivalent at R / m; and from three cells on, none is quieter than half of the median one."""
    asked = max(1, sum(len(values) >= 2 for values in cells.values()))
    floor = floor_of(cells.values(), plan)

    def at(count: int) -> dict[int, tuple[Verdict, float | None, float | None]]:
        found: dict[int, tuple[Verdict, float | None, float | None]] = {}
        for key, values in cells.items():
            interval = interval_at(values, level * max(1, count) / asked, plan=plan, floor=floor)
            found[key] = (Verdict.INCONCLUSIVE, None, None) if interval is None else (verdict_of(*interval, direction), *interval)
        return found

    def apart(low: float | None, high: float | None) -> bool:
        return low is not None and high is not None and not low <= 1 <= high

    different = max(count for count in range(asked + 1) if sum(apart(low, high) for _, low, high in at(count).values()) >= count)
    own = at(different)
    named = {key for key, (_, low, high) in own.items() if apart(low, high)}
    equal = {count: {key for key, (verdict, _, _) in at(count).items() if verdict is Verdict.EQUIVALENT} for count in range(asked + 1)}
    decided = max(count for count in equal if len(named | equal[count]) >= count)
    return {key: at(decided)[key] if key in equal[decided] else own[key] for key in cells}


plans = st.sampled_from([None, InterimPlan(3, 8), InterimPlan(3, 24), InterimPlan.single(4)])
spreads = st.sampled_from([0.0, 0.0005, 0.002, 0.01, 0.05])


@pytest.mark.slow
@examples(150)
@given(st.integers(0, 2**32 - 1), st.integers(0, 14), plans, st.sampled_from([0.05, 0.2, 0.01]), directions)
def test_one_p_value_a_cell_is_as_good_as_every_family_size(
    seed: int, count: int, plan: InterimPlan | None, level: float, direction: Direction
) -> None:
    rng = np.random.default_rng(seed)
    shapes = zip(
        rng.integers(0, 26, count), rng.choice([0.0, 0.003, 0.02], count), rng.choice([0.0, 0.001, 0.004, 0.03], count), strict=True
    )
    cells = {index: [float(mean + sd * z) for z in rng.standard_normal(pairs)] for index, (pairs, mean, sd) in enumerate(shapes)}
    expected = judged_by_trying_every_family_size(cells, direction, level, plan)
    effects = judge_family(cells, direction, level=level, plan=plan)
    assert {key: (effect.verdict, effect.low, effect.high) for key, effect in effects.items()} == expected


@pytest.mark.slow
@examples(200)
@given(st.integers(0, 2**32 - 1), st.integers(2, 26), spreads, plans, st.floats(1e-5, 0.6), st.floats(-0.02, 0.02))
def test_the_p_value_is_the_level_at_which_the_interval_lets_go(
    seed: int, pairs: int, sd: float, plan: InterimPlan | None, level: float, null: float
) -> None:
    values = [float(0.01 + sd * z) for z in np.random.default_rng(seed).standard_normal(pairs)]
    p, interval = p_value(values, null, plan=plan), interval_at(values, level, plan=plan)
    alone = judge(values, UP, level=level, plan=plan)
    assert interval == (None if alone.low is None or alone.high is None else (alone.low, alone.high))
    if abs(p - level) > 1e-9 * level:
        assert (interval is not None and not interval[0] <= math.exp(null) <= interval[1]) == (p <= level)


@pytest.mark.slow
@examples(60)
@given(ratios, plans)
def test_a_verdict_alone_is_what_the_two_p_values_say(values: list[float], plan: InterimPlan | None) -> None:
    verdict, margin = judge(values, UP, plan=plan).verdict, math.log(EQUIVALENCE_RATIO)
    lower, none, upper = (p_value(values, null, plan=plan) for null in (-margin, 0.0, margin))
    if all(abs(p - 0.05) > 1e-9 for p in (lower, none, upper)):
        inside = abs(typical_of(values).mean) <= margin
        equivalent = inside and max(lower, upper) <= 0.05
        assert (verdict is Verdict.EQUIVALENT) == equivalent
        assert (verdict in (Verdict.BETTER, Verdict.WORSE)) == (none <= 0.05 and not equivalent)


@pytest.mark.parametrize("values", [[], [0.3], [0.3, 0.3001]])
def test_without_an_interval_nothing_is_excluded(values: list[float]) -> None:
    plan = InterimPlan(3, 24)
    assert p_value(values, plan=plan) == 1.0 and interval_at(values, 0.5, plan=plan) is None


@pytest.mark.slow
def test_rounds_without_noise_exclude_all_but_their_own_ratio() -> None:
    assert p_value([0.02] * 4, plan=InterimPlan(3, 24)) == 0.0 and p_value([0.02] * 4, 0.02) == 1.0


def test_the_correction_is_false_coverage_rate() -> None:
    """Two clear cells of ten are judged at 2/10 of 5 %; a third, good enough alone, is not good enough in this family."""
    rng = np.random.default_rng(3)
    clear = [0.10, 0.101, 0.099, 0.1005, 0.0995]
    borderline = [0.02, 0.05, 0.03, 0.045, 0.005]
    cells = {"a": clear, "b": clear, "c": borderline} | {f"noise {i}": list(0.05 * rng.standard_normal(5)) for i in range(7)}
    effects = judge_family(cells, UP)
    assert judge(borderline, UP).verdict is Verdict.BETTER
    assert [effects[key].verdict for key in "abc"] == [Verdict.BETTER, Verdict.BETTER, Verdict.INCONCLUSIVE]
    assert [effect.level for effect in effects.values()] == pytest.approx([0.05 * 2 / 10] * 10)
    assert {effect.family_level for effect in effects.values()} == {0.05}


def test_a_family_that_is_decided_throughout_pays_nothing() -> None:
    cells = {index: [0.1, 0.11, 0.09, 0.1] for index in range(20)}
    assert {effect.level for effect in judge_family(cells, UP).values()} == {0.05}


def test_cells_that_are_alike_lend_nothing_to_one_that_differs() -> None:
    """Eleven equivalent cells say nothing about the twelfth: it is different at 1/12 of 5 % or not at all."""
    alike = {index: [0.0005 * (-1) ** n + 0.0001 * index for n in range(6)] for index in range(11)}
    borderline = [0.02, 0.06, 0.01, 0.05, -0.01, 0.04]
    assert judge(borderline, UP).verdict is Verdict.BETTER
    effects = judge_family({**alike, 11: borderline}, UP)
    assert [effect.verdict for effect in effects.values()] == [Verdict.EQUIVALENT] * 11 + [Verdict.INCONCLUSIVE]
    assert effects[11].level == pytest.approx(0.05 / 12) and effects[0].level == pytest.approx(0.05 * 11 / 12)


def test_three_lucky_windows_are_not_a_finding_where_the_neighbours_show_the_noise() -> None:
    """What hits every seventh window hit one arm of one cell three times: alone it looks certain."""
    lucky = [0.36, 0.355, 0.365]
    noisy = {index: [0.36, 0.0, -0.01 * index] for index in range(3)}
    assert judge(lucky, UP, plan=InterimPlan(3, 6)).verdict is Verdict.BETTER
    assert judge_family({**noisy, 3: lucky}, UP, plan=InterimPlan(3, 6))[3].verdict is Verdict.INCONCLUSIVE


def test_cells_that_could_not_be_measured_do_not_count() -> None:
    cells: dict[str, list[float]] = {"a": [0.1, 0.11, 0.09, 0.1], "failed": [], "one": [0.1]}
    assert judge_family(cells, UP)["a"].level == 0.05
    assert judge_family({}, UP) == {}


def test_wrong_verdicts_on_a_null_surface_are_rare_and_a_planted_bias_is_seen() -> None:
    """400 A/A cells; and the check itself would notice an uncorrected, biased rule."""
    rng = np.random.default_rng(11)
    studies = [{cell: list(0.02 * rng.standard_normal(6)) for cell in range(20)} for _ in range(20)]
    effects = [effect for study in studies for effect in judge_family(study, UP).values()]
    assert sum(effect.verdict in (Verdict.BETTER, Verdict.WORSE) for effect in effects) <= 0.05 * len(effects)
    biased = [judge([value + 0.02 for value in values], UP) for study in studies for values in study.values()]
    assert sum(effect.verdict is Verdict.BETTER for effect in biased) > 0.3 * len(biased)


@pytest.mark.parametrize("level", [0.0, 1.0, -1.0, 2.0])
def test_impossible_levels_are_refused(level: float) -> None:
    with pytest.raises(BadInput, match="level"):
        judge([0.1, 0.2], UP, level=level)


def test_sample_needs_two() -> None:
    with pytest.raises(ValueError, match="two pairs"):
        sample_of([0.1])


def test_interval_of_measurements() -> None:
    low, high = log_mean_interval([100.0, 110.0, 90.0]) or (0.0, 0.0)
    assert low < (100 * 110 * 90) ** (1 / 3) < high
    assert log_mean_interval([100.0]) is None and log_mean_interval([1.0, 0.0]) is None


def test_robust_spread_ignores_one_wild_value() -> None:
    assert robust_spread([1.0, 2.0, 3.0, 4.0, 1e9]) == pytest.approx(1.4826)


def test_welch_is_students_t_where_both_sides_are_alike() -> None:
    """Equal counts and variances: 2 (n - 1) degrees of freedom; mean difference 0.1, variance 0.01 on each side, t(4) = 2.776445."""
    logs = (-0.1, 0.0, 0.1)
    found = welch_interval([math.exp(0.1 + value) for value in logs], [math.exp(value) for value in logs])
    half = 2.776445 * math.sqrt(2 * 0.01 / 3)
    assert found == pytest.approx((math.exp(0.1 - half), math.exp(0.1 + half)), rel=1e-6)
    assert welch_interval([1.0], [1.0, 2.0]) is None and welch_interval([1.0, 0.0], [1.0, 2.0]) is None
    assert welch_interval([2.0, 2.0], [1.0, 1.0]) == pytest.approx((2.0, 2.0))
    assert welch_interval([1.0, 1e9], [1.0, 1e9]) is None, "no bounds"


def test_welch_covers_with_unequal_noise() -> None:
    rng = np.random.default_rng(4)
    sides = [(np.exp(0.05 * rng.standard_normal(6)).tolist(), np.exp(0.01 * rng.standard_normal(4)).tolist()) for _ in range(800)]
    covered = sum((found := welch_interval(*side)) is not None and found[0] <= 1 <= found[1] for side in sides)
    assert covered / len(sides) >= 0.93

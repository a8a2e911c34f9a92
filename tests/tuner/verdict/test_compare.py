from __future__ import annotations

import math
from dataclasses import replace

import pytest

from storage.records import Measurement, Stage, TrialState
from tests.tuner.evidence_builder import METRIC, STUDY, StudyBuilder, poison
from tuner.core.contract import ARM_PAGE_ALIGNED
from tuner.core.errors import BadInput
from tuner.metrics.catalog import Direction
from tuner.setup.space import Configuration
from tuner.stats.samples import typical_of
from tuner.stats.sequential import InterimPlan
from tuner.trials.rounds import RoundHistory
from tuner.verdict.compare import StudyComparison, compare_study
from tuner.verdict.evidence import DRIFTED
from tuner.verdict.study_answer import (
    ANSWER_MIXED,
    ANSWER_NO_DIFFERENCE,
    ANSWER_OFF,
    ANSWER_ON,
    ANSWER_ON_WHERE,
    ANSWER_UNDECIDED,
    StudyAnswer,
)

BUDGETS = (128, 256, 512)


def grid(effects: dict[int, float], **changes: object) -> StudyBuilder:
    """Budget -> effect, at two page sizes."""
    builder = StudyBuilder()
    for block_size in (32, 64):
        for budget, effect in effects.items():
            builder.cell(block_size, budget, 1000.0, effect, **changes)  # type: ignore[arg-type]
    return builder


def compare(builder: StudyBuilder, metric: str = METRIC, **changes: object) -> StudyComparison:
    return compare_study(STUDY.id, builder.trials, builder.measurements, [metric], **changes)  # type: ignore[arg-type]


def answer(builder: StudyBuilder, metric: str = METRIC) -> StudyAnswer:
    found = compare(builder, metric).answer
    assert found is not None
    return found


def test_better_everywhere_says_on() -> None:
    result = compare(grid(dict.fromkeys(BUDGETS, 1.05)))
    assert {item.verdict for item in result.comparisons} == {"better"} and len(result.comparisons) == 6
    found = result.answer
    assert found is not None and found.answer == ANSWER_ON and found.counts["better"] == 6
    assert found.pooled is not None and found.pooled.low < 1.05 < found.pooled.high
    assert found.sentence.startswith("on: page-aligned scheduling wins in 6 of 6 cells (best: page size ") and "95 %" in found.average


def test_worse_everywhere_says_off_and_a_latency_the_other_way_round() -> None:
    assert answer(grid(dict.fromkeys(BUDGETS, 0.95))).answer == ANSWER_OFF
    builder = StudyBuilder()
    for budget in BUDGETS:
        baseline, candidate = builder.trial("default", 32, budget), builder.trial("page_aligned", 32, budget)
        for number, base in enumerate((10.0, 10.1, 9.9, 10.05)):
            builder.measure(baseline, number, {"mean_step_ms": base})
            builder.measure(candidate, number, {"mean_step_ms": base * (0.95 + 0.001 * number)})
    assert answer(builder, "mean_step_ms").answer == ANSWER_ON


def test_no_difference_anywhere_is_said() -> None:
    found = answer(grid(dict.fromkeys(BUDGETS, 1.0), sd=0.001))
    assert found.answer == ANSWER_NO_DIFFERENCE
    assert found.sentence == "no difference: page-aligned scheduling changes throughput by less than 1 % in all 6 cells"


def test_harm_in_one_cell_is_off_however_good_the_average_is() -> None:
    builder = grid(dict.fromkeys(BUDGETS, 1.0), sd=0.001)
    builder.cell(128, 128, 1000.0, 0.33)
    found = answer(builder)
    assert found.answer == ANSWER_OFF and found.loses == ((128, 128),) and found.wins == ()
    assert found.sentence == (
        "off: page-aligned scheduling loses in 1 of 7 cells (worst: page size 128, chunk budget 128: -67 % throughput), wins in none"
    )


def test_better_here_and_worse_there_by_a_rule_is_on_there() -> None:
    found = answer(grid({128: 0.92, 256: 1.0, 512: 1.08}, sd=0.001))
    assert found.answer == ANSWER_ON_WHERE and found.rule is not None
    assert found.rule["words"] == "chunk budget at least 256" and found.rule["off"] == [[32, 128], [64, 128]]
    assert "there page-aligned scheduling wins in 2 of 4 cells" in found.sentence and "elsewhere it loses in 2 of 2 cells" in found.sentence
    assert any("differ between cells" in caveat for caveat in found.caveats)


def test_better_here_and_worse_there_without_a_rule_is_mixed() -> None:
    builder = StudyBuilder()
    for number, (page, budget) in enumerate((page, budget) for page in (32, 64, 128) for budget in BUDGETS):
        builder.cell(page, budget, 1000.0, 1.06 if number % 2 else 0.93)
    found = answer(builder)
    assert found.answer == ANSWER_MIXED and len(found.wins) == 4 and len(found.loses) == 5
    assert found.sentence.endswith("; no simple rule in the settings is shown to separate them")


def test_noise_decides_nothing_and_the_answer_says_what_would() -> None:
    found = answer(grid(dict.fromkeys(BUDGETS, 1.0), sd=0.05))
    assert found.answer == ANSWER_UNDECIDED and "is shown to win or lose in none of 6 cells" in found.sentence
    assert "rounds a cell would tell at the noise seen" in found.sentence and "quieter machine" in found.sentence


def test_an_empty_study_is_undecided() -> None:
    result = compare(StudyBuilder())
    assert result.comparisons == ()
    assert result.answer is not None and result.answer.answer == ANSWER_UNDECIDED
    assert result.answer.sentence == "undecided: nothing was measured"
    assert StudyComparison(()).answer is None


def test_pairs_are_the_same_round_both_valid_and_their_ratio_is_the_geometric_mean() -> None:
    builder = StudyBuilder()
    baseline, candidate = builder.trial("default"), builder.trial("page_aligned")
    for number, (base, other) in {0: (100, 110), 1: (200, 220), 2: (100, 121), 5: (50, None), 6: (None, 70)}.items():
        if base is not None:
            builder.measure(baseline, number, {METRIC: base})
        if other is not None:
            builder.measure(candidate, number, {METRIC: other})
    (item,) = compare(builder).comparisons
    assert item.pairs == 3 and item.details["rounds"] == [0, 1, 2]
    assert item.ratio == pytest.approx((1.1 * 1.1 * 1.21) ** (1 / 3))
    assert (item.baseline_trial_id, item.candidate_trial_id) == (baseline.id, candidate.id)
    assert (item.block_size, item.max_num_batched_tokens, item.metric) == (32, 256, METRIC)


def test_failed_invalid_and_recompiled_measurements_never_enter() -> None:
    clean, planted = grid(dict.fromkeys(BUDGETS, 1.05)), grid(dict.fromkeys(BUDGETS, 1.05))
    for trial in list(planted.trials):
        poison(planted, trial, 1e6 if trial.arm == "default" else 1.0, drifted=False)
        planted.failed(trial.arm, trial.block_size, trial.max_num_batched_tokens, great_values=[1e6 if trial.arm == "default" else 1.0] * 6)
    strip = [(item.verdict, item.ratio, item.low, item.high, item.pairs) for item in compare(clean).comparisons]
    assert [(item.verdict, item.ratio, item.low, item.high, item.pairs) for item in compare(planted).comparisons] == strip
    assert any("recompiled" in caveat and "trial_fail" in caveat for caveat in answer(planted).caveats)


def test_a_cell_with_a_failed_arm_is_listed_with_the_reason() -> None:
    builder = StudyBuilder()
    builder.trial("default", values=[1.0, 2.0, 3.0])
    builder.failed("page_aligned", great_values=[9.0, 9.0, 9.0], environment=None)
    (item,) = compare(builder).comparisons
    assert (item.verdict, item.pairs, item.ratio) == ("inconclusive", 0, None)
    assert "out_of_memory" in item.details["reason"]


def test_a_cell_with_one_arm_is_not_a_comparison() -> None:
    builder = StudyBuilder()
    builder.trial("default", values=[1.0, 2.0])
    assert compare(builder).comparisons == ()
    assert answer(builder).sentence == "undecided: only the default arm was measured"


def test_a_repeated_trial_takes_the_failed_ones_place() -> None:
    builder = StudyBuilder()
    builder.trial("default", values=[100.0, 101.0, 99.0])
    builder.failed("page_aligned", great_values=[1.0])
    repeat = builder.trial("page_aligned", values=[110.0, 111.0, 109.0])
    (item,) = compare(builder).comparisons
    assert item.candidate_trial_id == repeat.id and item.pairs == 3


def test_cells_of_other_environments_workloads_and_stages_are_kept_apart() -> None:
    builder = StudyBuilder()
    builder.trial("default", values=[100.0] * 4)
    builder.trial("page_aligned", values=[150.0] * 4, environment="other")
    builder.trial("page_aligned", values=[150.0] * 4, workload_hash="other")
    builder.trial("page_aligned", values=[150.0] * 4, stage=Stage.CONFIRM)
    assert compare(builder).comparisons == ()


def test_the_stage_can_be_chosen() -> None:
    builder = StudyBuilder()
    builder.cell(32, 256, 100.0, 1.2, stage=Stage.CONFIRM)
    assert compare(builder).comparisons == ()
    assert compare(builder, stage=Stage.CONFIRM).comparisons[0].details["stage"] == "confirm"


def test_pruned_trials_still_compare() -> None:
    builder = grid(dict.fromkeys(BUDGETS, 1.05), state=TrialState.PRUNED)
    assert {item.verdict for item in compare(builder).comparisons} == {"better"}


def test_a_round_disturbed_in_one_arm_is_left_out_of_both() -> None:
    """Another process slowed the second half of round 2: three settings of an engine of six, measured last."""
    builder = grid(dict.fromkeys(BUDGETS, 1.0), sd=0.002, rounds=8)
    disturbed = [
        replace(item, metrics={METRIC: item.metrics[METRIC] * (0.7 if item.trial_id % 2 == 0 else 0.8)}) if item.round == 2 else item
        for item in builder.measurements
    ]
    result = compare_study(STUDY.id, builder.trials, disturbed, [METRIC])
    assert all(item.details["outlier_rounds"] == [2] and 2 not in item.details["rounds"] for item in result.comparisons)
    assert {item.verdict for item in result.comparisons} == {"equivalent"}
    assert result.answer is not None and any("disturbed" in caveat for caveat in result.answer.caveats)


@pytest.mark.parametrize("marked", [True, False])
def test_rounds_in_which_the_machine_drifted_still_make_pairs(marked: bool) -> None:
    """Medians leave them out; what both arms share cancels in their ratio, and without these rounds nothing would be decided."""
    builder = grid(dict.fromkeys(BUDGETS, 1.05))
    drifted = [
        replace(item, metrics={METRIC: 0.8 * item.metrics[METRIC]}, valid=not marked, invalid_reason=DRIFTED) if item.round < 3 else item
        for item in builder.measurements
    ]
    result = compare_study(STUDY.id, builder.trials, drifted, [METRIC])
    assert [item.pairs for item in result.comparisons] == [6] * 6
    assert [item.ratio for item in result.comparisons] == pytest.approx([item.ratio for item in compare(builder).comparisons])
    assert result.answer is not None and not any("drifted," in caveat for caveat in result.answer.caveats)


def test_a_drifted_window_of_a_failed_trial_makes_no_pair() -> None:
    builder = grid({256: 1.05}, state=TrialState.FAIL)
    builder.measurements = [replace(item, valid=False, invalid_reason=DRIFTED) for item in builder.measurements]
    assert [item.pairs for item in compare(builder).comparisons] == [0, 0]


def test_drift_of_the_baseline_cancels_and_is_named() -> None:
    builder = StudyBuilder()
    for budget in BUDGETS:
        noise = [1 + 0.001 * math.sin(7 * n + budget) for n in range(8)]
        builder.trial("default", 32, budget, [100 * 0.98**n for n in range(8)])
        builder.trial("page_aligned", 32, budget, [105 * 0.98**n * noise[n] for n in range(8)])
    result = compare(builder)
    assert result.answer is not None and result.answer.answer == ANSWER_ON
    assert all(item.ratio == pytest.approx(1.05, rel=2e-3) for item in result.comparisons)
    assert any("drifted in 3 of 3" in caveat for caveat in result.answer.caveats)


def with_turns(builder: StudyBuilder, slower: float) -> list[Measurement]:
    """Measured AB, BA, BA, AB ...; the second of a pair is `slower`."""
    arms = {trial.id: trial.arm for trial in builder.trials}
    second = [(arms[item.trial_id] == ARM_PAGE_ALIGNED) is (item.round % 4 in (0, 3)) for item in builder.measurements]
    return [
        replace(item, position=int(late), metrics={METRIC: item.metrics[METRIC] * (slower if late else 1.0)})
        for item, late in zip(builder.measurements, second, strict=True)
    ]


@pytest.mark.parametrize("slower", [0.97, 1.0, 1.03])
def test_what_the_second_of_a_pair_pays_is_taken_out_and_named(slower: float) -> None:
    """It cancels in the mean, but hid a +1 %."""
    builder = grid(dict.fromkeys(BUDGETS, 1.01), rounds=12)
    result = compare_study(STUDY.id, builder.trials, with_turns(builder, slower), [METRIC])
    factors = [item.details["order_effect"] for item in result.comparisons]
    assert factors == pytest.approx([slower] * 6, abs=0.004) and (slower != 1.0 or set(factors) == {1.0})
    assert {item.verdict for item in result.comparisons} == {"better"}
    assert result.answer is not None and any("measured second" in caveat for caveat in result.answer.caveats) is (slower != 1.0)


def test_the_rounds_of_an_engine_are_decided_by_the_pairs_that_are_judged() -> None:
    builder = grid(dict.fromkeys(BUDGETS, 1.01), rounds=12)
    builder.measurements = with_turns(builder, 0.97)
    engine = {Configuration(32, t.max_num_batched_tokens, t.arm): t.id for t in builder.trials if t.block_size == 32}
    windows = {key: [item for item in builder.measurements if item.trial_id == trial] for key, trial in engine.items()}
    values = {key: {item.round: item.metrics[METRIC] for item in found} for key, found in windows.items()}
    positions = {key: {item.round: item.position for item in found} for key, found in windows.items()}
    history = RoundHistory(tuple(engine), values, 12, Direction.MAXIMIZE, positions=positions)
    judged = {(item.block_size, item.max_num_batched_tokens): item.ratio for item in compare(builder).comparisons}
    assert {cell: math.exp(typical_of(ratios).mean) for cell, ratios in history.pairs().items()} == pytest.approx(
        {cell: ratio for cell, ratio in judged.items() if cell[0] == 32}
    )


def test_looks_widen_the_intervals() -> None:
    builder = grid(dict.fromkeys(BUDGETS, 1.05))
    once, often = compare(builder).comparisons[0], compare(builder, plan=InterimPlan(3, 12)).comparisons[0]
    assert once.low is not None and often.low is not None and once.high is not None and often.high is not None
    assert often.low < once.low < once.high < often.high
    assert often.details["confidence"] > once.details["confidence"] == pytest.approx(0.95)


def test_each_metric_is_a_family_with_an_answer_of_its_own() -> None:
    builder = grid(dict.fromkeys(BUDGETS, 1.05))
    result = compare_study(STUDY.id, builder.trials, builder.measurements, [METRIC, "goodput"])
    assert list(result.answers) == [METRIC, "goodput"] and result.answer is result.answers[METRIC]
    assert result.answers["goodput"].answer == ANSWER_UNDECIDED
    assert {item.verdict for item in result.comparisons if item.metric == "goodput"} == {"inconclusive"}


def test_swapping_the_arms_swaps_the_answer() -> None:
    builder = grid(dict.fromkeys(BUDGETS, 1.05))
    other = {"default": "page_aligned", "page_aligned": "default"}
    swapped = StudyBuilder([replace(trial, arm=other[trial.arm]) for trial in builder.trials], builder.measurements)
    assert answer(builder).answer == ANSWER_ON and answer(swapped).answer == ANSWER_OFF
    for plain, turned in zip(compare(builder).comparisons, compare(swapped).comparisons, strict=True):
        assert plain.ratio is not None and turned.ratio == pytest.approx(1 / plain.ratio)


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(BadInput, match="unknown"):
        compare(StudyBuilder(), "p95")


@pytest.mark.parametrize("origin", [{"engine_start": 2}, {"engine_start": 1, "launcher": "serve"}])
def test_a_round_measured_in_two_engines_or_by_two_launchers_is_no_pair(origin: dict[str, object]) -> None:
    builder = StudyBuilder()
    baseline, candidate = builder.trial("default"), builder.trial("page_aligned")
    for number in range(4):
        builder.measure(baseline, number, {METRIC: 100.0}, details={"engine_start": 1})
        builder.measure(candidate, number, {METRIC: 105.0 if number else 500.0}, details={"engine_start": 1} if number else origin)
    (item,) = compare(builder).comparisons
    assert (item.pairs, item.details["rounds"], item.details["split_rounds"]) == (3, [1, 2, 3], [0])
    assert item.ratio == pytest.approx(1.05)
    assert any("different engines" in caveat for caveat in answer(builder).caveats)

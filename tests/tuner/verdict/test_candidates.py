from __future__ import annotations

from dataclasses import replace

import pytest

from storage.records import Stage, TrialState
from tests.tuner.evidence_builder import METRIC, StudyBuilder, poison
from tuner.metrics.objective import parse_objectives, parse_slo
from tuner.verdict.candidates import (
    best_by_value,
    candidates_of,
    choose,
    feasible,
    next_best,
    pareto_front,
    pick_finalists,
    settings_changed,
    tied_with_best,
)

THROUGHPUT = parse_objectives("throughput")
DEFAULTS = {"block_size": 32, "max_num_batched_tokens": 256}


def chosen(builder: StudyBuilder, defaults: dict[str, int] | None = None) -> int:
    """The trial id that is preferred."""
    return choose(candidates_of(builder.evidence(), Stage.SEARCH, THROUGHPUT), THROUGHPUT, defaults or {}).trial.id


def test_values_are_medians_over_usable_measurements() -> None:
    builder = StudyBuilder()
    trial = builder.trial(values=[100.0, 102.0, 98.0])
    poison(builder, trial, 1e9)
    (found,) = candidates_of(builder.evidence(), Stage.SEARCH, THROUGHPUT)
    assert found.metrics == {METRIC: 100.0} and len(found.measurements) == 3


def test_only_complete_trials_of_the_stage_study_and_environment_with_the_metric_are_candidates() -> None:
    builder = StudyBuilder()
    good = builder.trial(values=[100.0])
    builder.failed(great_values=[1e9])
    builder.trial(values=[1e9], state=TrialState.PRUNED)
    builder.trial(values=[1e9], state=TrialState.RUNNING)
    builder.trial(values=[1e9], stage=Stage.CONFIRM)
    builder.trial(values=[1e9], environment="another machine")
    builder.trial(values=[1e9], study_id=8)
    builder.trial()
    builder.measure(builder.trial(), 0, {"goodput": 1e9})
    assert [item.trial.id for item in candidates_of(builder.evidence(), Stage.SEARCH, THROUGHPUT)] == [good.id]


def test_outside_the_tie_band_the_best_value_wins() -> None:
    builder = StudyBuilder()
    builder.trial("default", values=[97.9])
    best = builder.trial("page_aligned", values=[100.0])
    assert chosen(builder, DEFAULTS) == best.id


def test_inside_the_tie_band_the_default_arm_comes_first() -> None:
    builder = StudyBuilder()
    builder.trial("page_aligned", values=[100.0])
    default = builder.trial("default", 64, 512, values=[98.1])
    assert chosen(builder, DEFAULTS) == default.id


def test_then_fewer_changes_to_vllms_defaults() -> None:
    builder = StudyBuilder()
    builder.trial("default", 64, 512, values=[100.0])
    builder.trial("default", 64, 256, values=[100.0])
    defaults = builder.trial("default", 32, 256, values=[98.5])
    assert chosen(builder, DEFAULTS) == defaults.id
    assert [settings_changed(trial, DEFAULTS) for trial in builder.trials] == [2, 1, 0]


def test_then_the_larger_page_the_smaller_budget_and_the_lower_number() -> None:
    builder = StudyBuilder()
    builder.trial("default", 32, 128, values=[100.0])
    builder.trial("default", 64, 512, values=[99.0])
    wanted = builder.trial("default", 64, 128, values=[99.0])
    builder.trial("default", 64, 128, values=[99.0])
    assert chosen(builder) == wanted.id


def test_a_latency_ties_upwards() -> None:
    builder = StudyBuilder()
    for arm, step_ms in (("page_aligned", 98.0), ("default", 99.9), ("default", 101.0)):
        builder.measure(builder.trial(arm), 0, {"mean_step_ms": step_ms})
    (objective,) = parse_objectives("mean_step_ms")
    found = candidates_of(builder.evidence(), Stage.SEARCH, [objective])
    assert best_by_value(found, objective).metrics["mean_step_ms"] == 98.0
    assert [item.metrics["mean_step_ms"] for item in tied_with_best(found, objective)] == [98.0, 99.9]
    assert choose(found, [objective], {}).trial.arm == "default"


def two_objectives(builder: StudyBuilder, *points: tuple[float, float]) -> None:
    for throughput, ttft_ms in points:
        builder.measure(builder.trial(), 0, {METRIC: throughput, "ttft_p99_ms": ttft_ms})


def test_a_second_objective_decides_among_the_tied() -> None:
    builder = StudyBuilder()
    two_objectives(builder, (100.0, 50.0), (99.0, 20.0), (90.0, 1.0))
    objectives = parse_objectives("throughput,ttft_p99_ms")
    found = candidates_of(builder.evidence(), Stage.SEARCH, objectives)
    assert choose(found, objectives, {}).trial.id == 2


def test_pareto_front() -> None:
    builder = StudyBuilder()
    two_objectives(builder, (100.0, 50.0), (99.0, 20.0), (98.0, 20.0), (90.0, 1.0), (90.0, 1.0))
    objectives = parse_objectives("throughput,ttft_p99_ms")
    front = pareto_front(candidates_of(builder.evidence(), Stage.SEARCH, objectives), objectives)
    assert [item.trial.id for item in front] == [1, 2, 4, 5]


def test_slos_decide_who_is_feasible_and_the_unmeasured_is_not() -> None:
    builder = StudyBuilder()
    two_objectives(builder, (100.0, 50.0), (99.0, 20.0))
    builder.trial(values=[500.0])
    found = candidates_of(builder.evidence(), Stage.SEARCH, THROUGHPUT)
    assert [item.trial.id for item in feasible(found, [parse_slo("ttft_p99_ms<=20")])] == [2]


def roles(builder: StudyBuilder, slo: str | None = None) -> list[tuple[int, str]]:
    slos = [parse_slo(slo)] if slo else []
    return [(item.trial.id, item.role) for item in pick_finalists(builder.evidence(defaults=DEFAULTS), THROUGHPUT, slos)]


def test_finalists_are_the_best_its_opposite_arm_and_a_tied_rival() -> None:
    builder = StudyBuilder()
    builder.trial("default", 32, 256, values=[80.0])  # 1: the opposite arm of the best
    builder.trial("page_aligned", 32, 256, values=[100.0])  # 2: best
    builder.trial("page_aligned", 64, 512, values=[99.5])  # 3: tied
    builder.trial("default", 64, 512, values=[98.5])  # 4: tied and simpler
    builder.trial("default", 16, 128, values=[50.0])
    builder.failed("page_aligned", 16, 128, great_values=[1e9])
    assert roles(builder) == [(2, "best"), (1, "opposite_arm"), (4, "runner_up")]


def test_finalists_without_rival_twin_or_feasible_configuration() -> None:
    builder = StudyBuilder()
    assert roles(builder) == []
    builder.trial("default", values=[100.0])
    builder.failed("page_aligned", great_values=[200.0])
    builder.trial("default", 64, values=[90.0])
    assert roles(builder) == [(1, "best")]
    assert roles(builder, "ttft_p99_ms<=1") == []


def test_the_opposite_arm_is_taken_even_where_it_misses_an_slo() -> None:
    builder = StudyBuilder()
    for arm, ttft_ms in (("default", 900.0), ("page_aligned", 10.0)):
        builder.measure(builder.trial(arm), 0, {METRIC: 100.0, "ttft_p99_ms": ttft_ms})
    assert roles(builder, "ttft_p99_ms<=20") == [(2, "best"), (1, "opposite_arm")]


def test_the_nearest_to_vllms_defaults_is_a_finalist_whatever_it_is_worth() -> None:
    builder = StudyBuilder()
    builder.trial("default", 64, 512, values=[100.0])  # 1: best
    builder.trial("default", 32, 128, values=[60.0])
    builder.trial("default", 32, 256, values=[50.0])  # 3: nearest to the defaults
    assert roles(builder) == [(1, "best"), (3, "baseline")]
    assert [item.role for item in pick_finalists(builder.evidence(defaults={}), THROUGHPUT, ())] == ["best"], "the defaults are unknown"


def test_choosing_among_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="empty"):
        choose([], THROUGHPUT, {})


def test_the_best_of_a_further_objective_is_a_finalist_too() -> None:
    builder = StudyBuilder()
    two_objectives(builder, (100.0, 50.0), (80.0, 20.0), (70.0, 10.0))
    for index, trial in enumerate(list(builder.trials)):
        builder.trials[index] = replace(trial, max_num_batched_tokens=128 * (index + 1))
    objectives = parse_objectives("throughput,ttft_p99_ms")
    found = pick_finalists(builder.evidence(), objectives, ())
    assert [(item.trial.id, item.role) for item in found] == [(1, "best"), (3, "other_objective")]


def test_the_next_best_is_what_was_never_started_cold() -> None:
    builder = StudyBuilder()
    for budget, level in ((128, 100.0), (256, 90.0), (512, 80.0)):
        builder.trial("default", 32, budget, [level] * 2)
    builder.failed("default", 32, 128, stage=Stage.CONFIRM)
    found = next_best(builder.evidence(), THROUGHPUT, ())
    assert found is not None and (found.trial.max_num_batched_tokens, found.role) == (256, "next_best")
    builder.trial("default", 32, 256, [89.0] * 2, stage=Stage.CONFIRM)
    assert next_best(builder.evidence(), THROUGHPUT, ()) is None, "one holds"
    slow = parse_slo("throughput>=95")
    assert next_best(builder.evidence(), THROUGHPUT, (slow,)) is None, "the rest of the search does not meet the SLO"


def test_a_baseline_that_holds_does_not_end_the_search_for_something_better() -> None:
    builder = StudyBuilder()
    builder.trial("default", 64, 512, [100.0] * 2)  # the best fails when started cold
    builder.trial("default", 32, 256, [50.0] * 2)  # the baseline
    builder.trial("default", 16, 256, [60.0] * 2)
    builder.trial("default", 32, 128, [40.0] * 2)
    builder.failed("default", 64, 512, stage=Stage.CONFIRM)
    builder.trial("default", 32, 256, [49.0] * 2, stage=Stage.CONFIRM)
    evidence = builder.evidence(defaults=DEFAULTS)
    found = next_best(evidence, THROUGHPUT, ())
    assert found is not None and (found.trial.block_size, found.role) == (16, "next_best")
    builder.failed("default", 16, 256, stage=Stage.CONFIRM)
    assert next_best(builder.evidence(defaults=DEFAULTS), THROUGHPUT, ()) is None, "what is left is worse than the baseline"

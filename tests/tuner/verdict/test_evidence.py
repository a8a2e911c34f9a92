from __future__ import annotations

from dataclasses import replace

import pytest

from storage.records import Study, TrialState
from tests.tuner.evidence_builder import METRIC, StudyBuilder, poison
from tuner.stats.sequential import InterimPlan
from tuner.verdict.evidence import COMPARABLE, MEASURED, cells_of, exclusion, interim_plan, metric_by_round, usable_measurements


def test_every_kind_of_bad_measurement_is_excluded_with_its_reason() -> None:
    builder = StudyBuilder()
    trial = builder.trial(values=[1.0, 2.0])
    poison(builder, trial, 1e9)
    usable, excluded = usable_measurements(builder.trials, builder.measurements, MEASURED)
    assert [item.metrics[METRIC] for item in usable[trial.id]] == [1.0, 2.0]
    assert excluded == {"busy": 1, "drifted": 2, "invalid": 1, "recompiled": 2, "request_failed": 2}
    in_pairs, left_out = usable_measurements(builder.trials, builder.measurements, MEASURED, in_pairs=True)
    assert len(in_pairs[trial.id]) == 4 and left_out == {reason: count for reason, count in excluded.items() if reason != "drifted"}


@pytest.mark.parametrize(("state", "finished", "comparable"), [
    (TrialState.COMPLETE, True, True),
    (TrialState.PRUNED, False, True),
    (TrialState.RUNNING, False, True),
    (TrialState.WAITING, False, False),
    (TrialState.FAIL, False, False),
])  # fmt: skip
def test_states(state: TrialState, finished: bool, comparable: bool) -> None:
    builder = StudyBuilder()
    trial = builder.trial(values=[1.0], state=state)
    assert (exclusion(trial, builder.measurements[0], MEASURED) is None) is finished
    assert (exclusion(trial, builder.measurements[0], COMPARABLE) is None) is comparable


def test_measurements_of_other_trials_are_ignored() -> None:
    builder = StudyBuilder()
    builder.trial(values=[1.0])
    stranger = replace(builder.measurements[0], trial_id=99)
    usable, excluded = usable_measurements(builder.trials, [stranger], MEASURED)
    assert usable == {} and excluded == {}
    assert exclusion(None, stranger, MEASURED) == "unknown_trial"


def test_a_cell_is_everything_but_the_arm() -> None:
    builder = StudyBuilder()
    same = [
        builder.trial("default"),
        builder.trial("page_aligned"),
        builder.trial("default", requested={"compiled_max_num_batched_tokens": 1024}),
    ]
    others = [
        builder.trial(block_size=64),
        builder.trial(budget=512),
        builder.trial(requested={"max_num_seqs": 8}),
        builder.trial(workload_hash="other"),
        builder.trial(environment="other"),
        builder.trial(requested={"enable_prefix_caching": False}),
    ]
    cells = cells_of(builder.trials)
    assert len({cells[trial.id] for trial in same}) == 1
    assert len({cells[trial.id] for trial in [same[0], *others]}) == 1 + len(others)


def test_a_trial_that_never_started_stands_in_its_own_cell() -> None:
    builder = StudyBuilder()
    ran, died = builder.trial("default"), builder.trial("page_aligned", environment=None)
    cells = cells_of(builder.trials)
    assert cells[ran.id] == cells[died.id]


def test_the_first_measurement_of_a_round_counts() -> None:
    builder = StudyBuilder()
    trial = builder.trial()
    later = builder.measure(trial, 0, {METRIC: 2.0}, position=5)
    earlier = builder.measure(trial, 0, {METRIC: 1.0}, position=1)
    other = builder.measure(trial, 1, {"goodput": 1.0})
    assert metric_by_round([later, earlier, other], METRIC) == {0: 1.0}


@pytest.mark.parametrize(
    ("rounds", "expected"),
    [({"min": 5, "max": 5}, None), ({"min": 3, "max": 12}, InterimPlan(3, 12)), ({"min": 1, "max": 1}, None), ({}, None)],
)
def test_the_looks_follow_the_rounds(rounds: dict[str, int], expected: InterimPlan | None) -> None:
    assert interim_plan(Study("s", "m", {"rounds": rounds}, "throughput")) == expected

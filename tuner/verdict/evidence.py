"""What counts as evidence: which measurements may enter, and which trials are the same configuration. Pure; compare and recommend rest
on it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from storage.records import (
    Comparison,
    Environment,
    Json,
    Measurement,
    Profile,
    Recommendation,
    Stage,
    Study,
    StudyState,
    Trial,
    TrialState,
    Workload,
)
from tuner.core.contrast import Contrast
from tuner.core.errors import FailureClass
from tuner.core.factors import ArmCell, Cell, Factors, cell_in_order, cell_of, factors_of, in_arm
from tuner.metrics.window import RECOMPILED
from tuner.serving.stored_settings import conditions_of
from tuner.setup.stored_study import StoredStudy
from tuner.stats.sequential import InterimPlan

MEASURED = frozenset({TrialState.COMPLETE})  # states of trials whose value counts
UNFINISHED = frozenset({TrialState.WAITING, TrialState.RUNNING})
COMPARABLE = frozenset(
    {TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING}
)  # a pruned trial's valid windows are still measurements

PRIOR = "prior"  # in the notes of a search trial: what the sampler knew besides measurements, in words
TWIN_OF = "twin_of"  # in the notes of a search trial that was not measured: the number of the one that is the same in effect
HOST = "host"  # in a window's details: of whoever asked for it
DRIFTED = "drifted"  # Measurement.invalid_reason of a window of rounds in which the machine was not what it was (tuner.trials.group)

# Which engine a window was measured in: launcher and number of the engine start within the study (None: not recorded).
type Origin = tuple[str | None, int | None]


@dataclass(frozen=True)
class Evidence:
    """Everything that is stored about one study. `defaults`: vLLM's own page size and chunk budget (setting -> value), as far as known.
    `recommendation`: the newest that is stored; nothing is concluded from it. `quarantined`: hosts in quarantine just now (host -> why)."""

    study: Study
    trials: Sequence[Trial]
    measurements: Sequence[Measurement]
    environment: Environment | None = None
    workload: Workload | None = None
    comparisons: Sequence[Comparison] = ()
    profiles: Sequence[Profile] = ()
    defaults: Json = field(default_factory=dict)
    recommendation: Recommendation | None = None
    quarantined: Mapping[str, str] = field(default_factory=dict)

    @property
    def interim(self) -> InterimPlan | None:
        """See interim_plan."""
        return interim_plan(self.study)

    @property
    def contrast(self) -> Contrast:
        """What the study compares in pairs."""
        return StoredStudy.from_record(self.study).contrast

    @property
    def confirming(self) -> bool:
        """Whether a finalist's cold start has ended: from then on a recommendation rests on the confirmation."""
        return any(trial.stage is Stage.CONFIRM and trial.state not in UNFINISHED for trial in self.trials)

    @property
    def unconfirmed(self) -> str | None:
        """Why finalists were not measured cold, in words; None where all were. Only the time budget makes a complete run leave some."""
        finalists = [trial for trial in self.trials if trial.stage is Stage.CONFIRM]
        left = sum(trial.state in UNFINISHED for trial in finalists)
        if not left:
            return None
        why = {StudyState.COMPLETE: "the time budget was over", StudyState.RUNNING: "the search still runs"}
        return (
            f"{left} of {len(finalists)} finalists not confirmed by a cold start: {why.get(self.study.state, 'the search was interrupted')}"
        )


def interim_plan(study: Study) -> InterimPlan | None:
    """The interim analyses of the study's rounds; None: analysed once, at the end."""
    rounds = StoredStudy.from_record(study).rounds
    return InterimPlan(rounds.min, rounds.max) if rounds is not None and 2 <= rounds.min < rounds.max else None


@dataclass(frozen=True)
class ComparedCell:
    """Page size x chunk budget x all other settings, workload and environment: two trials of one cell differ in their arm alone."""

    block_size: int
    max_num_batched_tokens: int
    settings: str  # canonical JSON of the other settings
    workload_hash: str
    environment: str
    factors: Factors = ()

    @property
    def place(self) -> Cell:
        """What of it was searched."""
        return cell_of(self.block_size, self.max_num_batched_tokens, self.factors)

    @property
    def order(self) -> tuple[Any, ...]:
        """A key to sort by."""
        return *cell_in_order(self.place), self.settings, self.workload_hash, self.environment


def cells_of(trials: Sequence[Trial]) -> dict[int, ComparedCell]:
    """Trial id -> cell. A trial that failed before its environment was known takes the commonest one, so that it stands in its own cell."""
    known = Counter(trial.environment for trial in trials if trial.environment)
    commonest = min(known, key=lambda name: (-known[name], name), default="")
    return {trial.id: _cell_of(trial, trial.environment or commonest) for trial in trials}


def _cell_of(trial: Trial, environment: str) -> ComparedCell:
    canonical = json.dumps(conditions_of(trial), sort_keys=True, separators=(",", ":"))
    factors = factors_of(trial.factors)
    return ComparedCell(trial.block_size, trial.max_num_batched_tokens, canonical, trial.workload_hash, environment, factors)


def place_of(item: Trial | Comparison) -> Cell:
    """The cell: page size, chunk budget and any further factors."""
    return cell_of(item.block_size, item.max_num_batched_tokens, factors_of(item.factors))


def exclusion(trial: Trial | None, measurement: Measurement, states: Collection[TrialState], *, in_pairs: bool = False) -> str | None:
    """Why a measurement must not enter, or None if it may. Nothing of a failed trial ever enters, however good its numbers.

    `in_pairs`: it is to be compared with the other arm's in the same round, from which a drift of the machine cancels.
    """
    if trial is None:
        return "unknown_trial"
    if trial.state not in states:
        return f"trial_{trial.state.value.lower()}"
    drifted = in_pairs and measurement.invalid_reason == DRIFTED
    if not drifted and (not measurement.valid or measurement.invalid_reason):
        return measurement.invalid_reason or "invalid"
    if measurement.details.get("compilations"):
        return RECOMPILED
    if measurement.metrics.get("failed"):
        return "request_failed"
    return None


def wrong_answers(trials: Sequence[Trial]) -> frozenset[ArmCell]:
    """The configurations that failed the guard on answers in one of the trials, whatever others of them say."""
    return frozenset(in_arm(trial.arm, place_of(trial)) for trial in trials if trial.error_class == FailureClass.WRONG_OUTPUT)


def usable_measurements(
    trials: Sequence[Trial], measurements: Sequence[Measurement], states: Collection[TrialState], *, in_pairs: bool = False
) -> tuple[dict[int, list[Measurement]], dict[str, int]]:
    """(trial id -> its usable measurements by round and position, reason -> number of excluded ones). Trials without any are absent.
    `in_pairs`: see `exclusion`."""
    wrong = wrong_answers(trials)
    by_id = {trial.id: trial for trial in trials}
    usable: dict[int, list[Measurement]] = {}
    excluded: dict[str, int] = {}
    for measurement in sorted(measurements, key=lambda item: (item.trial_id, item.round, item.position)):
        trial = by_id.get(measurement.trial_id)
        reason = exclusion(trial, measurement, states, in_pairs=in_pairs)
        if reason is None and wrong and trial is not None and in_arm(trial.arm, place_of(trial)) in wrong:
            reason = FailureClass.WRONG_OUTPUT.value
        if reason is None:
            usable.setdefault(measurement.trial_id, []).append(measurement)
        elif trial is not None:  # measurements of trials outside this question are not "excluded"
            excluded[reason] = excluded.get(reason, 0) + 1
    return usable, dict(sorted(excluded.items()))


def metric_by_round(measurements: Sequence[Measurement], metric: str) -> dict[int, float]:
    """Round -> value of the first measurement in it that has the metric."""
    return {number: float(item.metrics[metric]) for number, item in first_by_round(measurements, metric).items()}


def origin_by_round(measurements: Sequence[Measurement], metric: str) -> dict[int, Origin]:
    """Round -> where that value comes from. Two values are a pair only where this is the same: an engine start is a source of noise of its
    own (memory layout, compiled programs), and launchers measure different paths."""
    return {number: origin_of(item) for number, item in first_by_round(measurements, metric).items()}


def origin_of(measurement: Measurement) -> Origin:
    return measurement.details.get("launcher"), measurement.details.get("engine_start")


def first_by_round(measurements: Sequence[Measurement], metric: str) -> dict[int, Measurement]:
    """Round -> the first measurement in it that has the metric."""
    first: dict[int, Measurement] = {}
    for measurement in sorted(measurements, key=lambda item: (item.round, item.position)):
        if metric in measurement.metrics:
            first.setdefault(measurement.round, measurement)
    return first

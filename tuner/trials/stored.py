"""What a run has measured and what the database holds of it, brought together again after the database was away or is another one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from storage.base import Storage, StorageFault
from storage.records import Measurement, Trial
from tuner.trials.spool import Spool, told


class Run(Protocol):
    """A trial as it runs (tuner.trials.trial.TrialRun)."""

    trial: Trial
    measurements: list[Measurement]

    @property
    def finished(self) -> bool: ...


def store_kept(spool: Spool, storage: Storage, runs: Sequence[Run]) -> str:
    """The runs' windows that were kept become those that are stored; one that came too late is forgotten. Returns a line that says so."""
    found = spool.flush(storage)
    stored = {_moment(kept): now for kept, now in found}
    for run in runs:
        if any(item.id < 0 for item in run.measurements):
            now = [item if item.id >= 0 else stored.get(_moment(item)) for item in run.measurements]
            run.measurements = [item for item in now if item is not None]
    return told([now for _, now in found])


def require_stored(storage: Storage, study_id: int, runs: Sequence[Run], one: Run | None = None) -> None:
    """Raises StorageFault where the database does not hold what was measured and finished: another one was put in its place. `one`: look
    at this one only."""
    if one is None:
        trials, windows = storage.list_trials(study_id), storage.list_measurements(study_id=study_id)
    else:
        trials, windows = [storage.get_trial(one.trial.id)], storage.list_measurements(trial_id=one.trial.id)
    there = {_moment(item) for item in windows}
    states = {trial.id: trial.state for trial in trials}
    for run in runs if one is None else [one]:
        missing = sum(_moment(item) not in there for item in run.measurements)
        if missing or (run.finished and states.get(run.trial.id) is not run.trial.state):
            raise StorageFault(
                f"trial {run.trial.number} is not what was stored, {missing} of its windows are missing: was a backup restored?",
                "what is missing is measured again",
            )


def _moment(measurement: Measurement) -> tuple[int, int, float]:
    """What no two windows of a study share."""
    return measurement.trial_id, measurement.round, measurement.started_at

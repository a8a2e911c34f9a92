"""The HParams tab of TensorBoard, filled from storage: every trial of every study as a row with its settings and results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from profiles.tensorboard import HParamsTrial, Scalar, write_hparams
from storage.base import Storage
from storage.records import Measurement, Study, Trial, TrialState
from tuner.conclude import SIDE_METRICS
from tuner.objective import median_metrics
from tuner.profiling import run_name

MOST_STUDIES = 200


class HParamsTab:
    """Writes the tab's files below a logdir, again only where something has changed."""

    def __init__(self, storage: Storage, logdir: Path) -> None:
        self._storage = storage
        self._logdir = logdir
        self._written: list[HParamsTrial] | None = None

    def refresh(self) -> int:
        """Returns the number of trials. Raises StorageFault, ProfileError."""
        rows = [row for study in self._storage.list_studies(limit=MOST_STUDIES) for row in _rows(self._storage, study)]
        if rows != self._written:
            write_hparams(self._logdir, rows)
            self._written = rows
        return len(rows)


def _rows(storage: Storage, study: Study) -> list[HParamsTrial]:
    measurements: dict[int, list[Measurement]] = {}
    for item in storage.list_measurements(study_id=study.id):
        measurements.setdefault(item.trial_id, []).append(item)
    return [_row(study, trial, measurements.get(trial.id, [])) for trial in storage.list_trials(study.id)]


def _row(study: Study, trial: Trial, measurements: Sequence[Measurement]) -> HParamsTrial:
    settings: dict[str, Scalar | None] = {
        "study": study.name,
        "model": study.model,
        "arm": trial.arm,
        "block_size": trial.block_size,
        "max_num_batched_tokens": trial.max_num_batched_tokens,
        "stage": trial.stage.value,
        "state": trial.state.value,
    }
    return HParamsTrial(
        run=run_name(study.name, trial),
        settings=settings,
        results=_results(trial, measurements) if trial.state is TrialState.COMPLETE else {},
        started_at=trial.started_at or trial.created_at,
        finished_at=trial.finished_at,
        failed=trial.state in {TrialState.FAIL, TrialState.PRUNED},
    )


def _results(trial: Trial, measurements: Sequence[Measurement]) -> dict[str, float]:
    """The objective's values, and medians of what is of interest beside them."""
    medians = median_metrics(measurements) if any(item.valid for item in measurements) else {}
    return {**{name: medians[name] for name in SIDE_METRICS if name in medians}, **{k: float(v) for k, v in (trial.values or {}).items()}}

"""The HParams tab of TensorBoard, filled from storage: every trial of every study as a row with its settings and results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from profiles.tensorboard import HParamsTrial, Scalar, write_hparams
from storage.base import Storage
from storage.records import Measurement, Study, Trial, TrialState
from tuner.core.contract import SETTINGS
from tuner.metrics.objective import median_metrics
from tuner.serving.stored_settings import COMPILED_MAX
from tuner.trials.profiling import run_name
from tuner.verdict.conclude import SIDE_METRICS

MOST_STUDIES = 200
ALWAYS_SHOWN = ("study", "model", "arm", "block_size", "max_num_batched_tokens", "stage", "state")
_HIDDEN = frozenset({COMPILED_MAX, *(name for name, setting in SETTINGS.items() if not setting.shown)})


class HParamsTab:
    """Writes the tab's files below a logdir, again only where something has changed."""

    def __init__(self, storage: Storage, logdir: Path) -> None:
        self._storage = storage
        self._logdir = logdir
        self._written: list[HParamsTrial] | None = None

    def refresh(self) -> int:
        """Returns the number of trials. Raises StorageFault, ProfileError."""
        rows = _without_constants([row for study in self._storage.list_studies(limit=MOST_STUDIES) for row in _rows(self._storage, study)])
        if rows != self._written:
            write_hparams(self._logdir, rows)
            self._written = rows
        return len(rows)


def _without_constants(rows: Sequence[HParamsTrial]) -> list[HParamsTrial]:
    """Of all that was requested, only what some trials have otherwise than others: a column of one value tells nothing."""
    names = {name for row in rows for name in row.settings}
    varying = {name for name in names if len({row.settings.get(name) for row in rows}) > 1} | set(ALWAYS_SHOWN)
    return [replace(row, settings={name: value for name, value in row.settings.items() if name in varying}) for row in rows]


def _rows(storage: Storage, study: Study) -> list[HParamsTrial]:
    measurements: dict[int, list[Measurement]] = {}
    for item in storage.list_measurements(study_id=study.id):
        measurements.setdefault(item.trial_id, []).append(item)
    return [_row(study, trial, measurements.get(trial.id, [])) for trial in storage.list_trials(study.id)]


def _row(study: Study, trial: Trial, measurements: Sequence[Measurement]) -> HParamsTrial:
    requested = {name: value for name, value in trial.requested.items() if isinstance(value, Scalar) and name not in _HIDDEN}
    settings: dict[str, Scalar | None] = {
        **requested,
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

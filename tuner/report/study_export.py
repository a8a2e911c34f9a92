"""A study's trials and measured windows as one text: CSV with a row a window, or a JSON document. Pure."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from storage.records import Measurement, Study, Trial
from tuner.report.report import study_json, trial_json

TRIAL_COLUMNS = ("trial", "stage", "state", "arm", "block_size", "max_num_batched_tokens", "error_class")
WINDOW_COLUMNS = ("round", "position", "started_at", "duration_s", "valid", "invalid_reason")


def study_csv(trials: Sequence[Trial], measurements: Sequence[Measurement]) -> str:
    """A trial without a window has one row with empty cells, so that failures are not lost."""
    metrics = sorted({name for item in measurements for name in item.metrics})
    factors = sorted({name for trial in trials for name in trial.factors})
    by_trial: dict[int, list[Measurement]] = {trial.id: [] for trial in trials}
    for item in measurements:
        by_trial[item.trial_id].append(item)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*TRIAL_COLUMNS, *factors, *WINDOW_COLUMNS, *metrics])
    for trial in trials:
        levels = [trial.factors.get(name, "") for name in factors]
        left: list[Any] = [trial.number, trial.stage.value, trial.state.value, *_settings(trial), trial.error_class or "", *levels]
        for item in by_trial[trial.id]:
            window = [item.round, item.position, item.started_at, item.duration_s, int(item.valid), item.invalid_reason or ""]
            writer.writerow([*left, *window, *(item.metrics.get(name, "") for name in metrics)])
        if not by_trial[trial.id]:
            writer.writerow([*left, *[""] * (len(WINDOW_COLUMNS) + len(metrics))])
    return buffer.getvalue()


def _settings(trial: Trial) -> list[Any]:
    return [trial.arm, trial.block_size, trial.max_num_batched_tokens]


def study_document(study: Study, trials: Sequence[Trial], measurements: Sequence[Measurement]) -> str:
    """JSON: the study with its configuration, and its trials with their windows."""
    windows: dict[int, list[dict[str, Any]]] = {trial.id: [] for trial in trials}
    for item in measurements:
        fields = {name: getattr(item, name) for name in (*WINDOW_COLUMNS, "metrics", "details")}
        windows[item.trial_id].append({"id": item.id, **fields})
    document = {
        "study": {**study_json(study), "config": study.config},
        "trials": [{**trial_json(trial), "measurements": windows[trial.id]} for trial in trials],
    }
    return json.dumps(document, indent=2, allow_nan=False) + "\n"

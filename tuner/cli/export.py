"""`tuner export`: a study's trials and measurements, one row a window, or one JSON document."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tuner.cli.options import examples, json_option, reading, required_study, storage_option
from tuner.errors import BadInput

if TYPE_CHECKING:
    from storage.records import Measurement, Study, Trial

TRIAL_COLUMNS = ("trial", "stage", "state", "arm", "block_size", "max_num_batched_tokens", "error_class")
WINDOW_COLUMNS = ("round", "position", "started_at", "duration_s", "valid", "invalid_reason")


@click.command(epilog=examples("tuner export first --format csv --output first.csv", "tuner export first --format json | jq .trials"))
@click.argument("study")
@click.option("--format", "form", type=click.Choice(["csv", "json"]), default="csv", show_default=True)
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE", help="A new file.  [default: standard output]")
@storage_option
@json_option
def export(study: str, form: str, output: Path | None, storage: str, as_json: bool) -> None:
    """Export STUDY: its trials (failed ones too, without values) and every measured window."""
    with reading(storage) as opened:
        found = required_study(opened, study)
        trials, measurements = opened.list_trials(found.id), opened.list_measurements(study_id=found.id)
    text = _as_json(found, trials, measurements) if as_json or form == "json" else _as_csv(trials, measurements)
    if output is None:
        print(text, end="")
        return
    try:
        with output.open("x", encoding="utf-8", newline="") as file:
            file.write(text)
    except FileExistsError:
        raise BadInput(f"--output {output} exists; name a new file") from None
    except OSError as error:
        raise BadInput(f"--output {output} cannot be written: {error.strerror}") from error


def _as_csv(trials: Sequence[Trial], measurements: Sequence[Measurement]) -> str:
    """A trial without a window has one row with empty cells, so that failures are not lost."""
    metrics = sorted({name for item in measurements for name in item.metrics})
    by_trial: dict[int, list[Measurement]] = {trial.id: [] for trial in trials}
    for item in measurements:
        by_trial[item.trial_id].append(item)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*TRIAL_COLUMNS, *WINDOW_COLUMNS, *metrics])
    for trial in trials:
        left: list[Any] = [trial.number, trial.stage.value, trial.state.value, *_settings(trial), trial.error_class or ""]
        for item in by_trial[trial.id]:
            window = [item.round, item.position, item.started_at, item.duration_s, int(item.valid), item.invalid_reason or ""]
            writer.writerow([*left, *window, *(item.metrics.get(name, "") for name in metrics)])
        if not by_trial[trial.id]:
            writer.writerow([*left, *[""] * (len(WINDOW_COLUMNS) + len(metrics))])
    return buffer.getvalue()


def _settings(trial: Trial) -> list[Any]:
    return [trial.arm, trial.block_size, trial.max_num_batched_tokens]


def _as_json(study: Study, trials: Sequence[Trial], measurements: Sequence[Measurement]) -> str:
    from tuner.report import study_json, trial_json

    windows: dict[int, list[dict[str, Any]]] = {trial.id: [] for trial in trials}
    for item in measurements:
        fields = {name: getattr(item, name) for name in (*WINDOW_COLUMNS, "metrics", "details")}
        windows[item.trial_id].append({"id": item.id, **fields})
    document = {
        "study": {**study_json(study), "config": study.config},
        "trials": [{**trial_json(trial), "measurements": windows[trial.id]} for trial in trials],
    }
    return json.dumps(document, indent=2, allow_nan=False) + "\n"

"""`tuner export`: a study's trials and measurements, one row a window, or one JSON document."""

from __future__ import annotations

from pathlib import Path

import click

from tuner.cli.options import examples, json_option, reading, required_study, storage_option, study_argument
from tuner.core.errors import BadInput


@click.command(epilog=examples("tuner export first --format csv --output first.csv", "tuner export first --format json | jq .trials"))
@study_argument()
@click.option("--format", "form", type=click.Choice(["csv", "json"]), default="csv", show_default=True)
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE", help="A new file.  [default: standard output]")
@storage_option
@json_option
def export(study: str, form: str, output: Path | None, storage: str, as_json: bool) -> None:
    """Export STUDY: its trials (failed ones too, without values) and every measured window."""
    from tuner.report.study_export import study_csv, study_document
    from tuner.verdict.conclude import trials_and_windows

    with reading(storage) as opened:
        found = required_study(opened, study)
        trials, measurements = trials_and_windows(opened, found.id)
    text = study_document(found, trials, measurements) if as_json or form == "json" else study_csv(trials, measurements)
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

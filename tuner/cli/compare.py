"""`tuner compare`: verdicts from what is stored, as text, JSON, or the evidence report in Markdown or HTML."""

from __future__ import annotations

import click

from tuner.cli.options import examples, json_option, print_json, reading, required_study, storage_option, study_argument

EPILOG = examples(
    "tuner compare first",
    "tuner compare first --metric mean_step_ms",
    "tuner compare first --format markdown > evidence.md",
    "tuner compare first --format html > evidence.html         # one file, with charts",
)


@click.command(epilog=EPILOG)
@study_argument()
@click.option("--format", "form", type=click.Choice(["table", "json", "markdown", "html"]), default="table", show_default=True)
@click.option("--metric", metavar="METRIC", help="Only this metric.  [default: the objective's; the other formats: all]")
@storage_option
@json_option
def compare(study: str, form: str, metric: str | None, storage: str, as_json: bool) -> None:
    """Page-aligned against default scheduling in every cell of STUDY, each with its interval and verdict."""
    from storage.renamed import current_metric
    from tuner.cli.verdicts import print_verdicts
    from tuner.core.errors import BadInput
    from tuner.metrics.catalog import metric_info
    from tuner.report.evidence_report import evidence_markdown
    from tuner.report.report import study_comparison_json, study_json
    from tuner.verdict.conclude import compare_stored, load_evidence

    with reading(storage) as opened:
        found = required_study(opened, study)
        metric = None if metric is None else current_metric(metric)
        comparison = compare_stored(opened, found, (metric,) if metric is not None else None)
        if metric is not None:
            metric_info(metric)
            if all(item.pairs == 0 for item in comparison.comparisons):
                raise BadInput(f"metric {metric} was not measured in both arms of study {study!r}; see tuner show {study}")
        if as_json or form == "json":
            print_json({"study": study_json(found), **study_comparison_json(comparison)})
        elif form == "markdown":
            print(evidence_markdown(load_evidence(opened, found), comparison))
        elif form == "html":
            from tuner.report.evidence_html import evidence_html

            print(evidence_html(load_evidence(opened, found), comparison), end="")
        else:
            print_verdicts(comparison)

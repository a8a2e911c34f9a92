"""Verdicts and recommendations as text on standard output."""

from __future__ import annotations

from collections.abc import Sequence

from storage.records import Comparison
from tuner.cli.tables import interval, text_table
from tuner.core.factors import further
from tuner.core.numbers import change, number
from tuner.metrics.catalog import Direction, metric_info
from tuner.report.cell_why import cause_of, cost_line, why_lines
from tuner.report.legend import MARKS
from tuner.report.recommended import expected_lines
from tuner.report.report import first_metric, serve_command
from tuner.stats.intervals import Verdict
from tuner.verdict.answer import STATUS_NONE, STATUS_PREDICTED, Answer
from tuner.verdict.changes import change_lines
from tuner.verdict.compare import StudyComparison
from tuner.verdict.compared import stored_contrast

HEADERS = ("page size", "chunk budget", "aligned/default", "95 % interval", "pairs", "verdict")


def verdict_rows(comparisons: Sequence[Comparison]) -> list[list[str]]:
    return [
        [
            str(item.block_size),
            f"{item.max_num_batched_tokens}{further(item.factors)}",
            change(item.ratio),
            interval(item.low, item.high),
            str(item.pairs),
            item.verdict + (f" ({item.details['reason']})" if item.details.get("reason") else ""),
        ]
        for item in comparisons
    ]


def print_verdicts(comparison: StudyComparison) -> None:
    """The table of the objective's metric and the study's answer."""
    rows = first_metric(comparison.comparisons)
    if rows:
        _print_cells(rows)
    answer = comparison.answer
    if answer is not None:
        print(f"{'\n' if rows else ''}answer: {answer.sentence}")
        if answer.average:
            print(f"  {answer.average}")
        for note in answer.notes:
            print(f"  note: {note}")


def _print_cells(rows: Sequence[Comparison]) -> None:
    info, contrast = metric_info(rows[0].metric), stored_contrast(rows[0])
    print(f"{contrast.title}, {info.name} ({info.unit}, {'more' if info.direction is Direction.MAXIMIZE else 'less'} is better):")
    headers = HEADERS if contrast.of_arms else tuple("ratio" if item == "aligned/default" else item for item in HEADERS)
    print(text_table(headers, verdict_rows(rows)))
    for verdict in dict.fromkeys(row.verdict for row in rows):
        print(f"  {verdict}: {MARKS[Verdict(verdict)].meaning}")
    _print_why(rows)


def _print_why(rows: Sequence[Comparison]) -> None:
    """A line a cell, and where their sizes come from."""
    lines = why_lines(rows)
    if lines:
        print("\nwhy (page size x chunk budget, page-aligned against default):")
        for line in lines:
            print(f"  {line}")
    cost = cost_line([cause_of(item) for item in rows])
    if cost is not None:
        print(f"  note: {cost}")


def print_answer(answer: Answer) -> None:
    print(answer.reason if answer.status == STATUS_PREDICTED else f"recommendation: {answer.status} - {answer.reason}")
    if answer.match["kind"] == "nearest":
        print(f"  match: nearest, {number(answer.match['distance'])} away")
        for name, part in answer.match["parts"].items():
            print(f"    {name}: asked {part['asked']}, measured {part['measured']} ({number(part['distance'])})")
    for reason in answer.stale["reasons"]:
        print(f"  stale: {reason}; measure again with tuner search")
    if answer.status == STATUS_NONE:
        return
    for line in (*change_lines(answer.changes), *expected_lines(answer)):
        print(f"  {line}")
    for caveat in answer.caveats:
        print(f"  note: {caveat}")
    print(f"  {serve_command(answer)}")

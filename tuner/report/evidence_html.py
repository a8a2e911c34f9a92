"""The evidence report as one HTML file: charts inline, no script, nothing fetched; readable in the dark and on paper."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from storage.records import Json
from tuner.core.errors import BadInput
from tuner.metrics.catalog import Direction, metric_info
from tuner.report.asked import cell_headers, question_text, report_title
from tuner.report.by_setting import HEADERS, HEADING, by_setting_rows, by_setting_text
from tuner.report.cell_why import WHY_HEADERS, WHY_HEADING, why_rows
from tuner.report.effects import MOST_FOREST_ROWS, Effects, effect_cells, effects_of, in_words
from tuner.report.evidence_report import (
    WRITE_HEADING,
    answer_text,
    average_text,
    caveat_lines,
    cell_rows,
    effects_by_setting,
    environment_rows,
    explained,
    failure_lines,
    host_lines,
    method_text,
    metric_text,
    why_text,
)
from tuner.report.legend import legend_text
from tuner.report.recommended import RECOMMENDED_HEADING, recommended_cell, recommended_lines
from tuner.report.repeat import repeat_command
from tuner.report.write_fraction import write_lines
from tuner.verdict.cell_claims import Place
from tuner.verdict.compare import StudyComparison
from tuner.verdict.conclude import study_objectives
from tuner.verdict.evidence import Evidence

if TYPE_CHECKING:
    from tuner.report.charts.theme import Look

# Nothing may be loaded or run, whatever a name in the study says.
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --ground: #ffffff; --soft: #f3f5f7; --line: #8c959f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --ground: #0d1117; --soft: #1b222b; --line: #6e7781; } }
body { margin: 2rem auto; max-width: 60rem; padding: 0 1rem; font: 1rem/1.55 system-ui, sans-serif; color: var(--ink);
  background: var(--ground); }
h1, h2 { line-height: 1.25; } h2 { margin-top: 2.2rem; }
.answer { border-left: .35rem solid var(--line); background: var(--soft); padding: .8rem 1rem; font-size: 1.1rem; font-weight: 600; }
.wide, figure { overflow-x: auto; position: relative; } figure { margin: 1rem 0; } svg { max-width: 100%; height: auto; }
@media (max-width: 640px) { svg { max-width: none; } }
.dark { display: none; } @media screen and (prefers-color-scheme: dark) { .dark { display: block; } .light { display: none; } }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .8rem .3rem 0; text-align: left; overflow-wrap: anywhere; }
table.cells th, table.cells td { white-space: nowrap; }
:focus-visible { outline: 3px solid #3b82f6; outline-offset: 2px; }
pre { background: var(--soft); padding: .8rem; white-space: pre-wrap; overflow-wrap: anywhere; }
@media print { :root { --ink: #000; --ground: #fff; --soft: #fff; --line: #555; } body { margin: 0; max-width: none; font-size: 10pt; }
  figure, table, .answer { break-inside: avoid; } h2 { break-after: avoid; } }
"""


def evidence_html(evidence: Evidence, comparison: StudyComparison) -> str:
    """Question, answer, method, environment, each metric with forest plot, heat map and table, failures, caveats, how to repeat.

    Raises BadInput where the extra `ui`, which draws, is missing.
    """
    contrast = evidence.contrast
    title = report_title(contrast, evidence.study.name)
    average = average_text(comparison)
    parts = [f"<h1>{escape(title)}</h1>", f"<p>{escape(question_text(contrast))}</p>"]
    parts += ["<h2>Answer</h2>", f'<p class="answer">{escape(answer_text(comparison, contrast))}</p>']
    parts += [f"<p>{escape(average)}</p>" if average else ""]
    recommended = recommended_lines(evidence)
    if recommended:
        parts += [f"<h2>{RECOMMENDED_HEADING}</h2>", _list(recommended)]
    parts += ["<h2>Method</h2>", f"<p>{_with_code(method_text(evidence))}</p>"]
    parts += ["<h2>Environment</h2>", _table("Environment", ("what", "value"), environment_rows(evidence))]
    for metric in dict.fromkeys(item.metric for item in comparison.comparisons):
        parts += _metric(metric, comparison, recommended_cell(evidence))
    parts += _by_setting(evidence)
    first = explained(comparison)
    if first:
        parts += [f"<h2>{escape(WHY_HEADING)}</h2>", f"<p>{escape(why_text(first))}</p>"]
        parts.append(_table(WHY_HEADING, WHY_HEADERS, why_rows(first)))
    written = write_lines(evidence)
    if written:
        parts += [f"<h2>{escape(WRITE_HEADING)}</h2>", _list(written)]
    parts += [
        "<h2>What failed</h2>",
        _list(failure_lines(evidence)),
        "<h2>Caveats</h2>",
        _list([*host_lines(evidence), *caveat_lines(comparison)]),
    ]
    parts += ["<h2>How to repeat</h2>", f"<pre>{escape(repeat_command(evidence))}</pre>"]
    head = (
        f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(title)}</title><style>{STYLE}</style>'
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body><main>\n' + "\n".join(parts) + "\n</main></body></html>\n"


def _forest_caption(effects: Effects, recommended: Place | None) -> str:
    star = "" if recommended is None else " Star: the recommended cell."
    mark = f"Mark: geometric mean over {effects.contrast.unit}s. Line: its interval; an arrow: it goes on."
    what = f"{mark} Band: no practical difference.{star} {legend_text()}"
    left_out = effects.left_out(recommended)
    if left_out == 0:
        return what
    also = "" if recommended is None else " and the recommended cell"
    return f"The {MOST_FOREST_ROWS} largest effects{also}; {left_out} more cells are in the table below. {what}"


def _metric(metric: str, comparison: StudyComparison, recommended: Place | None) -> list[str]:
    info = metric_info(metric)
    rows = [item for item in comparison.comparisons if item.metric == metric]
    better = "more is better" if info.direction.sign > 0 else "less is better"
    parts = [f"<h2>{escape(metric)} ({escape(info.unit)}, {better})</h2>"]
    alone = metric_text(comparison, metric)
    if alone:
        parts.append(f"<p>{escape(alone)}</p>")
    effects = effects_of(comparison.comparisons, metric)
    if effects.forest(recommended):
        drawn = _pictures(effects, lambda found, look: _forest(found, look, recommended))
        parts.append(_figure(f"Forest plot of {metric}", drawn, _forest_caption(effects, recommended)))
        parts.append(_figure(f"Heat map of {metric}", _pictures(effects, _heat_map), "The change in percent; stronger colour is better."))
    return [*parts, _table(f"Cells of {metric}", cell_headers(effects.contrast), cell_rows(rows), "cells")]


def _by_setting(evidence: Evidence) -> list[str]:
    effects, objective = effects_by_setting(evidence), study_objectives(evidence.study)[0]
    if not effects:
        return []

    def draw(look: Look) -> Json:
        from tuner.report.charts.effect_plot import effect_plot

        return effect_plot(effects, objective.metric, objective.direction is Direction.MINIMIZE, look)

    name = f"Average effects on {objective.metric}"
    drawn = _in_both(draw, name, "The table below holds its numbers.")
    caption = "Mark: average. Line: its interval, cut at the picture's edge. Ticks: single cells. The largest, where there are many."
    return [
        f"<h2>{HEADING}</h2>",
        f"<p>{escape(by_setting_text(effects, objective.metric))}</p>",
        _figure(name, drawn, caption),
        _table(name, HEADERS, by_setting_rows(effects), "cells"),
    ]


def _forest(effects: Effects, look: Look, recommended: Place | None) -> Json:
    from tuner.report.charts.forest import forest

    return forest(effects.forest(recommended), effects.metric, effects.less_is_better, look, recommended, compared=effects.title)


def _heat_map(effects: Effects, look: Look) -> Json:
    from tuner.report.charts.heat_map import heat_map

    return heat_map(effect_cells(effects), "%", effects.less_is_better, look)


def _pictures(effects: Effects, draw: Callable[[Effects, Look], Json]) -> str:
    return _in_both(lambda look: draw(effects, look), f"{effects.title}: {effects.metric}", in_words(effects))


def _in_both(draw: Callable[[Look], Json], title: str, words: str) -> str:
    """In light and in dark colours, of which the reader's settings show one. Raises BadInput where the extra `ui` is missing."""
    try:
        from tuner.report.charts.render import Renderer
        from tuner.report.charts.theme import Look, Scheme
    except ImportError as error:
        raise BadInput(f"charts need the extra ui, {error.name} is not installed", fix="pip install 'vllm-tpu-tuner[ui]'") from error
    renderer = Renderer()
    drawn = {scheme: renderer.picture(draw(Look(scheme)), title, words) for scheme in Scheme}
    return "".join(f'<div class="{scheme}">{svg}</div>' for scheme, svg in drawn.items())


def _figure(name: str, svg: str, caption: str) -> str:
    """May be wider than a phone, so a keyboard can reach it to scroll."""
    return f'<figure tabindex="0" aria-label="{escape(name)}">{svg}<figcaption>{escape(caption)}</figcaption></figure>'


def _table(name: str, headers: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "plain") -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in headers)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    table = f'<table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="wide" role="region" aria-label="{escape(name)}" tabindex="0">{table}</div>'


def _list(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def _with_code(text: str) -> str:
    """`words` in backquotes as code."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(text))

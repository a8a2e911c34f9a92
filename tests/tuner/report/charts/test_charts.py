"""Forest plot and heat map: every cell in the right place, one legend, nothing fetched from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any
from xml.etree import ElementTree

import pytest

from service.pages.templating import environment
from storage.records import Comparison
from tests.tuner.evidence_builder import answered
from tests.tuner.report.charts.drawings import CELLS, TIMES, label, row, texts
from tuner.report.charts.forest import forest
from tuner.report.charts.heat_map import heat_map
from tuner.report.charts.render import Renderer
from tuner.report.charts.theme import Look, Scheme
from tuner.report.effects import POOLED, Effects, effect_cells, effects_of, in_words
from tuner.report.legend import MARKS, legend_text
from tuner.stats.intervals import Verdict


def effects(cells: list[Comparison]) -> Effects:
    return effects_of(answered(cells), cells[0].metric)


def drawn(cells: list[Comparison], chart: str = "forest", scheme: Scheme = Scheme.LIGHT) -> str:
    found, look = effects(cells), Look(scheme)
    spec: dict[str, Any]
    if chart == "forest":
        spec = forest(found.forest(), found.metric, found.less_is_better, look)
    else:
        spec = heat_map(effect_cells(found), "%", found.less_is_better, look)
    return Renderer().picture(spec, "title", in_words(found))


def points(svg: str) -> list[tuple[float, float]]:
    """(x, y) of the plotted marks, from their own group, from the top down."""
    group = re.search(r'<g class="mark-symbol role-mark[^>]*>(.*?)</g>', svg)
    assert group is not None
    found = re.findall(r'transform="translate\(([-\d.]+),([-\d.]+)\)"', group[1])
    return sorted(((float(x), float(y)) for x, y in found), key=lambda point: point[1])


@pytest.mark.slow
def test_the_forest_plot_has_a_mark_for_each_judged_cell_and_all_of_them_last() -> None:
    svg = drawn(list(reversed(CELLS)))
    labels = [text for text in texts(svg) if TIMES in text or text == POOLED]
    assert labels == [label(16, 128), label(16, 256), label(32, 128), label(32, 256), POOLED]
    middle = Look().plot_width / 2
    better, small, worse, none, pooled = (x - middle for x, _ in points(svg))
    assert none == pytest.approx(0.0, abs=1e-6) and better / small == pytest.approx(5 / 2) and worse / small == pytest.approx(-4 / 2)
    assert pooled / small == pytest.approx(0.6967 / 2, rel=0.001)  # exp of the mean log of 1.05, 1.02, 0.96 and 1


@pytest.mark.slow
@pytest.mark.parametrize(("ratio", "half", "arrows"), [(1.02, 30.0, True), (40.0, 30.0, True), (1.02, 0.08, False), (0.1, 0.05, True)])
def test_one_noisy_cell_squeezed_all_others_into_a_line(ratio: float, half: float, arrows: bool) -> None:
    noisy = row(128, 512, "inconclusive", ratio, half=half)
    svg = drawn([*CELLS, *(row(64, budget, "equivalent", 1.0, half=0.02) for budget in (512, 1024, 2048)), noisy])
    marks = re.findall(r'<g class="mark-symbol role-mark layer_\d+_marks"[^>]*>(.*?)</g>', svg)
    assert any("<path" in found for found in marks[1:]) is arrows
    better, worse = (x for x, y in points(svg)[:3:2])
    assert better - worse > 0.1 * Look().plot_width, "+5 % and -4 % are apart"


@pytest.mark.slow
def test_the_heat_map_says_each_effect() -> None:
    found = texts(drawn(CELLS, "heat map"))
    for words in ("+5.00 %", "+2.00 %", "-4.00 %", "+0.00 %", "no pair", "page_aligned against default"):
        assert words in found


@pytest.mark.slow
def test_a_cell_measured_in_two_environments_has_two_rows_and_one_square() -> None:
    twice = [row(16, 128, "better", 1.05, pairs=3), row(16, 128, "worse", 0.95, pairs=6)]
    assert f"{label(16, 128)} (2)" in texts(drawn(twice))
    assert "-5.00 %" in texts(drawn(twice, "heat map")) and "+5.00 %" not in texts(drawn(twice, "heat map"))


@pytest.mark.slow
def test_where_less_is_better_a_drop_has_the_strong_colour() -> None:
    slower = [row(16, 128, "worse", 1.05, metric="ttft_p99_ms"), row(32, 128, "better", 0.95, metric="ttft_p99_ms")]
    faster = [row(16, 128, "worse", 0.95), row(32, 128, "better", 1.05)]
    assert any("left is better" in text for text in texts(drawn(slower)))
    square = r'aria-label="[^"]*" role="graphics-symbol"[^>]*fill="(rgb[^"]*)"|fill="(rgb[^"]*)"'
    assert re.findall(square, drawn(slower, "heat map")) == re.findall(square, drawn(faster, "heat map")) != []


@pytest.mark.slow
@pytest.mark.parametrize("chart", ["forest", "heat map"])
@pytest.mark.parametrize("scheme", Scheme)
def test_a_chart_reads_aloud_and_fetches_nothing(chart: str, scheme: Scheme) -> None:
    svg = drawn(CELLS, chart, scheme)
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img"
    said = str(root[1].text)
    assert f"{label(32, 128)}: -4.00 %, worse" in said and f"{label(64, 256)}: no pair, inconclusive" in said
    assert not re.search(r"<(script|style|image|foreignObject)\b|href=", svg)


@pytest.mark.slow
def test_every_verdict_has_one_mark_in_charts_pages_and_captions() -> None:
    """A circle once meant "better" in the report and "inconclusive" on the pages."""
    assert MARKS.keys() == set(Verdict)
    found = effects(CELLS)
    chart = forest(found.forest(), found.metric, found.less_is_better, Look())
    scales = re.findall(r"'shape': \{.*?'domain': (\[.*?\]), 'range': (\[.*?\])", str(chart))
    assert scales == [(str([str(verdict) for verdict in MARKS]), str([mark.shape for mark in MARKS.values()]))]
    macro: Any = environment().get_template("macros.html").module
    for verdict, mark in MARKS.items():
        assert mark.sign in str(macro.verdict(verdict.value)) and f"{mark.sign} {verdict}: {mark.meaning}." in legend_text()
    for what in ("shape", "sign", "meaning"):
        assert len({getattr(mark, what) for mark in MARKS.values()}) == len(Verdict)
    for scheme in Scheme:
        assert len({getattr(Look(scheme).colours, verdict.value) for verdict in MARKS}) == len(Verdict)


@pytest.mark.slow
def test_the_service_loads_the_drawing_programs_with_the_first_chart() -> None:
    code = "import sys, service.app; print([name for name in ('altair', 'vl_convert') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"

"""Marks of a picture lead to what they stand for."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from tests.tuner.evidence_builder import answered
from tests.tuner.report.charts.drawings import CELLS, METRIC, links
from tuner.report.charts.forest import forest
from tuner.report.charts.heat_map import MISSES_SLO, heat_map
from tuner.report.charts.links import link, with_links
from tuner.report.charts.render import Renderer
from tuner.report.charts.theme import Look
from tuner.report.effects import HeatCell, effects_of


@pytest.mark.slow
def test_a_row_of_the_forest_leads_to_its_two_trials() -> None:
    found = effects_of(answered(CELLS), METRIC)
    spec = forest(found.forest(), METRIC, False, Look(), address=lambda row: f"/at/{row.block_size}" if row.pairs else "")
    svg = Renderer().picture(spec, "title", "description")
    said = links(svg)
    assert said["/at/16"].startswith("16 \N{MULTIPLICATION SIGN} ") and "[-2.00 % to +6.00 %], inconclusive, 6 pairs" in said["/at/16"]
    assert ElementTree.fromstring(svg).get("role") == "group", "an image would hide its links from those who cannot see it"
    assert "graphics-" not in svg and "aria-roledescription" not in svg and svg.count("aria-label") == svg.count("<a "), (
        "a mark is no image"
    )


@pytest.mark.slow
@pytest.mark.parametrize("pages", [1, 12])
def test_a_cell_of_the_heat_map_leads_to_its_trial_also_where_there_is_no_room_for_words(pages: int) -> None:
    cells = [
        HeatCell("default", 2**page, 128 * budget, float(page * budget), "words", trial_id=page * 100 + budget, misses=("ttft_p99_ms<=9",))
        for page in range(1, 3)
        for budget in range(1, 2 * pages)
    ]
    svg = Renderer().picture(heat_map(cells, "tokens/s", False, Look(), address=lambda cell: f"/trials/{cell.trial_id}"), "t", "d")
    said = links(svg)
    assert said.keys() == {f"/trials/{cell.trial_id}" for cell in cells}
    assert said["/trials/101"] == "default, page size 2, chunk budget 128: words tokens/s, misses ttft_p99_ms<=9"
    assert svg.count(MISSES_SLO) == len(cells), "not by colour alone"


@pytest.mark.slow
@pytest.mark.parametrize("words", ['<script>&"', "a\nb", "]]>", "link /elsewhere x"])
def test_words_of_a_link_stay_words(words: str) -> None:
    cell = HeatCell(words, 16, 128, 1.0, words, trial_id=1)
    svg = Renderer().picture(heat_map([cell], "", False, Look(), address=lambda _: "/trials/1"), "title", "description")
    (said,) = links(svg).values()
    assert said.split(", page size")[0].split() == words.split()
    assert "<script" not in svg


@pytest.mark.slow
def test_without_an_address_there_is_no_link() -> None:
    assert link("", "words") == {}
    plain = '<svg><path aria-label="linked to nothing" d="M0,0"/></svg>'
    assert with_links(plain) == plain
    svg = Renderer().picture(forest(effects_of(answered(CELLS), METRIC).forest(), METRIC, False, Look()), "title", "description")
    assert links(svg) == {} and ElementTree.fromstring(svg).get("role") == "img"

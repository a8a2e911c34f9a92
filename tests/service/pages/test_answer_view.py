"""A study's answer in words."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.pages.answer_view import confirmations, headline, patterns, winning_cell
from storage.records import Comparison
from tests.service.pages.comparisons import BETTER, METRIC, SAME, WORSE, cell, effects
from tests.storage.builders import a_comparison, a_recommendation
from tuner.verdict.answer import answer_of


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (BETTER, "Yes: turn it on"),
        (WORSE, "No: leave it off"),
        (SAME, "No difference: leave it off"),
        ([BETTER[0], WORSE[1], SAME[2]], "In some settings: turn it on there"),
        ([BETTER[0], WORSE[1], BETTER[2]], "It depends: better here, worse there"),
        ([a_comparison(1, metric=METRIC, ratio=None, low=None, high=None, pairs=0, verdict="inconclusive", details={})], "Not decided"),
    ],
)
def test_the_headline_is_the_answer(cells: list[Comparison], words: str) -> None:
    assert headline(effects(*cells).answer) == words
    assert headline(None) == "Not decided"


@given(
    st.lists(
        st.tuples(st.sampled_from([16, 32, 64]), st.sampled_from([128, 256]), st.floats(0.5, 2.0)),
        min_size=1,
        unique_by=lambda row: row[:2],
    )
)
def test_a_pattern_is_the_geometric_mean_along_one_setting(rows: list[tuple[int, int, float]]) -> None:
    found = effects(*(cell(page, budget, ratio, ratio, "better") for page, budget, ratio in rows))
    for pattern, place in zip(patterns(found), _asked(rows), strict=True):
        for size, change in pattern.effects:
            logs = [math.log(row[2]) for row in rows if row[place] == size]
            assert change == pytest.approx(100 * (math.exp(sum(logs) / len(logs)) - 1))
        assert [size for size, _ in pattern.effects] == sorted({row[place] for row in rows})


def _asked(rows: list[tuple[int, int, float]]) -> list[int]:
    """A setting with one value has no pattern."""
    return [place for place in (0, 1) if len({row[place] for row in rows}) > 1]


def test_the_recommended_cell_is_found_by_its_place() -> None:
    found = effects(*BETTER)
    row = winning_cell(found, (32, 256))
    assert row is not None and row.label == "32 \N{MULTIPLICATION SIGN} 256"
    assert winning_cell(found, (32, 512)) is None and winning_cell(found, None) is None


def test_what_the_cold_start_made_of_the_search() -> None:
    def said(overestimate: float | None) -> list[str]:
        item = {"metric": METRIC, "search_value": 5722.4, "confirmed_value": 5500.0, "overestimate": overestimate}
        return confirmations(answer_of(a_recommendation(1, body={"evidence": {"search_overestimate": [item]}})))

    assert said(0.0404) == [f"{METRIC}: 5\N{NO-BREAK SPACE}722 in the search, 5\N{NO-BREAK SPACE}500 after a cold start, 4.04 % worse"]
    assert said(-0.02)[0].endswith("2.00 % better")
    assert said(None) == []

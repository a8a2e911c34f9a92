"""Two studies of one question."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from service.pages.studies_compare_view import apart, cell_pairs, in_words
from tests.service.pages.comparisons import BETTER, SAME, WORSE, cell, effects
from tests.service.pages.gallery import EVIL, FINISHED, LARGE, RUNNING
from tuner.report.effects import EffectRow

ENDS = st.tuples(st.floats(-50, 50), st.floats(-50, 50)).map(sorted)


def row(low: float | None, high: float | None) -> EffectRow:
    return EffectRow(label="cell", block_size=32, max_num_batched_tokens=256, change=0.0, low=low, high=high, verdict="better", pairs=5)


@given(ENDS, ENDS)
def test_intervals_are_apart_where_no_number_is_in_both(one: list[float], other: list[float]) -> None:
    shared = max(one[0], other[0]) <= min(one[1], other[1])
    assert apart(row(*one), row(*other)) is apart(row(*other), row(*one)) is not shared
    assert not apart(row(None, None), row(*other))


def test_every_cell_of_either_study_is_a_row() -> None:
    one, other = effects(*BETTER), effects(*WORSE[:2], cell(128, 512, 0.99, 1.03, "inconclusive"))
    found = cell_pairs(one, other)
    assert [(pair.baseline is not None, pair.candidate is not None, pair.apart) for pair in found] == [
        (True, True, True),
        (True, True, True),
        (True, False, False),
        (False, True, False),
    ]


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        (BETTER, BETTER, ("Both say the same: Yes: turn it on.", "may be the same")),
        (BETTER, WORSE, ("The answer differs: Yes: turn it on, against No: leave it off.", "do not touch")),
        (SAME, WORSE, ("The answer differs: No difference", "do not touch")),
    ],
)
def test_the_words_say_whether_the_answer_changed(one: list[object], other: list[object], said: tuple[str, str]) -> None:
    words = in_words(effects(*one), effects(*other))  # type: ignore[arg-type]
    assert words.startswith(said[0]) and said[1] in words


@pytest.mark.slow
def test_the_page_names_what_differs_and_shows_nothing_of_a_running_search(pages: TestClient) -> None:
    found = pages.get("/compare-studies", params={"baseline": LARGE, "candidate": FINISHED}).text
    assert "version of vllm" in found and "fake engine" in found
    going = pages.get("/compare-studies", params={"baseline": RUNNING, "candidate": FINISHED}).text
    assert "a search is running" in going and "Both say" not in going
    assert f"<option>{LARGE}</option>" in pages.get(f"/studies/{FINISHED}").text


REFUSED = [({"baseline": FINISHED, "candidate": EVIL}, 404), ({"baseline": FINISHED}, 422), ({"baseline": "", "candidate": LARGE}, 422)]


@pytest.mark.slow  # the gallery takes seconds
@pytest.mark.parametrize(("params", "status"), REFUSED)
def test_what_cannot_be_compared_is_a_page_that_says_why(pages: TestClient, params: dict[str, str], status: int) -> None:
    answer = pages.get("/compare-studies", params=params)
    assert answer.status_code == status and EVIL not in answer.text
    assert answer.headers["content-type"].startswith("text/html")

"""Whatever the values, what enters a column is plain, finite JSON that reads back as it is."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.base import InvalidRecord
from storage.values import clean_text, finite, plain

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
trees = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12)


def _holds_non_finite(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_holds_non_finite(item) for item in value.values())
    if isinstance(value, list):
        return any(_holds_non_finite(item) for item in value)
    return isinstance(value, float) and not math.isfinite(value)


@pytest.mark.slow
@given(trees)
def test_json_trees_pass_exactly_when_they_are_finite(tree: Any) -> None:
    if _holds_non_finite(tree):
        with pytest.raises(InvalidRecord):
            plain(tree, "tree")
        return
    result = plain(tree, "tree")
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert plain(result, "tree") == result


@given(st.text(alphabet=st.characters(exclude_characters="\x00", exclude_categories=["Cs"])))
def test_good_text_is_untouched(text: str) -> None:
    assert clean_text(text) == text


@given(st.text(alphabet=st.characters()))
def test_cleaned_text_can_be_stored(text: str) -> None:
    cleaned = clean_text(text)
    assert "\x00" not in cleaned
    assert cleaned.encode("utf-8").decode("utf-8") == cleaned


def test_a_loop_ends() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(InvalidRecord, match="nested deeper"):
        plain(loop, "loop")


@pytest.mark.parametrize(("value", "expected"), [(1, 1.0), (np.float32(0.25), 0.25), (np.int8(3), 3.0)])
def test_finite_numbers(value: object, expected: float) -> None:
    number = finite(value, "x")
    assert type(number) is float
    assert number == expected


@pytest.mark.parametrize("value", [math.nan, math.inf, True, "1", None, np.float64("inf"), 10**400])
def test_what_is_not_a_finite_number_is_named(value: object) -> None:
    with pytest.raises(InvalidRecord, match=r"^latency: "):
        finite(value, "latency")

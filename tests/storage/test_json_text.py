"""The faster parser of JSON gives what Python's gives, also of what it refuses itself."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, strategies

from storage.json_text import dump_json, load_json

PLAIN = strategies.none() | strategies.booleans() | strategies.integers() | strategies.floats(allow_nan=False, allow_infinity=False)
VALUES = strategies.recursive(
    PLAIN | strategies.text(),
    lambda inner: strategies.lists(inner, max_size=4) | strategies.dictionaries(strategies.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.slow
@given(VALUES)
def test_what_was_written_comes_back(value: object) -> None:
    text = dump_json(value)
    assert repr(load_json(text)) == repr(load_json(text.encode())) == repr(json.loads(text))


@pytest.mark.parametrize(
    "text",
    [
        '"\\ud800"',  # half of a pair
        "[" * 900 + "]" * 900,
        '{"a": 1, "a": 2}',
        "1" * 400,
        "0.1000000000000000055511151231257827021181583404541015625",
        "5e-324",
        "1.7976931348623157e308",
        "-0.0",
        "[Infinity, -Infinity]",
    ],
)
def test_hard_ones_are_read_alike(text: str) -> None:
    assert repr(load_json(text)) == repr(json.loads(text))


def test_nan_is_read_and_never_written() -> None:
    assert math.isnan(load_json("NaN"))
    with pytest.raises(ValueError, match="JSON compliant"):
        dump_json(math.nan)


@pytest.mark.parametrize("text", ["", "{", "[1,]", "nul", "'a'", '{"a": 1} x', "\x00"])
def test_damage_is_refused_in_pythons_words(text: str) -> None:
    with pytest.raises(json.JSONDecodeError) as theirs:
        json.loads(text)
    with pytest.raises(json.JSONDecodeError) as ours:
        load_json(text)
    assert str(ours.value) == str(theirs.value)

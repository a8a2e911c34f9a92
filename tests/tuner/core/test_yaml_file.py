"""Keys written twice are refused wherever they stand; what YAML itself allows (anchors, merging) is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tuner.core.errors import BadInput
from tuner.core.yaml_file import parse_json, read_yaml


def read(folder: Path, text: str) -> dict[str, Any]:
    path = folder / "file.yaml"
    path.write_text(text)
    return read_yaml(path, holds="settings")


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        ("a: 1\nb: 2\na: 3", "'a'", 3),
        ("a:\n  b: 1\n  b: 2", "'b'", 3),
        ("a: [{b: 1, b: 2}]", "'b'", 1),
        ("{a: 1, a: 2}", "'a'", 1),
        ('a: 1\n"a": 2', "'a'", 2),
        ("x: &x {a: 1, a: 2}\ny: *x", "'a'", 1),
        ("x: &x {a: 1}\ny: {<<: *x, c: 1, c: 2}", "'c'", 2),
        ("x: &x {a: 1}\ny:\n  <<: *x\n  <<: *x", "'<<'", 4),
        ("y: {<<: {a: 1, a: 2}}", "'a'", 1),
        ("x: {1: a, 0x1: b}", "1", 1),
    ],
)
def test_a_key_written_twice_is_refused_with_its_line(tmp_path: Path, text: str, key: str, line: int) -> None:
    with pytest.raises(BadInput) as caught:
        read(tmp_path, text)
    assert str(caught.value) == f"{tmp_path / 'file.yaml'}:{line}: the key {key} is there twice; keep one"


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("x: &x {a: 1}\ny: {<<: *x, c: 2}", "y", {"a": 1, "c": 2}),
        ("x: &x {a: 1}\ny: {<<: *x, a: 2}", "y", {"a": 2}),
        ("x: &x {a: 1}\nz: &z {a: 3, b: 4}\ny: {<<: [*x, *z]}", "y", {"a": 1, "b": 4}),
        ("x: &x {a: 1}\ndeep: {er: {m: &m {<<: *x, a: 2}}}\ny: {<<: *m, b: 3}", "y", {"a": 2, "b": 3}),
        ("x: &x [1]\ny: [*x, *x]", "y", [[1], [1]]),
        ("y: {=: 1}", "y", {"=": 1}),
    ],
)
def test_a_file_that_merges_settings_with_anchors_is_read(tmp_path: Path, text: str, key: str, value: object) -> None:
    assert read(tmp_path, text)[key] == value


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("x: 2026-13-45", ":1: not valid YAML ('2026-13-45' is no timestamp; quote what is text); fix that line"),
        ("a: 1\nx: !!int abc", ":2: not valid YAML ('abc' is no int"),
        ("x: " + "9" * 5000, "... is no int"),
        ("x: !!bool maybe", "'maybe' is no bool"),
        ("x: &x [*x]", "*x stands inside what it names"),
        ("x: &x {a: {b: *x}}", "*x stands inside what it names"),
        ("? [a]\n: 1", "found unhashable key"),
        ("x: !!python/object:os.system {}", "could not determine a constructor"),
    ],
)
def test_a_value_that_is_no_value_is_one_line_not_a_traceback(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(BadInput) as caught:
        read(tmp_path, text)
    assert complaint in str(caught.value) and "keep one" not in str(caught.value) and "\n" not in str(caught.value)


def test_json_is_as_strict() -> None:
    assert parse_json('{"a": {"b": 1}, "b": [{}]}') == {"a": {"b": 1}, "b": [{}]}
    with pytest.raises(ValueError, match="the key 'b' is there twice"):
        parse_json('{"a": [{"b": 1, "b": 1}]}')


@pytest.mark.parametrize(
    ("text", "number", "base"),
    [
        ("time_budget: 1:30", "1:30", 60),
        ("a: {b: [12:30:45]}", "12:30:45", 60),
        ("x: -1:30.5", "-1:30.5", 60),
        ("seed: 0256", "0256", 8),
        ("seed: -017", "-017", 8),
        ("sizes: [16, 032]", "032", 8),
        ("007: bond", "007", 8),
    ],
)
def test_numbers_that_only_yaml_1_1_knows_are_refused(tmp_path: Path, text: str, number: str, base: int) -> None:
    """1:30 was 90, and 0256 was 174."""
    with pytest.raises(BadInput, match=rf":1: {number} is a number to the base of {base} in YAML 1\.1; quote what is text") as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x: '1:30'", "1:30"),
        ('x: "0256"', "0256"),
        ("x: 90", 90),
        ("x: 0", 0),
        ("x: 0.5", 0.5),
        ("x: 0x10", 16),
        ("x: 1m30s", "1m30s"),
        ("x: a:30", "a:30"),
    ],
)
def test_what_is_quoted_or_plain_is_read(tmp_path: Path, text: str, value: object) -> None:
    assert read(tmp_path, text) == {"x": value}

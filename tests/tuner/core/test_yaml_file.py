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

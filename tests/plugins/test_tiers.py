"""Which files `-m` leaves out as a whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.plugins.tiers import marks_of, pytest_ignore_collect

MARK = "pytest.mark"  # not in one piece, or this file would be taken for a heavy one
WHOLE = f"import pytest\n\npytestmark = [\n    {MARK}.engine,\n    {MARK}.skipif(not [], reason='x'),\n]\n\ndef test_a(): ...\n"


@pytest.mark.parametrize(
    ("text", "marks"),
    [
        (f"pytestmark = {MARK}.slow  # compiles\n", {"slow"}),
        (f"pytestmark = [{MARK}.browser, {MARK}.timeout(600)]\n", {"browser", "timeout"}),
        (WHOLE, {"engine", "skipif"}),
        (f"@{MARK}.slow\ndef test_a(): ...\n", set()),
        (f"def test_a():\n    pytestmark = {MARK}.slow\n", set()),
        ("", set()),
    ],
)
def test_only_a_mark_of_the_whole_file_counts(tmp_path: Path, text: str, marks: set[str]) -> None:
    (tmp_path / "test_x.py").write_text(text)
    assert marks_of(tmp_path / "test_x.py") == marks


@pytest.mark.parametrize(
    ("expression", "ignored"),
    [
        ("not (engine or slow)", True),
        ("not engine", True),
        ("not (ray or slow)", None),
        ("engine", None),
        ("not (engine and slow)", None),
        ("", None),
    ],
)
def test_what_might_be_run_is_read(
    tmp_path: Path, pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch, expression: str, ignored: bool | None
) -> None:
    monkeypatch.setattr(pytestconfig.option, "markexpr", expression)
    for name, expected in (("test_x.py", ignored), ("builders.py", None)):
        (tmp_path / name).write_text(WHOLE)
        assert pytest_ignore_collect(tmp_path / name, pytestconfig) is expected

"""A new revision's dump is made out of the one before it."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from storage.upgrade import check
from tests.storage.new_asset import ASSETS, main, upgraded


@pytest.mark.slow
def test_the_first_dump_becomes_one_of_the_newest_schema_with_the_same_studies(tmp_path: Path) -> None:
    made = upgraded((ASSETS / "0001.sqlite.sql").read_text(), tmp_path)
    file = tmp_path / "loaded.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(made)
        assert connection.execute("SELECT name FROM tuner_studies").fetchall() == [("first",)]
    assert check(f"sqlite:///{file}")["ok"] is True


def test_a_released_dump_is_left_alone() -> None:
    before = {path.name: path.stat().st_mtime_ns for path in ASSETS.iterdir()}
    assert main() == 0
    assert {path.name: path.stat().st_mtime_ns for path in ASSETS.iterdir()} == before
    assert all(re.fullmatch(r"\d{4}\.sqlite\.sql", name) for name in before)

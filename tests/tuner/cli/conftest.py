"""`terminal`: an empty working directory for command lines; `searched`: one with a finished search (not to be changed)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from storage.upgrade import open_storage
from tests.tuner.cli.terminal import TABLE, Terminal
from tests.tuner.workbench import FinishedStudy, Workbench


@pytest.fixture
def terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Terminal:
    for name in ("TUNER_STORAGE", "TUNER_LOGDIR", "TUNER_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "table.csv").write_text(TABLE)
    return Terminal(folder, capsys)


@pytest.fixture
def searched(terminal: Terminal, grid: FinishedStudy, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """The finished study "s" of the fixture `grid`, as a copy of its database."""
    return with_database_of(grid.bench, terminal, monkeypatch)


def with_database_of(bench: Workbench, terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal whose database is a copy of the bench's."""
    open_storage(bench.url, create=False).close()  # the last to close tidies up SQLite's side files
    for suffix in ("", "-wal", "-shm"):
        source = Path(f"{bench.folder / 'tuner.db'}{suffix}")
        if source.exists():
            shutil.copyfile(source, f"{terminal.folder / 'tuner.db'}{suffix}")
    monkeypatch.setenv("TUNER_STORAGE", terminal.url)
    return terminal

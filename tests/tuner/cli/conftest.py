"""`searched`: a working directory with a finished search (not to be changed). `config`, `scripted`: a small model and its compiler."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from storage.upgrade import open_storage
from tests.tuner.cli.terminal import Terminal
from tests.tuner.foresight.questions import ONE_LAYER, ScriptedCompiler
from tests.tuner.workbench import FinishedStudy, Workbench
from tuner.core.errors import FailureClass, TrialFailed
from tuner.foresight import compiler as compiler_module

type Scripted = Callable[[ScriptedCompiler], ScriptedCompiler]


@pytest.fixture
def config(terminal: Terminal) -> Path:
    path = terminal.folder / "config.json"
    path.write_text(json.dumps(ONE_LAYER))
    return path


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    """The compiler answers from a script; without one, nothing may be started."""

    def put(compiler: ScriptedCompiler) -> ScriptedCompiler:
        monkeypatch.setattr(compiler_module, "Compiler", lambda _python: compiler)
        return compiler

    put(ScriptedCompiler([TrialFailed(FailureClass.INTERNAL, "nothing may be started")]))
    return put


@pytest.fixture
def searched(terminal: Terminal, grid: FinishedStudy, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """The finished study "s" of the fixture `grid`, as a copy of its database."""
    return with_database_of(grid.bench, terminal, monkeypatch)


@pytest.fixture
def ready(terminal: Terminal, _database_with_optuna: Path) -> Terminal:
    """A terminal with an empty database, which a search would take half a second to make."""
    shutil.copyfile(_database_with_optuna, terminal.folder / "tuner.db")
    return terminal


def with_database_of(bench: Workbench, terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal whose database is a copy of the bench's."""
    open_storage(bench.url, create=False).close()  # the last to close tidies up SQLite's side files
    for suffix in ("", "-wal", "-shm"):
        source = Path(f"{bench.folder / 'tuner.db'}{suffix}")
        if source.exists():
            shutil.copyfile(source, f"{terminal.folder / 'tuner.db'}{suffix}")
    monkeypatch.setenv("TUNER_STORAGE", terminal.url)
    return terminal

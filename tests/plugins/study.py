"""Fixtures of the search: `study_url` (a database with our tables and Optuna's, ready in a millisecond), `bench`, which runs
studies, and `grid`, one that has run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from optuna.storages import InMemoryStorage

from storage.upgrade import open_storage
from tests.tuner.fake_engine import FakeLauncher
from tests.tuner.workbench import FinishedStudy, Workbench, config_of
from tuner.setup.study_setup import prepare_study
from tuner.trials.optuna_record import OptunaRecord


@pytest.fixture(scope="session")
def _database_with_optuna(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Optuna takes most of a second to make its tables."""
    path = tmp_path_factory.mktemp("study") / "created.db"
    url = f"sqlite:///{path}"
    open_storage(url).close()
    setup = prepare_study(config_of("unused"))
    OptunaRecord(url, "unused", [setup.objectives[0].direction], setup.space.distributions()).close()
    return path


class MemoryStorage(InMemoryStorage):
    """Optuna's storage in memory in the place of its tables, which take half of a run's time."""

    engine = SimpleNamespace(dispose=lambda: None)


def workbench_in(created: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Workbench:
    shutil.copyfile(created, folder / "tuner.db")
    monkeypatch.setenv("TUNER_CACHE", str(folder / "cache"))
    return Workbench(f"sqlite:///{folder / 'tuner.db'}", folder)


@pytest.fixture
def study_url(tmp_path: Path, _database_with_optuna: Path) -> str:
    shutil.copyfile(_database_with_optuna, tmp_path / "tuner.db")
    return f"sqlite:///{tmp_path / 'tuner.db'}"


@contextmanager
def bench_on(database: Path, folder: Path) -> Iterator[Workbench]:
    """Studies in a copy of this database; Optuna keeps its record in memory."""
    memory = MemoryStorage()
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("tuner.trials.optuna_record.RDBStorage", lambda **_arguments: memory)
        workbench = workbench_in(database, folder, monkeypatch)
        workbench.optuna_storage = memory
        yield workbench
        workbench.close()


@pytest.fixture
def bench(tmp_path: Path, _database_with_optuna: Path) -> Iterator[Workbench]:
    """Studies on a fake engine, in a database of their own."""
    with bench_on(_database_with_optuna, tmp_path) as workbench:
        yield workbench


@pytest.fixture(scope="session")
def grid(tmp_path_factory: pytest.TempPathFactory, _database_with_optuna: Path) -> Iterator[FinishedStudy]:
    """One finished grid study, to be looked at and not to be changed: a run takes half a second."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        workbench = workbench_in(_database_with_optuna, tmp_path_factory.mktemp("grid"), monkeypatch)
        launcher = FakeLauncher()
        yield FinishedStudy(workbench, launcher, workbench.run(launcher, profile="finalists"))
        workbench.close()

"""Several workers on one study, as threads with fake engines: what test_joint_work.py and test_joint_outage.py share.

An engine tells who measures: its `windows` are (worker, page size, engine).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from storage.base import Storage
from storage.queue_records import Submission
from storage.records import Stage, StudyState
from storage.upgrade import open_storage
from tests.tuner.fake_engine import FakeLauncher
from tests.tuner.workbench import config_of, configuration_of
from tests.waiting import wait_until
from tuner.core.contract import EngineSettings, WindowResult
from tuner.fleet.requirements import Machine
from tuner.fleet.submission import submission_of
from tuner.fleet.worker import Place, Worker
from tuner.setup.space import Configuration

PAGES = (16, 32, 64, 128)
BUDGETS = (256,)
CONFIGURATIONS = len(PAGES) * len(BUDGETS) * 2  # both arms
WINDOWS = CONFIGURATIONS * 3  # of the search, in three rounds
MACHINE = Machine("cpu x86_64", 1, {})

type Before = Callable[[str, Configuration], object]


class Killed(BaseException):
    """A worker's end in the middle of a window: it says nothing to anybody any more."""


@dataclass
class Fleet:
    """Workers as threads on one database. `before` is called by a worker's name ahead of each of its windows."""

    url: str
    folder: str
    storage: Storage
    before: Before = lambda _worker, _configuration: None
    on_open: Callable[[str, EngineSettings], None] = lambda _worker, _settings: None
    on_warm_up: Callable[[str, Configuration], None] = lambda _worker, _configuration: None
    windows: list[tuple[str, Configuration]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    workers: dict[str, Worker] = field(default_factory=dict)
    threads: list[threading.Thread] = field(default_factory=list)
    killed: set[str] = field(default_factory=set)

    def submit(self, workers: int, **changes: Any) -> Submission:
        config = config_of(**{"page_sizes": list(PAGES), "chunk_budgets": list(BUDGETS), **changes})
        return self.storage.submit(submission_of(config, "anna", workers=workers))

    def start(self, name: str, host: str = "here", **changes: Any) -> Worker:
        """A worker that works until it is drained."""
        place = Place(name, host, self.url, self.folder, poll_s=0.05, **{"lease_s": 30.0, **changes})
        worker = Worker(self.storage, MACHINE, place, self.said.append)
        self.workers[name] = worker
        thread = threading.Thread(target=self._work, args=(worker,), name=name)
        self.threads.append(thread)
        thread.start()
        return worker

    def _work(self, worker: Worker) -> None:
        with suppress(Killed):
            worker.work()

    def launcher(self, _config: object) -> FakeLauncher:
        name = threading.current_thread().name

        def measured(configuration: Configuration, _nth: int, result: WindowResult) -> WindowResult:
            self.before(name, configuration)
            self.windows.append((name, configuration))
            return result

        return FakeLauncher(
            on_measure=measured,
            on_open=lambda settings, _nth: self.on_open(name, settings),
            on_warm_up=lambda configuration, _nth: self.on_warm_up(name, configuration),
        )

    def ended(self, submission: Submission) -> Submission:
        """When it has ended; the workers are stopped."""
        wait_until(lambda: self.storage.get_submission(submission.id).finished_at, "\n".join(["the end", *self.said[-20:]]))
        self.stop()
        return self.storage.get_submission(submission.id)

    def stop(self) -> None:
        for worker in self.workers.values():
            worker.drain()
        for thread in self.threads:
            thread.join(60)

    def by_worker(self) -> dict[str, set[int]]:
        """Worker -> page sizes of its windows before the finalists'."""
        found: dict[str, set[int]] = {}
        for name, configuration in self.windows[:WINDOWS]:
            found.setdefault(name, set()).add(configuration.block_size)
        return found


def at_once(fleet: Fleet, count: int) -> None:
    """No worker measures before so many have begun to."""
    there: set[str] = set()
    all_there = threading.Event()

    def wait(name: str, _configuration: Configuration) -> None:
        there.add(name)
        if len(there) == count:
            all_there.set()
        assert all_there.wait(60), f"only {there} came; {fleet.said[-10:]}"

    fleet.before = wait


def each_once(fleet: Fleet, workers: int) -> None:
    """All that the study was to measure is there once; pairs come from one engine; nothing is held any more."""
    study = fleet.storage.get_study("s")
    trials = fleet.storage.list_trials(study.id)
    searched = [trial for trial in trials if trial.stage is Stage.SEARCH]
    assert [trial.number for trial in trials] == list(range(len(trials)))
    assert len(searched) == len({configuration_of(trial) for trial in searched}) == CONFIGURATIONS
    windows = fleet.storage.list_measurements(study_id=study.id)
    assert len(windows) == len({(item.trial_id, item.round) for item in windows})
    assert all(sum(item.trial_id == trial.id for item in windows) == 3 for trial in searched)
    engines: dict[tuple[int, int], set[int]] = {}
    for trial in searched:
        for item in windows:
            if item.trial_id == trial.id:
                engines.setdefault((trial.block_size, item.round), set()).add(item.details["engine_start"])
    assert study.state is StudyState.COMPLETE
    assert len(fleet.storage.list_recommendations(study_id=study.id)) == 1
    assert len(fleet.storage.list_comparisons(study.id)) > 0
    assert fleet.storage.list_groups(study.id) == []
    assert fleet.storage.get_lease(study.id) is None
    assert study.engine_starts >= len(PAGES)
    assert len(fleet.by_worker()) >= workers
    whole = [starts for (_, number), starts in engines.items() if number >= 0 and len(starts) == 1]
    assert whole, "rounds of one engine"


def unless_killed(method: Callable[..., Any], fleet: Fleet) -> Callable[..., Any]:
    def called(*arguments: Any, **named: Any) -> Any:
        return None if threading.current_thread().name in fleet.killed else method(*arguments, **named)

    return called


@contextmanager
def a_fleet(url: str, log_dir: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """On an empty database, with fake engines for whoever asks for a launcher; all its workers are stopped at the end."""
    storage = open_storage(url)
    found = Fleet(url, log_dir, storage)
    monkeypatch.setattr("tuner.launchers.choice.make_launcher", found.launcher)
    yield found
    found.stop()
    storage.close()

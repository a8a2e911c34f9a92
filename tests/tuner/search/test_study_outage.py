"""A database that goes away while a study runs, and what comes back: no window is measured twice, lost or stored twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from storage.records import Lease, StudyState
from storage.upgrade import backup
from tests.tuner.fake_engine import FakeLauncher
from tests.tuner.workbench import Workbench, config_of
from tuner.core.contract import WindowResult
from tuner.core.errors import Interrupted, StorageError, StudyTaken
from tuner.search.plan import plan_search
from tuner.search.spooled import store_what_was_kept
from tuner.search.study import StudyOutcome, StudyRun
from tuner.setup.space import Configuration
from tuner.setup.study_setup import prepare_study
from tuner.trials.progress import Progress
from tuner.trials.spool import spool_files

WINDOWS = 30  # 24 of the search, 6 of the finalists
type Hook = Callable[[int], None]


class Outage:
    """A study whose database can be taken away; windows are kept in `spool`."""

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench
        self.spool = bench.folder / "spool"
        self.measured = 0
        self._path = Path(bench.url.removeprefix("sqlite:///"))
        self._aside = self._path.with_name("away")

    def away(self) -> None:
        self._path.rename(self._aside)

    def back(self) -> None:
        self._aside.rename(self._path)

    def run(self, at: dict[int, Callable[[], object]] | None = None, *, patience_s: float = 30.0, resume: bool = False) -> StudyOutcome:
        """`at`: number of a window of this run, from 1 -> what happens while it is measured."""
        count = 0

        def hook(_configuration: Configuration, _nth: int, result: WindowResult) -> WindowResult:
            nonlocal count
            count += 1
            self.measured += 1
            (at or {}).get(count, lambda: None)()
            return result

        setup = prepare_study(config_of("s", logdir=str(self.bench.folder / "profiles"), storage=self.bench.url))
        plan = plan_search(setup, self.bench.storage, resume=resume)
        progress = Progress(listener=lambda _progress, line: self.bench.lines.append(line))
        launcher = FakeLauncher(on_measure=hook)
        return StudyRun(plan, self.bench.storage, launcher, progress, spool=self.spool, patience_s=patience_s).run()

    def windows(self) -> list[tuple[int, int, int]]:
        """(trial, round, position) of each."""
        study = self.bench.storage.get_study("s")
        return sorted((item.trial_id, item.round, item.position) for item in self.bench.storage.list_measurements(study_id=study.id))

    def is_whole(self) -> bool:
        """As of a study that nothing disturbed."""
        found = self.windows()
        return len(found) == len(set(found)) == WINDOWS and self.bench.storage.get_study("s").state is StudyState.COMPLETE


@pytest.fixture
def outage(bench: Workbench) -> Outage:
    return Outage(bench)


@pytest.mark.slow
def test_a_database_that_is_away_for_some_windows_costs_none_of_them(outage: Outage) -> None:
    outcome = outage.run({3: outage.away, 7: outage.back})
    assert outage.measured == WINDOWS, "none is measured again"
    assert outage.is_whole()
    assert spool_files(outage.spool) == []
    assert outcome.recommendation.body["settings"]["block_size"] == 32
    told = [line for line in outage.bench.lines if "kept" in line]
    assert len(told) == 2 and told[1].endswith("windows that were kept on this machine are in the database")


@pytest.mark.slow
def test_what_must_be_stored_before_it_can_go_on_waits_for_the_database(outage: Outage) -> None:
    """It is away at the end of a batch, where trials are finished and new ones made."""

    def away_for_a_moment() -> None:
        outage.away()
        threading.Timer(0.3, outage.back).start()

    outage.run({12: away_for_a_moment})
    assert outage.measured == WINDOWS and outage.is_whole()
    assert any(line.startswith("waiting for the database") for line in outage.bench.lines)


@pytest.mark.slow
def test_a_run_that_gave_up_or_was_killed_meanwhile_leaves_its_windows_to_the_next(outage: Outage) -> None:
    with pytest.raises(StorageError, match="go on with --resume"):
        outage.run({3: outage.away}, patience_s=0.0)
    assert outage.measured == 12, "all that needed nothing of the database"
    (file,) = spool_files(outage.spool)
    outage.back()
    assert len(outage.windows()) == 2
    outage.run(resume=True)
    assert outage.measured == WINDOWS and outage.is_whole()
    assert not file.exists()


@pytest.mark.slow
def test_a_worker_that_comes_back_stores_what_was_kept_before_anybody_measures_it_again(outage: Outage) -> None:
    with pytest.raises(StorageError):
        outage.run({3: outage.away}, patience_s=0.0)
    outage.back()
    said: list[str] = []
    store_what_was_kept(outage.bench.storage, outage.spool, said.append)
    assert said == ["study 's': 10 windows that were kept on this machine are in the database"]
    assert len(outage.windows()) == 12
    outage.run(resume=True)
    assert outage.measured == WINDOWS and outage.is_whole()


@pytest.mark.slow
def test_windows_that_another_machine_measured_meanwhile_come_too_late(outage: Outage) -> None:
    with pytest.raises(StorageError):
        outage.run({3: outage.away}, patience_s=0.0)
    outage.back()
    here, outage.spool = outage.spool, outage.bench.folder / "elsewhere"
    outage.run(resume=True)
    before = outage.windows()
    said: list[str] = []
    store_what_was_kept(outage.bench.storage, here, said.append)
    assert "10 that came too late" in said[0]
    assert outage.windows() == before and outage.is_whole()


@pytest.mark.slow
def test_a_drained_run_does_not_wait_for_a_database_that_is_away(outage: Outage) -> None:
    def stop() -> None:
        raise Interrupted("the worker was told to stop")

    setup = prepare_study(config_of("s", logdir=str(outage.bench.folder / "profiles"), storage=outage.bench.url))
    plan = plan_search(setup, outage.bench.storage, resume=False)
    began = time.monotonic()
    calls = 0

    def may_go_on() -> None:
        nonlocal calls
        calls += 1
        if calls == 5:
            outage.away()
        if calls > 8:
            stop()

    with pytest.raises(Interrupted):
        StudyRun(plan, outage.bench.storage, FakeLauncher(), may_go_on=may_go_on, spool=outage.spool, patience_s=600.0).run()
    assert time.monotonic() - began < 60
    outage.back()
    outage.run(resume=True)
    assert outage.is_whole()


@pytest.mark.slow
def test_a_restored_backup_is_noticed_and_what_it_lacks_is_measured_again(outage: Outage) -> None:
    """Nothing is told from windows that the database does not hold."""
    copy = outage.bench.folder / "backup.db"

    def restore() -> None:
        outage.away()
        copy.rename(outage._path)

    with pytest.raises((StorageError, StudyTaken)):
        outage.run({5: lambda: backup(outage.bench.url, copy), 9: restore})
    assert outage.bench.storage.get_study("s").state is not StudyState.COMPLETE
    assert 4 <= len(outage.windows()) < 12
    outage.run(resume=True)
    assert outage.is_whole()


@pytest.mark.slow
def test_a_process_that_slept_while_another_took_over_stores_nothing_more(outage: Outage) -> None:
    """Not even the window that it was measuring, which its next heartbeat would have been too late for."""
    theirs: list[Lease] = []

    def taken() -> None:
        study = outage.bench.storage.get_study("s")
        lease = outage.bench.storage.get_lease(study.id)
        assert lease is not None
        theirs.append(replace(lease, token="theirs", host="elsewhere"))
        assert outage.bench.storage.swap_lease(study.id, lease.token, theirs[0])

    with pytest.raises(StudyTaken):
        outage.run({5: taken})
    assert len(outage.windows()) == 4
    study = outage.bench.storage.get_study("s")
    assert study.state is StudyState.RUNNING, "it is the other one's to say how it ended"
    assert outage.bench.storage.swap_lease(study.id, "theirs", None)


@pytest.mark.slow
def test_a_database_that_stays_away_and_a_full_disk_end_the_study_as_before(outage: Outage) -> None:
    outage.spool.write_text("no folder")
    with pytest.raises(StorageError, match=r"cannot be kept in .* either"):
        outage.run({3: outage.away})
    outage.back()
    outage.spool.unlink()
    outage.run(resume=True)
    assert outage.is_whole()

"""What a worker does with what was submitted: run, resume, give back, stop; and what it says of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from storage.base import StorageUnavailable
from storage.queue_records import Claim, Submission, SubmissionState
from storage.records import StudyState
from tests.tuner.fake_engine import FakeLauncher
from tests.tuner.workbench import Workbench, config_of
from tests.waiting import wait_until
from tuner.core.contract import WindowResult
from tuner.core.errors import EngineLost, FailureClass, StorageError
from tuner.fleet.requirements import Machine
from tuner.fleet.submission import submission_of
from tuner.fleet.worker import Place, Worker
from tuner.search.lease import StudyLease
from tuner.setup.space import Configuration

MACHINE = Machine("cpu x86_64", 1, {})

type Hook = Callable[[Configuration, int, WindowResult], WindowResult]


@pytest.fixture
def fleet(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    return Fleet(bench, monkeypatch)


class Fleet:
    """Workers on one database, with fake engines."""

    def __init__(self, bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bench = bench
        self.storage = bench.storage
        self.said: list[str] = []
        self._patch = monkeypatch

    def engine(self, **hooks: Any) -> None:
        self._patch.setattr("tuner.launchers.choice.make_launcher", lambda _config: FakeLauncher(**hooks))

    def worker(self, name: str = "w1", **changes: Any) -> Worker:
        place = Place(name, "here", self.bench.url, str(self.bench.folder / "profiles"), poll_s=0.01)
        return Worker(self.storage, MACHINE, replace(place, **changes), self.said.append)

    def submit(self, **changes: Any) -> Submission:
        return self.storage.submit(submission_of(config_of(**changes), "anna"))

    def state(self, submission: Submission) -> SubmissionState:
        return self.storage.get_submission(submission.id).state

    def windows(self) -> list[tuple[int, int, int]]:
        """(trial, round, position) of each: what was measured twice is there twice."""
        study = self.storage.get_study("s")
        return [(item.trial_id, item.round, item.position) for item in self.storage.list_measurements(study_id=study.id)]


def at_window(nth: int, do: Callable[[], object]) -> dict[str, Any]:
    """An engine's hook: `do` while the n-th window is being measured."""
    count = 0

    def hook(_configuration: Configuration, _nth: int, result: WindowResult) -> WindowResult:
        nonlocal count
        count += 1
        if count == nth:
            do()
        return result

    return {"on_measure": hook}


@pytest.mark.slow
def test_a_study_is_run_to_its_end(fleet: Fleet) -> None:
    fleet.engine()
    submission = fleet.submit()
    assert fleet.worker().work(once=True) == [SubmissionState.COMPLETE]
    assert fleet.state(submission) is SubmissionState.COMPLETE
    study = fleet.storage.get_study("s")
    assert study.state is StudyState.COMPLETE
    assert len(fleet.storage.list_recommendations(study_id=study.id)) == 1
    assert fleet.storage.list_workers() == [], "it is not there any more"
    assert fleet.worker().work(once=True) == [], "nothing is left"


@pytest.mark.slow
def test_a_drained_worker_loses_no_window_and_another_goes_on(fleet: Fleet) -> None:
    submission = fleet.submit()
    first = fleet.worker()
    fleet.engine(**at_window(7, first.drain))
    assert first.work() == [SubmissionState.QUEUED]
    assert len(fleet.windows()) == 7, "the window that was being measured is kept"
    assert fleet.storage.get_submission(submission.id).attempts == 0
    fleet.engine()
    assert fleet.worker("w2").work(once=True) == [SubmissionState.COMPLETE]
    windows = fleet.windows()
    assert len(windows) == len(set(windows))
    assert {number for number, *_ in windows} == {trial.id for trial in fleet.bench.trials(stage=None)}
    by_trial = {number: sum(1 for item in windows if item[0] == number) for number, *_ in windows}
    assert [by_trial[trial.id] for trial in fleet.bench.trials()] == [3] * 8


@pytest.mark.slow
def test_a_cancelled_study_stops_after_its_window(fleet: Fleet) -> None:
    submission = fleet.submit()

    def cancel() -> None:
        before = fleet.storage.cancel_submission(submission.id, by="ben", reason="wrong model").heartbeat_at or 0.0
        heard = lambda: (fleet.storage.get_submission(submission.id).heartbeat_at or 0.0) > before  # noqa: E731
        wait_until(heard, "a heartbeat", every_s=0.01)
        wait_until(lambda: worker._hold is not None and worker._hold.cancelled, "the worker to hear of it", every_s=0.01)

    fleet.engine(**at_window(5, cancel))
    worker = fleet.worker(lease_s=0.6)
    assert worker.work(once=True) == [SubmissionState.CANCELLED]
    assert fleet.storage.get_submission(submission.id).reason == "wrong model"
    assert len(fleet.windows()) == 5
    assert fleet.storage.get_study("s").state is StudyState.INTERRUPTED


@pytest.mark.slow
def test_a_dead_workers_study_is_resumed(fleet: Fleet) -> None:
    """It left its submission RUNNING with a lease that ran out, and the study half measured."""
    submission = fleet.submit()
    assert fleet.storage.claim_submission(Claim("dead", "dead", -1.0)) is not None
    with pytest.raises(StorageError):
        fleet.bench.run(FakeLauncher(**at_window(9, _unplug)))
    kept = fleet.windows()
    assert kept
    fleet.engine()
    assert fleet.worker().work(once=True) == [SubmissionState.COMPLETE]
    assert set(kept) < set(fleet.windows())
    assert len(fleet.windows()) == len(set(fleet.windows()))
    assert fleet.storage.get_submission(submission.id).attempts == 2


def _unplug() -> None:
    raise StorageUnavailable("storage: cannot use it: gone")


@pytest.mark.slow
def test_a_study_whose_database_goes_away_is_given_back_when_it_returns(fleet: Fleet) -> None:
    fleet.engine(**at_window(4, _unplug))
    submission = fleet.submit()
    assert fleet.worker().work(once=True) == [SubmissionState.QUEUED]
    assert "the database was away" in str(fleet.storage.get_submission(submission.id).reason)
    fleet.engine()
    assert fleet.worker("w2").work(once=True) == [SubmissionState.COMPLETE]
    assert len(fleet.windows()) == len(set(fleet.windows()))


@pytest.mark.slow
def test_a_study_that_a_living_process_runs_is_left_alone(fleet: Fleet) -> None:
    fleet.engine()
    submission = fleet.submit()
    fleet.bench.run(FakeLauncher())
    lease = StudyLease(fleet.storage, fleet.storage.get_study("s"))
    lease.claim()
    worker = fleet.worker()
    assert worker.work(once=True) == [SubmissionState.QUEUED]
    assert "is being run by process" in str(fleet.storage.get_submission(submission.id).reason)
    assert worker.work(once=True) == [], "and not asked for again at once"
    lease.release()
    assert fleet.worker("w2").work(once=True) == [SubmissionState.COMPLETE]


@pytest.mark.slow
def test_a_worker_that_was_taken_over_says_nothing_more(fleet: Fleet) -> None:
    """It slept through its lease: the study is the other one's."""
    submission = fleet.submit()

    def sleep() -> None:
        with fleet.storage._writing("test") as connection:  # type: ignore[attr-defined]
            connection.exec_driver_sql("UPDATE tuner_submissions SET lease_until = 0")
        assert fleet.storage.claim_submission(Claim("w2", "other", 60.0)) is not None
        wait_until(lambda: worker._hold is not None and worker._hold.lost, "the worker to find out", every_s=0.01)

    fleet.engine(**at_window(3, sleep))
    worker = fleet.worker(lease_s=60.0)
    worker._place = replace(worker._place, lease_s=0.6)
    assert worker.work(once=True) == []
    after = fleet.storage.get_submission(submission.id)
    assert (after.state, after.claimed_by) == (SubmissionState.RUNNING, "w2")


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"model": "/no/such/model"}, "model"), ({"launcher": "table", "table": "/no/such.csv"}, "no/such.csv"), ({"page_sizes": [7]}, "")],
)
def test_a_study_that_cannot_be_begun_fails_with_the_reason(fleet: Fleet, changes: dict[str, Any], words: str) -> None:
    fleet.engine()
    stored = fleet.storage.submit(replace(submission_of(config_of(), "anna"), config={**submission_of(config_of(), "a").config, **changes}))
    assert fleet.worker().work(once=True) == [SubmissionState.FAILED]
    reason = fleet.storage.get_submission(stored.id).reason or ""
    assert words in reason
    assert "\n" not in reason


@pytest.mark.slow
def test_a_study_of_which_nothing_could_be_measured_fails(fleet: Fleet) -> None:
    def refuse(_settings: object, _nth: int) -> None:
        raise EngineLost(FailureClass.STARTUP, "no chips are left")

    fleet.engine(on_open=refuse)
    submission = fleet.submit()
    assert fleet.worker().work(once=True) == [SubmissionState.FAILED]
    assert "trials failed on here with startup; run `tuner doctor` there" in str(fleet.storage.get_submission(submission.id).reason)


def test_what_does_not_fit_the_machine_stays(fleet: Fleet) -> None:
    fleet.engine()
    fleet.storage.submit(submission_of(config_of(), "anna", requirements={"chips": 2}))
    assert fleet.worker().work(once=True) == []

"""Several workers on one study, on both databases: each configuration is measured once, whoever dies, and one ends the study.

The workers are those of joint_work.py.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from storage.queue_records import Submission, SubmissionState
from storage.records import Stage, StudyState
from tests.conformance.joint_work import PAGES, WINDOWS, Fleet, Killed, a_fleet, at_once, each_once, unless_killed
from tests.tuner.fake_engine import crash
from tests.tuner.workbench import configuration_of
from tests.waiting import wait_until
from tuner.core.contract import EngineSettings
from tuner.core.errors import FailureClass, StudyBusy, TrialFailed
from tuner.fleet.worker import Worker
from tuner.search.lease import StudyLease
from tuner.search.sharing import Share
from tuner.setup.space import Configuration
from tuner.trials.retry import Next, attempts_of


@pytest.fixture
def fleet(each_url: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    with a_fleet(each_url, str(tmp_path_factory.mktemp("profiles")), monkeypatch) as found:
        yield found


@pytest.mark.slow
def test_workers_share_a_study_and_measure_everything_once(fleet: Fleet) -> None:
    at_once(fleet, 3)
    submission = fleet.submit(workers=3)
    for name in ("w1", "w2", "w3", "too many"):
        fleet.start(name)
    assert fleet.ended(submission).state is SubmissionState.COMPLETE
    each_once(fleet, 3)
    found = fleet.by_worker()
    assert len(found) == 3, "no more workers than it wants"
    assert sum(map(len, found.values())) == len(PAGES), "a page size is measured by one worker"


@pytest.mark.slow
@pytest.mark.parametrize("dies", ["leads", "helps", "ends the study"])
def test_what_a_dead_worker_left_is_taken_up_once(fleet: Fleet, monkeypatch: pytest.MonkeyPatch, dies: str) -> None:
    at_once(fleet, 3)
    together, dead = fleet.before, threading.Event()
    for owner, name in ((Share, "give_back"), (Worker, "_told")):  # who is killed gives nothing back
        monkeypatch.setattr(owner, name, unless_killed(getattr(owner, name), fleet))

    def kill(name: str, configuration: Configuration) -> None:
        together(name, configuration)
        leads = name == fleet.storage.get_submission(submission.id).claimed_by
        own, over = sum(item[0] == name for item in fleet.windows), len(fleet.windows) > WINDOWS
        if not dead.is_set() and leads == (dies != "helps") and (over if dies == "ends the study" else own == 5):
            dead.set()
            fleet.killed.add(name)
            raise Killed

    fleet.before = kill
    submission = fleet.submit(workers=3)
    for name in ("w1", "w2", "w3"):
        fleet.start(name, lease_s=2.0)
    ended = fleet.ended(submission)
    assert dead.is_set()
    assert ended.state is SubmissionState.COMPLETE
    assert ended.attempts >= (1 if dies == "helps" else 2), "more where a busy machine lets a lease run out"
    each_once(fleet, 3)


@pytest.mark.slow
def test_the_leader_is_told_to_stop_and_another_ends_the_study(fleet: Fleet) -> None:
    at_once(fleet, 2)
    together = fleet.before

    def drain(name: str, configuration: Configuration) -> None:
        together(name, configuration)
        if name == fleet.storage.get_submission(submission.id).claimed_by == "w1" and len(fleet.windows) > 6:
            fleet.workers[name].drain()

    fleet.before = drain
    submission = fleet.submit(workers=2)
    fleet.start("w1")
    wait_until(lambda: fleet.storage.get_submission(submission.id).claimed_by, "w1 to lead")
    fleet.start("w2")
    ended = fleet.ended(submission)
    assert (ended.state, ended.claimed_by, ended.attempts) == (SubmissionState.COMPLETE, "w2", 1)
    each_once(fleet, 2)


@pytest.mark.slow
def test_cancelling_stops_all_and_nobody_has_it_alone_meanwhile(fleet: Fleet) -> None:
    at_once(fleet, 2)
    together = fleet.before

    def cancel(name: str, configuration: Configuration) -> None:
        together(name, configuration)
        study = fleet.storage.get_study("s")
        with pytest.raises(StudyBusy, match="is being"):
            StudyLease(fleet.storage, study).claim()
        if fleet.storage.get_submission(submission.id).state is SubmissionState.RUNNING:
            fleet.storage.cancel_submission(submission.id, by="ben", reason="wrong model")
        held = [worker._hold for worker in fleet.workers.values()]
        wait_until(lambda: all(hold is None or hold.cancelled for hold in held), "all to hear of it", every_s=0.01)

    fleet.before = cancel
    submission = fleet.submit(workers=2)
    for name in ("w1", "w2"):
        fleet.start(name, lease_s=2.0)
    assert fleet.ended(submission).state is SubmissionState.CANCELLED
    study = fleet.storage.get_study("s")
    assert study.state is StudyState.INTERRUPTED
    assert {name for name, _ in fleet.windows} == {"w1", "w2"}
    assert len(fleet.windows) == 2, "each finished its window"
    assert fleet.storage.list_groups(study.id) == []
    alone = StudyLease(fleet.storage, study)
    alone.claim()
    alone.release()


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["ordinal", "random"])
def test_a_sampler_asks_for_each_configuration_once(fleet: Fleet, sampler: str) -> None:
    """Also when it goes on: as many trials more as the second submission wants."""
    at_once(fleet, 1)
    for trials, in_all in ((8, 8), (5, 13)):
        submission = fleet.submit(workers=3, sampler=sampler, trials=trials, chunk_budgets=[128, 256])
        for name in ("w1", "w2", "w3"):
            fleet.start(f"{name} of {in_all}")
        assert fleet.ended(submission).state is SubmissionState.COMPLETE
        study = fleet.storage.get_study("s")
        searched = fleet.storage.list_trials(study.id, stage=Stage.SEARCH)
        assert len(searched) == len({configuration_of(trial) for trial in searched}) == in_all
        windows = fleet.storage.list_measurements(study_id=study.id)
        assert len(windows) == len({(item.trial_id, item.round) for item in windows})


def two_hosts(fleet: Fleet, **changes: Any) -> Submission:
    """ "good" joins "bad", which leads, before that one's first engine starts."""
    submission = fleet.submit(workers=2, **changes)
    fleet.start("bad", host="bad host")
    wait_until(lambda: fleet.storage.get_submission(submission.id).claimed_by, "a worker to lead")
    fleet.start("good", host="good host")
    return submission


def both_are_there(fleet: Fleet) -> None:
    wait_until(lambda: sum(worker.submission_id is not None for worker in fleet.storage.list_workers()) == 2, "both to work on it")


@pytest.mark.slow
@pytest.mark.parametrize("failure", [FailureClass.STARTUP, FailureClass.NO_SPACE])
def test_what_one_host_cannot_start_is_measured_by_another(fleet: Fleet, failure: FailureClass) -> None:
    """A host whose disk is full, for instance, fails no configuration as long as another is there."""

    def refuse(name: str, _settings: EngineSettings) -> None:
        if name == "bad":
            both_are_there(fleet)
            raise TrialFailed(failure, "not on this host")

    fleet.on_open = refuse
    submission = two_hosts(fleet, profile="none")
    wait_until(lambda: len(fleet.windows) >= WINDOWS, "the search to end")
    fleet.on_open = lambda _name, _settings: None  # the finalists are the leader's
    assert fleet.ended(submission).state is SubmissionState.COMPLETE
    each_once(fleet, 1)
    trials = fleet.storage.list_trials(fleet.storage.get_study("s").id, stage=Stage.SEARCH)
    attempts = {trial.block_size: attempts_of(trial.notes) for trial in trials}
    tried = [item for found in attempts.values() for item in found]
    assert tried and {(item.host, item.error_class, item.then) for item in tried} == {("bad host", failure.value, Next.ELSEWHERE.value)}
    assert max(map(len, attempts.values())) == 1 and {name for name, _ in fleet.windows[:WINDOWS]} == {"good"}


@pytest.mark.slow
def test_a_configuration_that_crashes_on_one_host_is_measured_by_another_with_its_pair(fleet: Fleet) -> None:
    crashes = Configuration(32, 256, "page_aligned")  # in the engine that the leader begins with

    def crash_here(name: str, configuration: Configuration) -> None:
        if name == "bad" and configuration == crashes:
            both_are_there(fleet)
            raise crash()

    fleet.on_warm_up = crash_here
    submission = two_hosts(fleet)
    wait_until(lambda: ("good", crashes) in fleet.windows, "the other host to measure it")
    fleet.on_warm_up = lambda _name, _configuration: None
    assert fleet.ended(submission).state is SubmissionState.COMPLETE
    study = fleet.storage.get_study("s")
    (trial,) = [item for item in fleet.storage.list_trials(study.id, stage=Stage.SEARCH) if configuration_of(item) == crashes]
    assert (trial.error_class, [item.then for item in attempts_of(trial.notes)]) == (None, [Next.ELSEWHERE.value])
    found = {(item.block_size, item.max_num_batched_tokens): item.pairs for item in fleet.storage.list_comparisons(study.id)}
    assert found[32, 256] == 3, "its default arm was measured again beside it"

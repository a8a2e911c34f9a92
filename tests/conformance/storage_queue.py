"""The storage contract as tests: the queue of studies. A lease of -1 s has run out the moment it is given: no test waits."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from storage.base import Conflict, InvalidRecord, NotFound, Storage
from storage.queue_records import Claim, FleetWorker, Submission, SubmissionState
from tests.storage.builders import a_submission

QUEUED, RUNNING, CANCELLING = SubmissionState.QUEUED, SubmissionState.RUNNING, SubmissionState.CANCELLING
COMPLETE, FAILED, CANCELLED = SubmissionState.COMPLETE, SubmissionState.FAILED, SubmissionState.CANCELLED


def _claim(storage: Storage, worker: str = "w1", *, lease_s: float = 60.0, most_attempts: int = 5) -> Submission | None:
    """The token is the worker's name."""
    return storage.claim_submission(Claim(worker, worker, lease_s, most_attempts=most_attempts))


def _taken(storage: Storage, worker: str = "w1", *, lease_s: float = 60.0) -> int:
    taken = _claim(storage, worker, lease_s=lease_s)
    assert taken is not None
    assert taken.state is RUNNING
    assert taken.claimed_by == worker
    return taken.id


def _story(storage: Storage, submission_id: int) -> list[tuple[SubmissionState, str]]:
    return [(event.what, event.by) for event in storage.list_events(submission_id=submission_id)]


class QueueContract:
    def test_a_submission_comes_back_as_it_was_stored(self, storage: Storage) -> None:
        given = a_submission(priority=3, team="chat", requirements={"chips": 4}, webhook="https://example.org/hook")
        stored = storage.submit(replace(given, state=COMPLETE, attempts=9, claimed_by="somebody"))
        assert replace(stored, id=0, submitted_at=0.0) == given
        assert abs(stored.submitted_at - storage.database_now()) < 60
        assert storage.get_submission(stored.id) == stored
        assert storage.list_submissions(study="first", team="chat", states=frozenset({QUEUED})) == [stored]
        assert storage.list_submissions(team="other") == []
        assert storage.count_submissions() == dict.fromkeys(SubmissionState, 0) | {QUEUED: 1}
        with pytest.raises(NotFound):
            storage.get_submission(stored.id + 1)

    @pytest.mark.parametrize("changes", [{"study": ""}, {"study": "x" * 256}, {"submitted_by": ""}, {"team": ""}])
    def test_impossible_submissions_are_refused(self, storage: Storage, changes: dict[str, str]) -> None:
        with pytest.raises(InvalidRecord):
            storage.submit(a_submission(**changes))
        assert storage.list_events() == []

    def test_one_study_is_queued_once_until_it_ends(self, storage: Storage) -> None:
        first = storage.submit(a_submission())
        with pytest.raises(Conflict):
            storage.submit(a_submission())
        storage.cancel_submission(first.id, by="anna")
        assert storage.submit(a_submission()).id > first.id

    def test_higher_priority_first_then_the_oldest(self, storage: Storage) -> None:
        ids = [storage.submit(a_submission(study=name, priority=rank)).id for name, rank in (("a", 0), ("b", 5), ("c", 5), ("d", -1))]
        assert [_taken(storage, worker) for worker in ("w1", "w2", "w3", "w4")] == [ids[1], ids[2], ids[0], ids[3]]
        assert _claim(storage, "w5") is None

    def test_a_worker_takes_what_fits(self, storage: Storage) -> None:
        storage.submit(a_submission(study="large", requirements={"chips": 8}))
        small = storage.submit(a_submission(study="small", requirements={"chips": 1}))
        taken = storage.claim_submission(Claim("w1", "t", 60.0, fits=lambda needs: needs["chips"] <= 4))
        assert taken is not None
        assert taken.id == small.id

    def test_what_a_dead_worker_left_is_taken_up_once(self, storage: Storage) -> None:
        number = storage.submit(a_submission()).id
        _taken(storage, "dead", lease_s=-1.0)
        assert _taken(storage, "w2") == number
        assert _claim(storage, "w3") is None
        assert storage.beat_submission(number, "dead", 60.0) is None, "it is not its own any more"
        with pytest.raises(Conflict):
            storage.release_submission(number, "dead", COMPLETE)
        assert storage.get_submission(number).attempts == 2
        assert storage.release_submission(number, "w2", COMPLETE).state is COMPLETE
        assert _story(storage, number) == [(QUEUED, "anna"), (RUNNING, "dead"), (RUNNING, "w2"), (COMPLETE, "w2")]

    def test_a_heartbeat_keeps_a_study(self, storage: Storage) -> None:
        number = storage.submit(a_submission()).id
        _taken(storage, "slow", lease_s=-1.0)
        assert storage.beat_submission(number, "slow", 60.0) is RUNNING
        assert _claim(storage, "w2") is None

    def test_a_study_that_kills_its_workers_ends(self, storage: Storage) -> None:
        number = storage.submit(a_submission()).id
        for worker in ("w1", "w2"):
            _taken(storage, worker, lease_s=-1.0)
        assert _claim(storage, "w3", most_attempts=2) is None
        failed = storage.get_submission(number)
        assert failed.state is FAILED
        assert "2 workers died" in str(failed.reason)

    def test_a_study_given_back_has_cost_no_attempt(self, storage: Storage) -> None:
        number = storage.submit(a_submission()).id
        _taken(storage, "w1")
        back = storage.release_submission(number, "w1", QUEUED, "the worker was told to stop")
        assert (back.state, back.attempts, back.reason) == (QUEUED, 0, "the worker was told to stop")
        assert _taken(storage, "w2") == number

    def test_priority_of_what_waits(self, storage: Storage) -> None:
        first, second = (storage.submit(a_submission(study=name)).id for name in "ab")
        assert storage.prioritise_submission(second, 7, by="ben", reason="release").priority == 7
        storage.prioritise_submission(second, 7, by="ben")
        said = [(event.by, event.reason) for event in storage.list_events(submission_id=second)]
        assert said[1:] == [("ben", "priority 0 -> 7: release")], "what changes nothing is not told"
        held = storage.claim_submission(Claim("w", "t", 60.0))
        assert held is not None and held.id == second
        with pytest.raises(Conflict, match="is RUNNING already"):
            storage.prioritise_submission(second, 1, by="ben")
        with pytest.raises(NotFound):
            storage.prioritise_submission(first + 100, 1, by="ben")

    def test_cancelling(self, storage: Storage) -> None:
        """Of a queued one, a running one, a dead worker's, and one that ended."""
        queued = storage.submit(a_submission(study="a")).id
        assert storage.cancel_submission(queued, by="ben", reason="wrong file").state is CANCELLED
        running = storage.submit(a_submission(study="b")).id
        _taken(storage, "w1")
        assert storage.cancel_submission(running, by="ben").state is CANCELLING
        assert storage.cancel_submission(running, by="ben").state is CANCELLING, "again"
        assert storage.beat_submission(running, "w1", 60.0) is CANCELLING
        assert storage.release_submission(running, "w1", QUEUED, "draining").state is CANCELLED
        dead = storage.submit(a_submission(study="c")).id
        _taken(storage, "w2", lease_s=-1.0)
        storage.cancel_submission(dead, by="ben")
        assert _claim(storage, "w3") is None
        assert storage.get_submission(dead).state is CANCELLED
        with pytest.raises(Conflict):
            storage.cancel_submission(queued, by="ben")
        assert _story(storage, running) == [(QUEUED, "anna"), (RUNNING, "w1"), (CANCELLING, "ben"), (CANCELLED, "w1")]

    def test_a_team_runs_no_more_studies_at_once_than_it_may(self, storage: Storage) -> None:
        storage.set_team_limit("chat", 5)
        storage.set_team_limit("chat", 1)
        ids = [storage.submit(a_submission(study=name, team="chat")).id for name in ("a", "b")]
        others = storage.submit(a_submission(study="c", team=None)).id
        assert [_taken(storage, "w1"), _taken(storage, "w2")] == [ids[0], others]
        assert _claim(storage, "w3") is None
        storage.release_submission(ids[0], "w1", FAILED, "no such model")
        assert _taken(storage, "w3") == ids[1]
        assert storage.team_limits() == {"chat": 1}
        storage.set_team_limit("chat", None)
        assert storage.team_limits() == {}

    @pytest.mark.slow
    def test_many_workers_at_once_take_each_study_once(self, storage: Storage) -> None:
        storage.set_team_limit("chat", 2)
        for number in range(12):
            storage.submit(a_submission(study=f"s{number}", team="chat" if number < 4 else None))
        with ThreadPoolExecutor(8) as pool:
            claims = list(pool.map(lambda number: _claim(storage, f"w{number}"), range(16)))
        taken = [claim.id for claim in claims if claim is not None]
        assert len(taken) == len(set(taken)) == 10, "8 without a team, 2 of the team that may run 2"

    def test_events_are_followed_from_where_one_left_off(self, storage: Storage) -> None:
        first = storage.submit(a_submission(study="a")).id
        [event] = storage.list_events()
        second = storage.submit(a_submission(study="b")).id
        assert [item.submission_id for item in storage.list_events(after=event.id)] == [second]
        assert storage.list_events(submission_id=first, after=event.id) == []

    def test_a_webhook_is_told_by_one(self, storage: Storage) -> None:
        number = storage.submit(a_submission()).id
        assert [storage.take_notification(number, event) for event in (3, 3, 2, 4)] == [True, False, False, True]

    def test_workers_are_seen(self, storage: Storage) -> None:
        worker = FleetWorker("host-1", "host", "TPU v6e-4", 4, {"jax": "0.11.2"})
        storage.put_worker(worker)
        storage.put_worker(replace(worker, state="running", submission_id=7))
        [seen] = storage.list_workers(seen_within_s=60.0)
        assert replace(seen, started_at=0.0, seen_at=0.0) == replace(worker, state="running", submission_id=7)
        assert seen.started_at <= seen.seen_at
        assert storage.list_workers(seen_within_s=-1.0) == []
        storage.remove_worker("host-1")
        storage.remove_worker("host-1")
        assert storage.list_workers() == []

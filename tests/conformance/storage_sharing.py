"""The storage contract as tests: several workers on one study. A lease of -1 s has run out the moment it is given: no test waits."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from storage.base import ClaimLost, Conflict, InvalidRecord, NotFound, Storage
from storage.queue_records import Claim, Fence, FleetWorker, GroupState, Submission
from storage.records import TrialState
from tests.storage.builders import a_lease, a_measurement, a_submission, a_trial, stored_study, stored_trial

MACHINE = FleetWorker("lead", "host", "TPU v6e-4", 4, {"jax": "0.11.2"})


def _running(storage: Storage, *, workers: int = 3, opened: bool = True) -> Submission:
    """A submission of the study "first" that the worker "lead" runs, and has opened."""
    study = stored_study(storage)
    storage.put_worker(MACHINE)
    storage.submit(a_submission(workers=workers, requirements={"chips": 4}))
    if opened:
        storage.swap_lease(study.id, None, a_lease(study.id))
    taken = storage.claim_submission(Claim("lead", "lead", 60.0))
    assert taken is not None
    return taken


def _join(storage: Storage, worker: str, *, lease_s: float = 60.0, chips: int = 4) -> Submission | None:
    storage.put_worker(replace(MACHINE, name=worker, chips=chips))
    like = lambda leader: leader.chips == chips  # noqa: E731
    return storage.join_submission(Claim(worker, worker, lease_s, fits=lambda needs: needs["chips"] <= chips, like=like))


class SharingContract:
    def test_a_group_is_measured_by_one(self, storage: Storage) -> None:
        study = stored_study(storage).id

        def claim(worker: str, lease_s: float = 60.0) -> bool:
            return storage.claim_group(study, "16", worker=worker, token=worker, lease_s=lease_s)

        assert [claim("dead", -1.0), claim("w2"), claim("w3")] == [True, True, False]
        assert not storage.end_group(study, "16", "dead", done=True), "it was taken over"
        assert (storage.beat_groups(study, "dead", 60.0), storage.beat_groups(study, "w2", 60.0)) == (0, 1)
        assert storage.end_group(study, "16", "w2", done=False)
        assert claim("w3", -1.0)
        assert storage.end_group(study, "16", "w3", done=True)
        assert not claim("w2"), "what is done is not taken again, however old its lease"
        [group] = storage.list_groups(study)
        assert (group.group_key, group.worker, group.state) == ("16", "w3", GroupState.DONE)
        assert storage.list_groups(study, state=GroupState.CLAIMED) == []
        storage.clear_groups(study)
        assert claim("w2")
        with pytest.raises(NotFound):
            storage.claim_group(study + 1, "16", worker="w", token="t", lease_s=60.0)

    def test_groups_that_are_held_now(self, storage: Storage) -> None:
        study = stored_study(storage).id
        for key, lease_s in (("16", 60.0), ("32", -1.0), ("64", 60.0)):
            storage.claim_group(study, key, worker="w", token="t", lease_s=lease_s)
        storage.end_group(study, "64", "t", done=True)
        assert [claim.group_key for claim in storage.held_groups(study)] == ["16"]

    def test_a_worker_that_was_taken_over_writes_nothing_more(self, storage: Storage) -> None:
        """Its lease alone does not matter: until somebody takes the group, it is its own."""
        trial = stored_trial(storage)
        fence = Fence(trial.study_id, "16", "slow")
        storage.claim_group(trial.study_id, "16", worker="slow", token="slow", lease_s=-1.0)
        fenced = storage.fenced(lambda: fence)
        fenced.start_trial(trial.id)
        fenced.add_measurement(a_measurement(trial.id))
        storage.claim_group(trial.study_id, "16", worker="w2", token="w2", lease_s=60.0)
        with pytest.raises(ClaimLost, match="another worker has taken group 16 over"):
            fenced.add_measurement(a_measurement(trial.id, round=1))
        with pytest.raises(ClaimLost):
            fenced.finish_trial(trial.id, TrialState.COMPLETE, values={"goodput": 1.0})
        with pytest.raises(ClaimLost):
            fenced.create_trials([a_trial(trial.study_id)])
        with pytest.raises(ClaimLost):
            fenced.note_trial(trial.id, {})
        assert [item.round for item in storage.list_measurements(trial_id=trial.id)] == [0]
        assert storage.get_trial(trial.id).state is TrialState.RUNNING
        storage.fenced(lambda: None).add_measurement(a_measurement(trial.id, round=1))

    def test_trials_are_numbered_by_the_database(self, storage: Storage) -> None:
        study = stored_study(storage).id
        storage.create_trial(a_trial(study, 0))
        made = storage.create_trials([a_trial(study, 7, block_size=16), a_trial(study, 7, block_size=64)])
        assert [(trial.number, trial.block_size, trial.state) for trial in made] == [
            (1, 16, TrialState.WAITING),
            (2, 64, TrialState.WAITING),
        ]
        with pytest.raises(Conflict):
            storage.create_trials([a_trial(study, state=TrialState.RUNNING)])
        with pytest.raises(NotFound):
            storage.create_trials([a_trial(study), a_trial(study, workload_hash="b" * 64)])
        assert len(storage.list_trials(study)) == 3, "all or none"
        assert not any((storage.create_trials([]), storage.get_trials([]), storage.measurements_of([])))

    def test_trials_and_windows_of_several_at_once(self, storage: Storage) -> None:
        study = stored_study(storage).id
        first, second, third = storage.create_trials([a_trial(study)] * 3)
        late, early = (storage.add_measurement(a_measurement(trial.id, round=3 - trial.number)) for trial in (first, second))
        storage.add_measurement(a_measurement(third.id))
        assert storage.get_trials([second.id, first.id, third.id + 9]) == [first, second]
        assert storage.measurements_of([second.id, first.id]) == [late, early]

    def test_what_several_spend_is_added_up(self, storage: Storage) -> None:
        study = stored_study(storage).id
        storage.spend(study, engine_starts=1, cost={"start": 2.0})
        after = storage.spend(study, engine_starts=1, cost={"start": 1.5, "measure": 4.0})
        assert (after.engine_starts, after.cost) == (2, {"start": 3.5, "measure": 4.0})
        with pytest.raises(NotFound):
            storage.spend(study + 1, engine_starts=1)

    @pytest.mark.slow
    def test_numbers_and_starts_are_given_out_once(self, storage: Storage) -> None:
        study = stored_study(storage).id

        def work(_number: int) -> tuple[list[int], int]:
            made = storage.create_trials([a_trial(study)] * 3)
            return [trial.number for trial in made], storage.spend(study, engine_starts=1, cost={"start": 1.0}).engine_starts

        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(work, range(16)))
        assert sorted(number for numbers, _ in found for number in numbers) == list(range(48))
        assert all(numbers == list(range(numbers[0], numbers[0] + 3)) for numbers, _ in found)
        assert sorted(start for _, start in found) == list(range(1, 17))
        assert storage.get_study_by_id(study).cost == {"start": 16.0}

    def test_a_study_is_joined_by_as_many_as_it_wants(self, storage: Storage) -> None:
        submission = _running(storage, workers=3)
        assert [_join(storage, worker) is not None for worker in ("w1", "w2", "w3")] == [True, True, False]
        assert _join(storage, "w2") is not None, "it is there already"
        assert {worker.name: worker.submission_id for worker in storage.list_workers()}["w1"] == submission.id
        storage.remove_worker("w1")
        assert _join(storage, "w3") is not None

    def test_a_dead_worker_takes_no_place(self, storage: Storage) -> None:
        _running(storage, workers=2)
        assert _join(storage, "dead") is not None
        assert _join(storage, "w2") is None
        assert _join(storage, "w2", lease_s=-1.0) is not None, "the dead one was not seen for a lease"

    @pytest.mark.parametrize("workers", [1, 2])
    def test_what_runs_alone_is_not_joined(self, storage: Storage, workers: int) -> None:
        """For one worker; and one that the worker which has it has not opened yet."""
        _running(storage, workers=workers, opened=workers == 1)
        assert _join(storage, "w1") is None

    def test_a_machine_that_is_not_alike_does_not_join(self, storage: Storage) -> None:
        _running(storage)
        assert [_join(storage, "small", chips=2), _join(storage, "large", chips=8)] == [None, None]
        assert _join(storage, "same") is not None

    def test_what_ends_or_has_lost_its_worker_is_not_joined(self, storage: Storage) -> None:
        submission = _running(storage)
        storage.beat_submission(submission.id, "lead", -1.0)
        assert _join(storage, "w1") is None
        storage.beat_submission(submission.id, "lead", 60.0)
        storage.cancel_submission(submission.id, by="ben")
        assert _join(storage, "w1") is None

    def test_one_submission_can_be_asked_for(self, storage: Storage) -> None:
        first, second = (storage.submit(a_submission(study=name)).id for name in "ab")
        claim = Claim("w", "t", 60.0, only=second)
        assert getattr(storage.claim_submission(claim), "id", None) == second
        assert storage.claim_submission(claim) is None
        assert getattr(storage.claim_submission(Claim("w", "t2", 60.0)), "id", None) == first

    def test_nobody_works_for_less_than_one_worker(self, storage: Storage) -> None:
        with pytest.raises(InvalidRecord):
            storage.submit(a_submission(workers=0))

    @pytest.mark.slow
    def test_no_more_join_at_the_same_instant_than_there_are_places(self, storage: Storage) -> None:
        _running(storage, workers=4)
        with ThreadPoolExecutor(8) as pool:
            joined = list(pool.map(lambda number: _join(storage, f"w{number}"), range(16)))
        assert sum(item is not None for item in joined) == 3

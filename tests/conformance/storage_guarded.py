"""The storage contract as tests: windows that come late, writes of a process that was taken over, a database that is waited for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from storage.base import LeaseLost, Storage, StorageUnavailable
from storage.records import Lease, StudyState
from tests.conformance.storage import MISSING
from tests.storage.builders import a_measurement, a_trial, stored_study, stored_trial


class Waiting:
    """`again` says yes so often, after doing what is given."""

    def __init__(self, times: int, do: Any = lambda: None) -> None:
        self.left = times
        self.do = do
        self.came = 0

    def again(self, error: StorageUnavailable) -> bool:
        assert "\n" not in str(error)
        self.left -= 1
        self.do()
        return self.left >= 0

    def answered(self) -> None:
        self.came += 1


class GuardedContract:
    def test_a_window_that_was_kept_elsewhere_is_stored_once(self, storage: Storage) -> None:
        trial = stored_trial(storage)
        window = a_measurement(trial.id, started_at=1764495241.123456789, duration_s=0.1 + 0.2)
        first = storage.restore_measurement(replace(window, id=-1), trial.created_at)
        assert first is not None and first == replace(window, id=first.id)
        assert storage.restore_measurement(replace(window, id=-7), trial.created_at) == first, "also after it was read from a file again"
        assert list(storage.list_measurements(trial_id=window.trial_id)) == [first]

    def test_one_whose_answer_was_lost_is_found(self, storage: Storage) -> None:
        """The database stored it and went away before it said so."""
        trial = stored_trial(storage)
        stored = storage.add_measurement(a_measurement(trial.id, started_at=12.5))
        assert storage.restore_measurement(replace(stored, id=-1), trial.created_at) == stored

    def test_one_whose_round_was_measured_again_comes_too_late(self, storage: Storage) -> None:
        trial = stored_trial(storage)
        again = storage.add_measurement(a_measurement(trial.id, started_at=99.0))
        late = a_measurement(trial.id, started_at=12.5)
        assert storage.restore_measurement(late, trial.created_at) is None
        assert storage.restore_measurement(replace(late, trial_id=MISSING), trial.created_at) is None
        assert storage.restore_measurement(replace(late, round=5), trial.created_at - 1.0) is None, "of another trial of this id"
        assert list(storage.list_measurements(trial_id=trial.id)) == [again]

    def test_one_beside_an_invalid_window_of_its_round_does_not(self, storage: Storage) -> None:
        trial = stored_trial(storage)
        storage.add_measurement(a_measurement(trial.id, started_at=9.0, valid=False, invalid_reason="busy"))
        assert storage.restore_measurement(a_measurement(trial.id, started_at=12.5), trial.created_at) is not None
        assert len(storage.list_measurements(trial_id=trial.id)) == 2

    def test_who_was_taken_over_writes_nothing(self, storage: Storage) -> None:
        study = stored_study(storage)
        mine, theirs = (Lease(study.id, token, 1, "here", 0.0, 0.0) for token in ("mine", "theirs"))
        assert storage.swap_lease(study.id, None, mine)
        leased = storage.leased(study.id, "mine")
        trial = leased.create_trial(a_trial(study.id))
        assert storage.swap_lease(study.id, "mine", theirs)
        for write in (
            lambda: leased.add_measurement(a_measurement(trial.id)),
            lambda: leased.restore_measurement(a_measurement(trial.id), trial.created_at),
            lambda: leased.create_trial(a_trial(study.id, 1)),
            lambda: leased.update_study(study.id, state=StudyState.COMPLETE),
        ):
            with pytest.raises(LeaseLost):
                write()
        assert storage.swap_lease(study.id, "theirs", None), "and none where the other one has ended"
        with pytest.raises(LeaseLost):
            leased.add_measurement(a_measurement(trial.id))
        assert leased.list_trials(study.id) == [trial]
        assert leased.list_measurements(study_id=study.id) == []

    def test_a_database_that_is_away_is_waited_for(self, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
        study = stored_study(storage)
        engine = storage._engine  # type: ignore[attr-defined]
        engine.dispose()

        def refuse(*_arguments: Any) -> None:
            raise engine.dialect.dbapi.OperationalError("it is away")

        with monkeypatch.context() as away:
            away.setattr(engine.pool, "_creator", refuse)
            with pytest.raises(StorageUnavailable):
                storage.get_study_by_id(study.id)
            given_up = Waiting(3)
            with pytest.raises(StorageUnavailable):
                storage.patient(given_up).get_study_by_id(study.id)
            assert (given_up.left, given_up.came) == (-1, 0)
            waiting = Waiting(9, away.undo)
            assert storage.patient(waiting).get_study_by_id(study.id) == study
            assert (waiting.left, waiting.came) == (8, 1)

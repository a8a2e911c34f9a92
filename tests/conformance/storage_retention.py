"""The storage contract as tests: sizes, and what frees space."""

from __future__ import annotations

import pytest

from storage.base import NotFound, Storage
from storage.records import TrialState
from storage.retention_contract import PRUNED, Freed
from tests.conformance.storage import MISSING
from tests.storage.builders import a_measurement, a_profile, a_study, a_trial, stored_trial


class RetentionContract:
    def test_sizes_are_told_by_table_and_by_study(self, storage: Storage) -> None:
        trial = stored_trial(storage)
        small = storage.create_study(a_study(name="small"))
        for number in range(3):
            storage.add_measurement(a_measurement(trial.id, round=number, details={"note": "x" * 100}))
        storage.add_profile(a_profile(trial.id, size_bytes=7))
        storage.note_profile(storage.add_profile(a_profile(trial.id, session="s2", size_bytes=9)).id, {PRUNED: 1.0})
        assert storage.database_bytes() > 0
        rows = {item.name: item.rows for item in storage.table_sizes()}
        assert (rows["measurements"], rows["studies"], rows["capacity_runs"]) == (3, 2, 0)
        assert all(item.bytes is None or item.bytes > 0 for item in storage.table_sizes())
        large, other = storage.study_sizes()
        assert (large.study_id, large.trials, large.windows, large.profiles, large.profile_bytes) == (trial.study_id, 1, 3, 1, 7)
        assert large.bytes > 300
        assert (other.study_id, other.windows, other.bytes) == (small.id, 0, 0)
        assert [item.name for item in storage.study_sizes(1)] == ["first"]

    def test_details_go_but_for_what_is_named(self, storage: Storage) -> None:
        trial = stored_trial(storage)
        elsewhere = storage.create_trial(a_trial(storage.create_study(a_study(name="other")).id))
        kept = storage.add_measurement(a_measurement(trial.id, details={"launcher": "local"}))
        full = storage.add_measurement(a_measurement(trial.id, round=1, details={"flags": ["--x"], "launcher": "local", "wall_s": 1.5}))
        other = storage.add_measurement(a_measurement(elsewhere.id, details={"flags": ["--x"]}))
        would = storage.drop_details(trial.study_id, keep={"launcher"}, dry_run=True)
        assert would.rows == 1 and would.bytes == len('"flags":["--x"],') + len(',"wall_s":1.5')
        assert list(storage.list_measurements(trial_id=trial.id)) == [kept, full]
        assert storage.drop_details(trial.study_id, keep={"launcher"}) == would
        assert storage.drop_details(trial.study_id, keep={"launcher"}) == Freed()
        assert [item.details for item in storage.list_measurements(trial_id=trial.id)] == [{"launcher": "local"}] * 2
        assert list(storage.list_measurements(trial_id=elsewhere.id)) == [other]

    def test_logs_of_ended_trials_go_and_their_errors_stay(self, storage: Storage) -> None:
        trial = stored_trial(storage)
        running = storage.create_trial(a_trial(trial.study_id, 1))
        storage.finish_trial(trial.id, TrialState.FAIL, error_class="engine_crash", error_message="gone", log_excerpt="line\n" * 10)
        assert storage.drop_logs(trial.study_id, dry_run=True) == Freed(1, 50)
        assert storage.get_trial(trial.id).log_excerpt == "line\n" * 10
        assert storage.drop_logs(trial.study_id) == Freed(1, 50)
        after = storage.get_trial(trial.id)
        assert (after.log_excerpt, after.error_class, after.error_message) == (None, "engine_crash", "gone")
        assert storage.get_trial(running.id) == running
        assert storage.drop_logs(MISSING) == Freed()

    def test_a_note_on_a_profile_leaves_the_rest_as_it_was(self, storage: Storage) -> None:
        stored = storage.add_profile(a_profile(stored_trial(storage).id, quality={"ok": True}, summary={"steps": 3}))
        storage.note_profile(stored.id, {PRUNED: 5.0})
        (after,) = storage.list_profiles(trial_id=stored.trial_id)
        assert (after.quality, after.summary, after.status) == ({"ok": True, PRUNED: 5.0}, {"steps": 3}, "ok")
        with pytest.raises(NotFound):
            storage.note_profile(MISSING, {PRUNED: 5.0})

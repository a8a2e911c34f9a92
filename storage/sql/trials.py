"""Trials and the gate that finishes them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, func, select

from storage.base import Conflict, InvalidRecord
from storage.records import FINISHED, Json, Stage, Trial, TrialState
from storage.sql.core import (
    SqlCore,
    columns_of,
    find_record,
    insert_record,
    now_s,
    plain_columns,
    records_of,
    require_page,
    sound_rows,
    update_record,
)
from storage.sql.models import trials
from storage.values import finite


def check_outcome(state: TrialState, values: Json | None, error_class: str | None, what: str) -> None:
    """The state gate. Raises Conflict: an unfinished state, COMPLETE without values or with an error class, FAIL with values or without an
    error class, any value that is not a finite number."""
    if state not in FINISHED:
        raise Conflict(f"{what}: {state} does not finish a trial; use COMPLETE, PRUNED or FAIL")
    if state is TrialState.COMPLETE and not values:
        raise Conflict(f"{what}: COMPLETE needs values; a trial without a result is FAIL")
    if state is TrialState.COMPLETE and error_class is not None:
        raise Conflict(f"{what}: COMPLETE takes no error class")
    if state is TrialState.FAIL and values is not None:
        raise Conflict(f"{what}: FAIL takes no values")
    if state is TrialState.FAIL and not error_class:
        raise Conflict(f"{what}: FAIL needs an error class")
    for name, value in (values or {}).items():
        try:
            finite(value, f"{what}: {name}")
        except InvalidRecord as error:
            raise Conflict(f"{error}; such a trial is FAIL") from None


def unfinished(connection: Connection, trial_id: int, what: str) -> Trial:
    """The trial, locked until the transaction ends. Raises NotFound, and Conflict where it is finished."""
    trial = find_record(connection, Trial, "id", trial_id, what, lock=True)
    if trial.state in FINISHED:
        raise Conflict(f"{what}: is {trial.state} already; a finished trial never changes")
    return trial


class SqlTrials(SqlCore):
    """See storage.base.Storage."""

    def create_trial(self, trial: Trial) -> Trial:
        what = f"trial {trial.number} of study {trial.study_id}"
        if trial.state in FINISHED or trial.finished_at is not None:
            raise Conflict(f"{what}: a trial is created WAITING or RUNNING and finished by finish_trial")
        if trial.values is not None or trial.error_class is not None:
            raise Conflict(f"{what}: only finish_trial gives values or an error class")
        values = columns_of(trial, what)
        values["created_at"] = values["created_at"] or now_s()
        if trial.state is TrialState.RUNNING and trial.started_at is None:
            values["started_at"] = now_s()
        with self._writing(what) as connection:
            return insert_record(connection, Trial, values)

    def get_trial(self, trial_id: int) -> Trial:
        what = f"trial {trial_id}"
        with self._reading(what) as connection:
            return find_record(connection, Trial, "id", trial_id, what)

    def list_trials(
        self,
        study_id: int,
        *,
        state: TrialState | None = None,
        stage: Stage | None = None,
        arm: str | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> Sequence[Trial]:
        require_page(limit, offset)
        conditions: list[ColumnElement[bool]] = [trials.c.study_id == study_id]
        if state is not None:
            conditions.append(trials.c.state == state)
        if stage is not None:
            conditions.append(trials.c.stage == stage)
        if arm is not None:
            conditions.append(trials.c.arm == arm)
        statement = select(trials).where(*conditions).order_by(trials.c.number).limit(limit).offset(offset)
        with self._reading(f"trials of study {study_id}") as connection:
            return records_of(Trial, connection.execute(statement), f"trials of study {study_id}")

    def count_trials(self, study_id: int) -> dict[TrialState, int]:
        """Every state is a key, also those that no trial is in."""
        return self.count_trials_of([study_id])[study_id]

    def count_trials_of(self, study_ids: Sequence[int]) -> dict[int, dict[TrialState, int]]:
        counts = {study_id: dict.fromkeys(TrialState, 0) for study_id in study_ids}
        grouped = select(trials.c.study_id, trials.c.state, func.count()).group_by(trials.c.study_id, trials.c.state)
        with self._reading("trials") as connection:
            for row in sound_rows(connection.execute(grouped.where(trials.c.study_id.in_(study_ids))), "trials"):
                study_id, state, count = tuple(row)
                counts[study_id][state] = int(count)
        return counts

    def start_trial(self, trial_id: int, *, environment: str | None = None, effective: Json | None = None) -> Trial:
        what = f"trial {trial_id}"
        given = {"environment": environment, "effective": effective}
        changes = plain_columns({name: value for name, value in given.items() if value is not None}, what)
        with self._writing(what) as connection:
            before = unfinished(connection, trial_id, what)
            changes |= {"state": TrialState.RUNNING, "started_at": before.started_at or now_s()}
            return update_record(connection, Trial, trial_id, changes, what)

    def note_trial(self, trial_id: int, notes: Json) -> Trial:
        what = f"trial {trial_id}"
        changes = plain_columns({"notes": notes}, what)
        with self._writing(what) as connection:
            unfinished(connection, trial_id, what)
            return update_record(connection, Trial, trial_id, changes, what)

    def finish_trial(
        self,
        trial_id: int,
        state: TrialState,
        *,
        values: Json | None = None,
        error_class: str | None = None,
        error_message: str | None = None,
        log_excerpt: str | None = None,
        notes: Json | None = None,
    ) -> Trial:
        what = f"trial {trial_id}"
        check_outcome(state, values, error_class, what)
        given = {"values": values, "error_class": error_class, "error_message": error_message, "log_excerpt": log_excerpt, "notes": notes}
        changes = plain_columns({name: value for name, value in given.items() if value is not None}, what)
        with self._writing(what) as connection:
            unfinished(connection, trial_id, what)
            return update_record(connection, Trial, trial_id, changes | {"state": state, "finished_at": now_s()}, what)

"""Several workers on one study: joining it, claims, and what is given out once among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, func, select, update

from storage.base import Conflict
from storage.queue_records import Claim, FleetWorker, GroupClaim, GroupState, Submission, SubmissionState
from storage.records import Json, Measurement, Study, Trial, TrialState
from storage.sql.clock import database_now
from storage.sql.core import (
    SqlCore,
    columns_of,
    find_record,
    insert_record,
    inserting,
    now_s,
    plain_columns,
    record_of,
    records_of,
    update_record,
)
from storage.sql.models import fleet_workers, group_claims, leases, measurements, studies, submissions, trials
from storage.sql.schema import CLAIMS_LOCK, advisory_lock


class SqlSharing(SqlCore):
    """See storage.sharing_contract.SharingStorage."""

    def join_submission(self, claim: Claim) -> Submission | None:
        with self._writing("joining of a submission") as connection:
            if self._url.dialect == "postgresql":
                advisory_lock(connection, CLAIMS_LOCK)
            for row in connection.execute(_joinable()).all():
                submission = record_of(Submission, row)
                if claim.only not in (None, submission.id) or submission.id in claim.besides or not claim.fits(submission.requirements):
                    continue
                if _has_a_place(connection, submission, claim) and _put_down(connection, submission.id, claim.worker):
                    return submission
        return None

    def claim_group(self, study_id: int, group_key: str, *, worker: str, token: str, lease_s: float) -> bool:
        what = f"group {group_key} of study {study_id}"
        values = plain_columns({"study_id": study_id, "group_key": group_key, "worker": worker, "claim_token": token}, what)
        lease = {"heartbeat_at": database_now(), "lease_until": database_now() + lease_s, "state": GroupState.CLAIMED}
        free = (group_claims.c.state == GroupState.CLAIMED) & (group_claims.c.lease_until < database_now())
        put = inserting(self._url, group_claims).values({**values, **lease, "attempts": 1})
        put = put.on_conflict_do_update(
            index_elements=["study_id", "group_key"], set_={**values, **lease, "attempts": group_claims.c.attempts + 1}, where=free
        )
        with self._writing(what) as connection:
            return connection.execute(put.returning(group_claims.c.id)).first() is not None

    def beat_groups(self, study_id: int, token: str, lease_s: float) -> int:
        held = _held(study_id, token)
        beat = update(group_claims).where(*held).values(heartbeat_at=database_now(), lease_until=database_now() + lease_s)
        with self._writing(f"groups of study {study_id}") as connection:
            return connection.execute(beat).rowcount

    def end_group(self, study_id: int, group_key: str, token: str, *, done: bool) -> bool:
        mine = (*_held(study_id, token), group_claims.c.group_key == group_key)
        statement = update(group_claims).where(*mine).values(state=GroupState.DONE) if done else delete(group_claims).where(*mine)
        with self._writing(f"group {group_key} of study {study_id}") as connection:
            return connection.execute(statement).rowcount == 1

    def list_groups(self, study_id: int, *, state: GroupState | None = None) -> Sequence[GroupClaim]:
        return self._groups(study_id, *(() if state is None else (group_claims.c.state == state,)))

    def held_groups(self, study_id: int) -> Sequence[GroupClaim]:
        return self._groups(study_id, group_claims.c.state == GroupState.CLAIMED, group_claims.c.lease_until >= database_now())

    def _groups(self, study_id: int, *which: ColumnElement[bool]) -> Sequence[GroupClaim]:
        statement = select(group_claims).where(group_claims.c.study_id == study_id, *which).order_by(group_claims.c.id)
        what = f"groups of study {study_id}"
        with self._reading(what) as connection:
            return records_of(GroupClaim, connection.execute(statement), what)

    def clear_groups(self, study_id: int) -> None:
        with self._writing(f"groups of study {study_id}") as connection:
            connection.execute(delete(group_claims).where(group_claims.c.study_id == study_id))

    def create_trials(self, trials: Sequence[Trial]) -> Sequence[Trial]:
        """Also raises Conflict for one that is not WAITING."""
        if not trials:
            return []
        study_id = trials[0].study_id
        what = f"trials of study {study_id}"
        if any(trial.state is not TrialState.WAITING or trial.study_id != study_id for trial in trials):
            raise Conflict(f"{what}: only WAITING ones of one study are numbered")
        with self._writing(what) as connection:
            number = _next_number(connection, study_id, what)
            rows = [{**columns_of(trial, what), "number": number + nth, "created_at": now_s()} for nth, trial in enumerate(trials)]
            return [insert_record(connection, Trial, row) for row in rows]

    def get_trials(self, trial_ids: Sequence[int]) -> Sequence[Trial]:
        if not trial_ids:
            return []
        with self._reading("trials") as connection:
            found = connection.execute(select(trials).where(trials.c.id.in_(trial_ids)).order_by(trials.c.id))
            return records_of(Trial, found, "trials")

    def measurements_of(self, trial_ids: Sequence[int]) -> Sequence[Measurement]:
        if not trial_ids:
            return []
        with self._reading("measurements") as connection:
            found = connection.execute(select(measurements).where(measurements.c.trial_id.in_(trial_ids)).order_by(measurements.c.id))
            return records_of(Measurement, found, "measurements")

    def spend(self, study_id: int, *, engine_starts: int = 0, cost: Json | None = None) -> Study:
        what = f"study {study_id}"
        with self._writing(what) as connection:
            before = find_record(connection, Study, "id", study_id, what, lock=True)
            spent = {**before.cost, **{name: before.cost.get(name, 0.0) + seconds for name, seconds in (cost or {}).items()}}
            changes = plain_columns({"engine_starts": before.engine_starts + engine_starts, "cost": spent}, what)
            return update_record(connection, Study, study_id, changes | {"updated_at": now_s()}, what)


def _held(study_id: int, token: str) -> tuple[ColumnElement[bool], ...]:
    return group_claims.c.study_id == study_id, group_claims.c.claim_token == token, group_claims.c.state == GroupState.CLAIMED


def _joinable() -> Any:
    """Studies that a worker runs and has opened, for several workers; best first."""
    opened = (
        select(leases.c.study_id).join(studies, studies.c.id == leases.c.study_id).where(studies.c.name == submissions.c.study).exists()
    )
    shared = (submissions.c.state == SubmissionState.RUNNING) & (submissions.c.workers > 1) & (submissions.c.lease_until >= database_now())
    return select(submissions).where(shared, opened).order_by(submissions.c.priority.desc(), submissions.c.id)


def _has_a_place(connection: Connection, submission: Submission, claim: Claim) -> bool:
    """Whether there is room beside the worker that runs it and those that joined, and this one is like that worker."""
    there = fleet_workers.c.submission_id == submission.id
    alive = fleet_workers.c.seen_at >= database_now() - claim.lease_s
    joined = there & alive & fleet_workers.c.name.not_in([claim.worker, submission.claimed_by])
    if connection.execute(select(func.count()).where(joined)).scalar_one() >= submission.workers - 1:
        return False
    leader: Row[Any] | None = connection.execute(select(fleet_workers).where(fleet_workers.c.name == submission.claimed_by)).one_or_none()
    return leader is not None and claim.like(record_of(FleetWorker, leader))


def _put_down(connection: Connection, submission_id: int, worker: str) -> bool:
    """False for a worker that nobody knows."""
    known = update(fleet_workers).where(fleet_workers.c.name == worker)
    return connection.execute(known.values(submission_id=submission_id, state="running", seen_at=database_now())).rowcount == 1


def _next_number(connection: Connection, study_id: int, what: str) -> int:
    """Of a trial. The study's row is locked, so that the numbers of two at once follow each other."""
    find_record(connection, Study, "id", study_id, what, lock=True)
    last = connection.execute(select(func.max(trials.c.number)).where(trials.c.study_id == study_id)).scalar_one()
    return 0 if last is None else int(last) + 1

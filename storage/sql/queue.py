"""Submissions: who wants which study run, who runs it, and what happened to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

from sqlalchemy import ColumnElement, Connection, Row, Select, func, insert, or_, select, update

from storage.base import Conflict, InvalidRecord
from storage.queue_records import ENDED, Claim, Submission, SubmissionEvent, SubmissionFilter, SubmissionState
from storage.sql.clock import database_now, read_clock
from storage.sql.core import SqlCore, columns_of, find_record, insert_record, readable, record_of, require_page, sound_records
from storage.sql.models import submission_events as events
from storage.sql.models import submissions, team_limits
from storage.sql.schema import CLAIMS_LOCK, advisory_lock
from storage.values import clean_text

_HELD = (SubmissionState.RUNNING, SubmissionState.CANCELLING)
_NOBODY: dict[str, Any] = {"claim_token": None, "lease_until": None}
_LONGEST_REASON = 2000  # characters


class SqlQueue(SqlCore):
    """See storage.queue_contract.QueueStorage."""

    def submit(self, submission: Submission) -> Submission:
        what = f"submission of study {submission.study!r}"
        if submission.workers < 1:
            raise InvalidRecord(f"{what}: workers={submission.workers}: it takes one at least")
        new = {"state": SubmissionState.QUEUED, "attempts": 0, "claimed_by": None, "heartbeat_at": None, "finished_at": None}
        values = {**columns_of(submission, what), **new, "reason": None, "notified_event": 0}
        try:
            with self._writing(what) as connection:
                stored = insert_record(connection, Submission, {**values, "submitted_at": read_clock(connection)})
                _tell(connection, stored.id, SubmissionState.QUEUED, stored.submitted_by, "")
                return stored
        except Conflict as error:
            reason = f"study {submission.study!r} is queued or running already"
            raise Conflict(reason, "wait for its end, cancel it, or choose another name") from error

    def get_submission(self, submission_id: int) -> Submission:
        what = f"submission {submission_id}"
        with self._reading(what) as connection:
            return find_record(connection, Submission, "id", submission_id, what)

    def list_submissions(self, *, limit: int = 100, offset: int = 0, **wanted: Unpack[SubmissionFilter]) -> Sequence[Submission]:
        require_page(limit, offset)
        statement = select(submissions).where(*_chosen(wanted)).order_by(submissions.c.id.desc())
        with self._reading("submissions") as connection:
            return sound_records(connection, Submission, statement, limit, offset)

    def count_submissions(self, **wanted: Unpack[SubmissionFilter]) -> dict[SubmissionState, int]:
        statement = select(submissions.c.state, func.count()).where(*_chosen(wanted)).group_by(submissions.c.state)
        with self._reading("submissions") as connection, readable("submissions"):
            found = {row[0]: row[1] for row in connection.execute(statement)}
        return {state: found.get(state, 0) for state in SubmissionState}

    def claim_submission(self, claim: Claim) -> Submission | None:
        with self._writing("claim of a submission") as connection:
            if self._url.dialect == "postgresql":
                advisory_lock(connection, CLAIMS_LOCK)
            _end_what_nobody_can_run(connection, claim)
            for candidate in connection.execute(_candidates()).all():
                if claim.only not in (None, candidate.id) or candidate.id in claim.besides or not claim.fits(candidate.requirements):
                    continue
                taken = _take(connection, candidate, claim)
                if taken is not None:
                    return taken
        return None

    def beat_submission(self, submission_id: int, token: str, lease_s: float) -> SubmissionState | None:
        held = _held_by(submission_id, token)
        beat = update(submissions).where(*held).values(heartbeat_at=database_now(), lease_until=database_now() + lease_s)
        with self._writing(f"submission {submission_id}") as connection:
            return connection.execute(beat.returning(submissions.c.state)).scalar_one_or_none()

    def release_submission(self, submission_id: int, token: str, state: SubmissionState, reason: str | None = None) -> Submission:
        what, said = f"submission {submission_id}", _shortened(reason)
        with self._writing(what) as connection:
            before = find_record(connection, Submission, "id", submission_id, what, lock=True)
            if state is SubmissionState.QUEUED and before.state is SubmissionState.CANCELLING:
                state = SubmissionState.CANCELLED
            if state is SubmissionState.CANCELLED:
                said = before.reason  # of whoever cancelled it
            changes = {"state": state, "reason": said, **_NOBODY, "finished_at": database_now() if state in ENDED else None}
            if state is SubmissionState.QUEUED:
                changes["attempts"] = submissions.c.attempts - 1
            after = _change(connection, changes, *_held_by(submission_id, token))
            if after is None or state in _HELD:
                raise Conflict(f"{what} is not this worker's any more")
            _tell(connection, submission_id, state, before.claimed_by or "", said or "")
            return after

    def cancel_submission(self, submission_id: int, *, by: str, reason: str = "") -> Submission:
        what, said = f"submission {submission_id}", _shortened(reason) or ""
        with self._writing(what) as connection:
            before = find_record(connection, Submission, "id", submission_id, what, lock=True)
            if before.state in ENDED:
                raise Conflict(f"{what} is {before.state} already")
            if before.state is SubmissionState.CANCELLING:
                return before
            queued = before.state is SubmissionState.QUEUED
            state = SubmissionState.CANCELLED if queued else SubmissionState.CANCELLING
            changes = {"state": state, "reason": said or f"cancelled by {by}", "finished_at": database_now() if queued else None}
            after = _change(connection, changes, submissions.c.id == submission_id, submissions.c.state == before.state)
            assert after is not None  # its row is locked
            _tell(connection, submission_id, state, by, said)
            return after

    def prioritise_submission(self, submission_id: int, priority: int, *, by: str, reason: str = "") -> Submission:
        what = f"submission {submission_id}"
        with self._writing(what) as connection:
            before = find_record(connection, Submission, "id", submission_id, what, lock=True)
            if before.state is not SubmissionState.QUEUED:
                raise Conflict(f"{what} is {before.state} already")
            if before.priority == priority:
                return before
            queued = submissions.c.id == submission_id, submissions.c.state == SubmissionState.QUEUED
            after = _change(connection, {"priority": priority}, *queued)
            assert after is not None  # its row is locked
            said = f"priority {before.priority} -> {priority}" + (f": {reason}" if reason else "")
            _tell(connection, submission_id, SubmissionState.QUEUED, by, _shortened(said) or "")
            return after

    def list_events(self, *, submission_id: int | None = None, after: int = 0, limit: int = 1000) -> Sequence[SubmissionEvent]:
        require_page(limit, 0)
        statement = select(events).where(events.c.id > after).order_by(events.c.id)
        if submission_id is not None:
            statement = statement.where(events.c.submission_id == submission_id)
        with self._reading("events of submissions") as connection:
            return sound_records(connection, SubmissionEvent, statement, limit)

    def take_notification(self, submission_id: int, event_id: int) -> bool:
        untold = submissions.c.id == submission_id, submissions.c.notified_event < event_id
        with self._writing(f"submission {submission_id}") as connection:
            return connection.execute(update(submissions).where(*untold).values(notified_event=event_id)).rowcount == 1


def _chosen(wanted: SubmissionFilter) -> list[ColumnElement[bool]]:
    states, team, study = wanted.get("states"), wanted.get("team"), wanted.get("study")
    found: list[ColumnElement[bool]] = []
    if states is not None:
        found.append(submissions.c.state.in_(sorted(states)))
    if team is not None:
        found.append(submissions.c.team == team)
    if study is not None:
        found.append(submissions.c.study == study)
    return found


def _held_by(submission_id: int, token: str) -> tuple[ColumnElement[bool], ...]:
    return submissions.c.id == submission_id, submissions.c.claim_token == token, submissions.c.state.in_(_HELD)


def _silent() -> ColumnElement[bool]:
    return submissions.c.lease_until < database_now()


def _candidates() -> Select[Any]:
    """What a worker may take, best first. Of QUEUED ones only those whose team runs fewer studies than it may; what a dead worker left is
    counted as running already."""
    running = submissions.alias()
    limit = select(team_limits.c.studies).where(team_limits.c.team == submissions.c.team).scalar_subquery()
    used = select(func.count()).where(running.c.team == submissions.c.team, running.c.state.in_(_HELD)).scalar_subquery()
    below = or_(submissions.c.team.is_(None), limit.is_(None), used < limit)
    waiting = (submissions.c.state == SubmissionState.QUEUED) & below
    orphaned = (submissions.c.state == SubmissionState.RUNNING) & _silent()
    columns = (submissions.c.id, submissions.c.state, submissions.c.claimed_by, submissions.c.claim_token, submissions.c.requirements)
    return select(*columns).where(or_(waiting, orphaned)).order_by(submissions.c.priority.desc(), submissions.c.id)


def _take(connection: Connection, candidate: Row[Any], claim: Claim) -> Submission | None:
    """None where it is no longer what it was: cancelled, or its worker woke up."""
    found: tuple[ColumnElement[bool], ...] = (submissions.c.id == candidate.id, submissions.c.state == candidate.state)
    orphaned = candidate.state == SubmissionState.RUNNING
    if orphaned:
        found = (*found, submissions.c.claim_token == candidate.claim_token, _silent())
    held = {"claimed_by": clean_text(claim.worker), "claim_token": claim.token, "attempts": submissions.c.attempts + 1}
    lease = {"heartbeat_at": database_now(), "lease_until": database_now() + claim.lease_s}
    taken = _change(connection, {"state": SubmissionState.RUNNING, "reason": None, **held, **lease}, *found)
    if taken is not None:
        reason = f"taken up from {candidate.claimed_by}, which was silent for too long" if orphaned else ""
        _tell(connection, taken.id, SubmissionState.RUNNING, claim.worker, reason)
    return taken


def _end_what_nobody_can_run(connection: Connection, claim: Claim) -> None:
    """Of dead workers: what was being cancelled is CANCELLED, and what too many of them died of is FAILED."""
    killer = f"{claim.most_attempts} workers died while they ran it; look at their logs before you submit it again"
    endings = (
        (SubmissionState.CANCELLED, submissions.c.state == SubmissionState.CANCELLING, None),
        (
            SubmissionState.FAILED,
            (submissions.c.state == SubmissionState.RUNNING) & (submissions.c.attempts >= claim.most_attempts),
            killer,
        ),
    )
    for state, which, reason in endings:
        changes: dict[str, Any] = {"state": state, **_NOBODY, "finished_at": database_now()}
        if reason is not None:
            changes["reason"] = reason
        ended = connection.execute(update(submissions).where(which, _silent()).values(changes).returning(submissions.c.id)).scalars()
        for submission_id in sorted(ended):
            _tell(connection, submission_id, state, claim.worker, reason or "its worker was silent for too long")


def _change(connection: Connection, changes: dict[str, Any], *found: ColumnElement[bool]) -> Submission | None:
    """One conditional statement; None where no row is as it was said to be."""
    row = connection.execute(update(submissions).where(*found).values(changes).returning(*submissions.c)).one_or_none()
    return None if row is None else record_of(Submission, row)


def _tell(connection: Connection, submission_id: int, what: SubmissionState, by: str, reason: str) -> None:
    values = columns_of(SubmissionEvent(submission_id, what, by, reason=reason), f"event of submission {submission_id}")
    connection.execute(insert(events).values({**values, "at": database_now()}))


def _shortened(reason: str | None) -> str | None:
    return None if reason is None else clean_text(reason)[:_LONGEST_REASON]

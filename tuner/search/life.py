"""Whether somebody still runs a study whose state is RUNNING: a process that was killed, or whose machine is gone, cannot change it."""

from __future__ import annotations

from dataclasses import dataclass

from storage.base import Storage
from storage.records import Json, Lease, Study, StudyState
from tuner.core.numbers import utc
from tuner.search.lease import HEARTBEAT_S, is_alive


@dataclass(frozen=True)
class Life:
    """`seen_at`: the last sign of life of whoever runs the study, Unix seconds. `note` is "" while there is somebody; `silence` says what
    to do about somebody who is there and is not heard of."""

    seen_at: float
    note: str = ""
    silence: str = ""


def life_of(storage: Storage, study: Study, now: float | None = None) -> Life | None:
    """None for a study that nobody says to run. `now`: Unix seconds. A fresh heartbeat is believed, also where the process cannot be seen
    from here (another machine, another container)."""
    if study.state is not StudyState.RUNNING:
        return None
    now = storage.database_now() if now is None else now
    lease = storage.get_lease(study.id)
    seen_at = study.updated_at if lease is None else lease.heartbeat
    if lease is not None and now - seen_at < 2 * HEARTBEAT_S:
        return Life(seen_at)
    if lease is not None and is_alive(lease, now):
        return Life(seen_at, silence=_silence(lease, study.name))
    if lease is None and storage.get_study_by_id(study.id).state is not StudyState.RUNNING:
        return None  # it ended between the two reads
    return Life(seen_at, f"no sign of life since {utc(seen_at)}; resume with the options that it was begun with: {_resume(study.name)}")


def _silence(lease: Lease, study: str) -> str:
    """A heartbeat comes from a thread of its own, so a long measurement does not keep it back."""
    return (
        f"no sign of life since {utc(lease.heartbeat)}, although process {lease.pid} on {lease.host} is there: it was stopped, its "
        f"machine sleeps or swaps, or it does not reach the database. Look at it first (`kill -CONT {lease.pid}` wakes a stopped "
        f"one); to go on without it, end it and resume with the options that it was begun with: {_resume(study)}"
    )


def _resume(study: str) -> str:
    return f"tuner search --study {study} --resume ..."


def life_json(life: Life | None) -> Json:
    """For the study's JSON: two fields, null where nobody says to run it or somebody does."""
    return {
        "last_sign_of_life": None if life is None else life.seen_at,
        "no_sign_of_life": None if life is None or not life.note else life.note,
    }

"""Who runs a study: one process at a time. The lease lies in the database; that of a process that is gone is taken over.

On one machine a process is known by its id and start time, because ids are given again. Of a process on another machine only its heartbeat
is known. A claim is one conditional statement (storage.base.Storage.swap_lease), so of several processes that claim at once exactly one
gets the study. A heartbeat is written under the same condition: a process that was taken over (its machine slept, or could not reach the
database) finds out with its next heartbeat and stops. Heartbeats and their age go by the database's clock.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import uuid
from collections.abc import Callable

import psutil

from storage.base import Storage, StorageFault
from storage.records import Lease, Study
from tuner.core.errors import StudyBusy, StudyTaken

HEARTBEAT_S = 10.0
STALE_AFTER_S = 60.0  # of silence, for a process on another machine
SHARED = "shared-"  # how the token of a lease begins whose holder lets other workers in

_left_behind: set[str] = set()  # tokens of this process's leases that it could not release: nobody holds those studies


class StudyLease:
    """This process's hold on a study, from `claim` to `release`; a thread keeps its heartbeat.

    `shared`: of the worker that leads a study which others work on as well. It takes the lease of an earlier leader, whose submission the
    queue has given to it, and does not mind their claims; whoever wants the study alone does.
    """

    def __init__(self, storage: Storage, study: Study, *, now: Callable[[], float] | None = None, shared: bool = False) -> None:
        """`now`: Unix seconds; the database's clock where none is given."""
        self._storage = storage
        self._study = study
        self._now = now or storage.database_now
        self._shared = shared
        self._token = (SHARED if shared else "") + uuid.uuid4().hex
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._taken_by: str | None = None

    def claim(self, older: Lease | None = None) -> None:
        """Raises StudyBusy where a living process holds the study. `older`: the holder by the record of a version before the leases' table,
        which may still be running."""
        holder = self._storage.get_lease(self._study.id)
        for known in (older, holder):
            if known is not None and not (self._shared and is_shared(known)) and is_alive(known, self._now()):
                raise StudyBusy(
                    f"is being run by process {known.pid} on {known.host}",
                    setting="study",
                    value=repr(self._study.name),
                    fix="wait for it, stop it, or choose another --study",
                )
        if not self._write(None if holder is None else holder.token):
            raise StudyBusy(
                "was taken by another process just now",
                setting="study",
                value=repr(self._study.name),
                fix="wait for it or choose another --study",
            )
        self._mind_the_claims()
        self._thread = threading.Thread(target=self._beat, name="study-lease", daemon=True)
        self._thread.start()

    def _mind_the_claims(self) -> None:
        """After the lease is written: a worker that claims at this moment looks for the lease after it claimed, so that one of the two sees
        the other. Raises StudyBusy."""
        held = () if self._shared else self._storage.held_groups(self._study.id)
        if held:
            self._storage.swap_lease(self._study.id, self._token, None)
            raise StudyBusy(
                f"is being measured by worker {held[0].worker}",
                setting="study",
                value=repr(self._study.name),
                fix="cancel its submission, wait for it, or choose another --study",
            )

    def check(self) -> None:
        """Raises StudyTaken once a heartbeat has found the study in other hands. Cheap: it asks nobody."""
        if self._taken_by is not None:
            raise StudyTaken(
                f"study {self._study.name!r} was taken over by {self._taken_by}, which heard nothing of this one for too long; what was "
                "measured until then is kept there"
            )

    def fence(self, storage: Storage) -> Storage:
        """The storage for the study's own records: it writes only while this process holds the study, also where no heartbeat has found
        out yet that it does not."""
        return storage.leased(self._study.id, self._token)

    def release(self) -> None:
        """Idempotent. What another process took over stays its own. Where the database is away, the lease is left to go stale; this
        process knows that it does not hold it."""
        if self._thread is None:
            return
        self._stop.set()
        self._thread.join(timeout=HEARTBEAT_S)
        self._thread = None
        try:
            self._storage.swap_lease(self._study.id, self._token, None)
        except StorageFault:
            _left_behind.add(self._token)

    def _write(self, held: str | None) -> bool:
        """Put ours, as of now, in the place of the one with the token `held`; False where the study is in other hands."""
        started = psutil.Process().create_time()
        return self._storage.swap_lease(
            self._study.id, held, Lease(self._study.id, self._token, os.getpid(), socket.gethostname(), started, self._now())
        )

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            with contextlib.suppress(Exception):  # a beat that the database refuses is made up by the next one
                if self._write(self._token):
                    continue
                holder = self._storage.get_lease(self._study.id)
                # Where nobody holds it any more, somebody has run the study to its end, or a backup from before was restored.
                self._taken_by = "a process that has ended" if holder is None else f"process {holder.pid} on {holder.host}"
                return


def is_shared(holder: Lease) -> bool:
    return holder.token.startswith(SHARED)


def is_alive(holder: Lease, now: float) -> bool:
    """Whether the process that holds a lease still runs. `now`: Unix seconds."""
    if holder.host != socket.gethostname():
        return now - holder.heartbeat < STALE_AFTER_S
    if holder.token in _left_behind:
        return False
    with contextlib.suppress(psutil.Error):
        return abs(psutil.Process(holder.pid).create_time() - holder.process_started_at) < 1.0
    return False

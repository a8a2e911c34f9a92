"""Who runs a study: one process at a time. A lease lies in the database; a dead process's lease is taken over.

On one machine a process is known by its id and start time, so that a reused id is no confusion. Of a process on another machine only its
heartbeat is known. Claims of one machine queue for a file lock; two machines that claim in the same instant are told apart by writing,
waiting and reading again, and by their heartbeats: each looks who holds the study before it writes, so one that was taken over (its machine
slept, or could not reach the database) finds out and stops.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import psutil

from tuner.core.errors import BadInput, StudyTaken

HEARTBEAT_S = 10.0
STALE_AFTER_S = 60.0  # of silence, for a process on another machine
_SETTLE_S = 0.05


class AttributeStore(Protocol):
    """Where the lease lies."""

    def attribute(self, name: str) -> Any: ...

    def set_attribute(self, name: str, value: Any) -> None: ...


class Lease:
    """Held from `claim` to `release`; a thread keeps its heartbeat."""

    def __init__(self, store: AttributeStore, key: str, study: str, lock_folder: Path, *, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._key = key
        self._study = study
        self._lock_path = lock_folder / f"{hashlib.sha256(study.encode()).hexdigest()[:16]}.lock"
        self._now = now
        self._token = uuid.uuid4().hex
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._taken_by: dict[str, Any] | None = None

    def claim(self) -> None:
        """Raises BadInput where a living process holds the study."""
        with self._queue():
            holder = self._store.attribute(self._key)
            if holder and self._alive(holder):
                raise BadInput(
                    f"study {self._study!r} is being run by process {holder['pid']} on {holder['host']}; "
                    "wait for it, stop it, or choose another --study"
                )
            self._write()
            time.sleep(_SETTLE_S)
            if self._store.attribute(self._key).get("token") != self._token:
                raise BadInput(f"study {self._study!r} was taken by another process just now; wait for it or choose another --study")
        self._thread = threading.Thread(target=self._beat, name="study-lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raises StudyTaken once a heartbeat has found the study in other hands. Cheap: it asks nobody."""
        if self._taken_by is not None:
            raise StudyTaken(
                f"study {self._study!r} was taken over by process {self._taken_by['pid']} on {self._taken_by['host']}, which heard "
                "nothing of this one for too long; what was measured until then is kept there"
            )

    def release(self) -> None:
        """Idempotent. What another process took over stays its own."""
        if self._thread is None:
            return
        self._stop.set()
        self._thread.join(timeout=HEARTBEAT_S)
        self._thread = None
        holder = self._store.attribute(self._key)
        if holder and holder["token"] == self._token:
            self._store.set_attribute(self._key, None)

    def _alive(self, holder: dict[str, Any]) -> bool:
        if holder["host"] != socket.gethostname():
            return self._now() - float(holder["heartbeat"]) < STALE_AFTER_S
        with contextlib.suppress(psutil.Error):
            return abs(psutil.Process(int(holder["pid"])).create_time() - float(holder["process_started_at"])) < 1.0
        return False

    def _write(self) -> None:
        self._store.set_attribute(
            self._key,
            {
                "token": self._token,
                "pid": os.getpid(),
                "host": socket.gethostname(),
                "process_started_at": psutil.Process().create_time(),
                "heartbeat": self._now(),
            },
        )

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            with contextlib.suppress(Exception):  # a beat that the database refuses is made up by the next one
                holder = self._store.attribute(self._key)
                if holder and holder["token"] != self._token:
                    self._taken_by = holder
                    return
                self._write()

    @contextlib.contextmanager
    def _queue(self) -> Iterator[None]:
        try:
            self._lock_path.parent.mkdir(parents=True, exist_ok=True)
            file = self._lock_path.open("a")
        except OSError as error:
            raise BadInput(f"the cache folder {self._lock_path.parent} cannot be written: {error.strerror}; set TUNER_CACHE") from error
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

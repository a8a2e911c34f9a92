"""A worker's hold on a submission: a thread renews the lease and hears of cancellation; the search asks before every window."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import override

from storage.base import Storage
from storage.queue_records import Submission, SubmissionState
from tuner.core.errors import Interrupted, StudyTaken

BEATS_IN_A_LEASE = 6


class Hold:
    """From `start` to `stop`. `on_beat` is called with every heartbeat, for instance to say that the worker lives.

    A heartbeat that the database does not answer is made up by the next one. Whether the lease ran out meanwhile is for the database to
    say: while it is away nobody else can take the study either.
    """

    def __init__(
        self, storage: Storage, submission: Submission, token: str, lease_s: float, *, on_beat: Callable[[], None] = lambda: None
    ) -> None:
        self._storage = storage
        self._submission = submission
        self._token = token
        self._lease_s = lease_s
        self.on_beat = on_beat
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self.cancelled = False
        self.lost = False
        self.draining = False  # set by whoever wants the worker to stop after this window

    def start(self) -> None:
        self._thread = threading.Thread(target=self._beat_on, name="submission-lease", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Idempotent."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(timeout=self._lease_s)
            self._thread = None

    def may_go_on(self) -> None:
        """Asked before every window; asks nobody. Raises Interrupted and StudyTaken."""
        if self.lost:
            raise StudyTaken(
                f"submission {self._submission.id} was taken over or ended by another worker; what was measured until then is kept there"
            )
        if self.cancelled:
            raise Interrupted("the study was cancelled")
        if self.draining:
            raise Interrupted("the worker was told to stop")

    def beat(self) -> None:
        """One heartbeat. Raises StorageFault."""
        state = self._storage.beat_submission(self._submission.id, self._token, self._lease_s)
        self.lost = self.lost or state is None
        self.cancelled = self.cancelled or state is SubmissionState.CANCELLING

    def _beat_on(self) -> None:
        while not self._ended.wait(self._lease_s / BEATS_IN_A_LEASE):
            with suppress(Exception):  # a beat that fails, whatever of, is made up by the next one
                self.beat()
                self.on_beat()
            if self.lost:
                return


class JoinedHold(Hold):
    """Of a worker that joined: another one renews the submission's lease, this one only looks how it stands."""

    @override
    def beat(self) -> None:
        state = self._storage.get_submission(self._submission.id).state
        self.cancelled = self.cancelled or state in (SubmissionState.CANCELLING, SubmissionState.CANCELLED)
        self.lost = self.lost or state in (SubmissionState.COMPLETE, SubmissionState.FAILED)

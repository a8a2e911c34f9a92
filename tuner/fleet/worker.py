"""A worker: claims what its machine can run, runs it as `tuner search` would, and says how it ended. One study at a time.

Nothing that was measured depends on the worker's life: measurements are stored one by one, and whoever takes the study up next resumes it.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from storage.base import Conflict, Storage, StorageFault
from storage.queue_records import Claim, FleetWorker, Submission, SubmissionState
from tuner.core.errors import BadInput, Interrupted, StorageError, StudyBusy, StudyTaken
from tuner.fleet.hold import Hold
from tuner.fleet.policy import why_nothing_was_measured
from tuner.fleet.requirements import Machine, fits
from tuner.fleet.submission import config_of
from tuner.search.opening import find_study
from tuner.search.running import Outage, planned, run_plan
from tuner.search.spooled import store_what_was_kept
from tuner.trials.progress import Progress
from tuner.trials.spool import default_spool

LEASE_S = 60.0
POLL_S = 5.0
LEFT_ALONE_S = 60.0  # a study that another process runs, before this worker asks for it again

type Say = Callable[[str], None]


@dataclass(frozen=True)
class Place:
    """Where a worker works. `name` is its own among all workers that live."""

    name: str
    host: str
    storage_url: str
    logdir: str
    engine_python: str | None = None
    lease_s: float = LEASE_S
    poll_s: float = POLL_S
    outage: Outage = field(default_factory=Outage)


@dataclass(frozen=True)
class Ending:
    """How a study ended for this worker; `state` None: it is in other hands and there is nothing to say."""

    state: SubmissionState | None
    reason: str | None = None


class Worker:
    """`work` until there is nothing left (`once`), or until `drain` was called."""

    def __init__(self, storage: Storage, machine: Machine, place: Place, say: Say) -> None:
        self._storage = storage
        self._machine = machine
        self._place = place
        self._say = say
        self._stop = threading.Event()
        self._hold: Hold | None = None
        self._left_alone: dict[int, float] = {}  # submission -> until when, monotonic seconds

    def drain(self) -> None:
        """Finish the window that is being measured, give the study back and stop. Safe to call from a signal handler and other threads."""
        self._stop.set()
        if self._hold is not None:
            self._hold.draining = True

    def work(self, *, once: bool = False) -> list[SubmissionState]:
        """How the studies that it ran ended; QUEUED for one that it gave back. `once`: at most one, and none that it has to wait for.

        The database may be away at any time: the worker waits for it.
        """
        ended: list[SubmissionState] = []
        try:
            while not self._stop.is_set():
                state = self._next()
                if state is not None:
                    ended.append(state)
                if once:
                    break
                if state is None:
                    self._stop.wait(self._place.poll_s)
        finally:
            self._forget()
        return ended

    def _next(self) -> SubmissionState | None:
        """Run one study, if there is one."""
        token = uuid.uuid4().hex
        try:
            self._show("idle")
            store_what_was_kept(self._storage, self._place.outage.spool or default_spool(self._place.logdir), self._say)
            submission = self._storage.claim_submission(self._claim(token))
        except StorageFault as error:
            self._say(f"the database is away: {error}")
            return None
        return None if submission is None else self._run(submission, token)

    def _claim(self, token: str) -> Claim:
        now = time.monotonic()
        besides = frozenset(number for number, until in self._left_alone.items() if now < until)
        return Claim(self._place.name, token, self._place.lease_s, lambda needs: fits(needs, self._machine), besides=besides)

    def _run(self, submission: Submission, token: str) -> SubmissionState | None:
        self._say(f"submission {submission.id}: study {submission.study!r}, attempt {submission.attempts}")
        show = lambda: self._show("draining" if self._stop.is_set() else "running", submission.id)  # noqa: E731
        hold = Hold(self._storage, submission, token, self._place.lease_s, on_beat=show)
        self._hold = hold
        if self._stop.is_set():
            hold.draining = True
        hold.start()
        try:
            ending = self._measured(submission, hold)
        except BaseException:  # a second signal, or worse: the study goes back before the worker does
            self._told(submission, token, Ending(SubmissionState.QUEUED, "its worker was stopped"), patient=False)
            raise
        finally:
            hold.stop()
            self._hold = None
        if ending.state is SubmissionState.QUEUED and not self._stop.is_set():
            self._left_alone[submission.id] = time.monotonic() + LEFT_ALONE_S
        return self._told(submission, token, ending, patient=True)

    def _measured(self, submission: Submission, hold: Hold) -> Ending:
        """The whole search. Whatever it raises is how the study ended; only what stops the worker itself passes."""
        place = self._place
        try:
            hold.may_go_on()
            config = config_of(submission, storage=place.storage_url, logdir=place.logdir, engine_python=place.engine_python)
            existing = find_study(self._storage, submission.study)
            with planned(config, self._say, resume=existing is not None) as plan:
                progress = Progress(listener=lambda _progress, line: self._say(line) if line else None)
                outcome = run_plan(plan, progress, may_go_on=hold.may_go_on, outage=place.outage)
        except StudyBusy as error:
            return Ending(SubmissionState.QUEUED, str(error))
        except StudyTaken as error:
            self._say(str(error))
            return Ending(None)
        except Interrupted:
            return Ending(SubmissionState.CANCELLED) if hold.cancelled else Ending(SubmissionState.QUEUED, "its worker was told to stop")
        except (StorageError, StorageFault) as error:
            return Ending(SubmissionState.QUEUED, f"the database was away: {error}")
        except BadInput as error:
            return Ending(SubmissionState.FAILED, str(error))
        except Exception as error:  # noqa: BLE001  # a worker outlives any study
            return Ending(SubmissionState.FAILED, f"internal: {type(error).__name__}: {error}")
        if outcome.completed_trials == 0:
            return self._nothing_measured(outcome.study.id)
        return Ending(SubmissionState.COMPLETE)

    def _nothing_measured(self, study_id: int) -> Ending:
        try:
            failures = [trial.error_class for trial in self._storage.list_trials(study_id)]
        except StorageFault:
            failures = []  # the study has ended all the same
        return Ending(SubmissionState.FAILED, why_nothing_was_measured(failures, self._place.host))

    def _told(self, submission: Submission, token: str, ending: Ending, *, patient: bool) -> SubmissionState | None:
        """Write how it ended; `patient`: as often as it takes, until the database is back or the worker has to stop."""
        if ending.state is None:
            return None
        while True:
            try:
                told = self._storage.release_submission(submission.id, token, ending.state, ending.reason)
            except Conflict as error:
                self._say(str(error))
                return None
            except StorageFault as error:
                self._say(f"the database is away: {error}")
                if not patient or self._stop.wait(self._place.poll_s):
                    return None  # its lease runs out, and another takes it up
                continue
            self._say(f"submission {submission.id}: {told.state}" + (f": {told.reason}" if told.reason else ""))
            return told.state

    def _show(self, state: str, submission_id: int | None = None) -> None:
        """Raises StorageFault."""
        place, machine = self._place, self._machine
        worker = FleetWorker(place.name, place.host, machine.accelerator, machine.chips, dict(machine.versions))
        self._storage.put_worker(replace(worker, state=state, submission_id=submission_id))

    def _forget(self) -> None:
        try:
            self._storage.remove_worker(self._place.name)
        except StorageFault as error:
            self._say(f"the database is away: {error}")

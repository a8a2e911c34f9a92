"""A worker: claims what its machine can run, runs it as `tuner search` would, and says how it ended. One study at a time.

Where a submission wants several workers, those that find nothing else join the one that has it: it leads, they measure parts.

Nothing that was measured depends on the worker's life: measurements are stored one by one, and whoever takes the study up next resumes it.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy.orm  # noqa: F401  # Optuna would import it later, while a heartbeat of another thread finds it half there

from storage.base import Conflict, Storage, StorageFault
from storage.queue_records import Claim, FleetWorker, Submission, SubmissionState
from tuner.core.errors import BadInput, Interrupted, StorageError, StudyBusy, StudyTaken
from tuner.core.spans import span
from tuner.fleet.hold import Hold, JoinedHold
from tuner.fleet.on_ray import OnRay, left_to_others
from tuner.fleet.policy import why_nothing_was_measured
from tuner.fleet.quarantine import held_host, quarantine_drifting
from tuner.fleet.requirements import Machine, fits, is_like
from tuner.fleet.submission import config_of
from tuner.search.opening import find_study
from tuner.search.running import OnFault, can_be_shared, planned, run_plan, run_shared
from tuner.search.sharing import Share
from tuner.search.spooled import store_what_was_kept
from tuner.setup.config import StudyConfig
from tuner.trials.progress import Progress
from tuner.trials.spool import default_spool

LEASE_S = 60.0
POLL_S = 5.0
LEFT_ALONE_S = 60.0  # a study that another process runs, before this worker asks for it again
NEVER_S = 7 * 86_400.0
IDLE_ONES_COME_S = 2 * LEFT_ALONE_S  # after this long nobody is expected any more to join again

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
    on_fault: OnFault = field(default_factory=OnFault)
    on_ray: OnRay | None = None  # the cluster that engines run on


@dataclass(frozen=True)
class Ending:
    """How a study ended for this worker; `state` None: it is in other hands and there is nothing to say."""

    state: SubmissionState | None
    reason: str | None = None
    for_others: bool = False  # this worker cannot run it, another kind can


def _until_now(left: Mapping[int, float]) -> frozenset[int]:
    now = time.monotonic()
    return frozenset(number for number, until in left.items() if now < until)


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
        self._quarantine: int | None = None  # that this host is known to be in
        self._not_joined: dict[int, float] = {}  # likewise; they may be taken up where nobody has them any more

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
        """Run one study, or a part of one that another worker runs, if there is one."""
        token = uuid.uuid4().hex
        try:
            if self._in_quarantine():
                return None
            self._show("idle")
            store_what_was_kept(self._storage, self._place.on_fault.spool or default_spool(self._place.logdir), self._say)
            claim = self._claim(token)
            submission = self._storage.claim_submission(claim)
            joined = None if submission is not None else self._storage.join_submission(self._joining(claim))
        except StorageFault as error:
            self._say(f"the database is away: {error}")
            return None
        except BadInput as error:  # of the Ray cluster
            self._say(str(error))
            return None
        if submission is None and joined is None:
            return None
        try:
            return self._help(joined, token) if joined is not None else self._run(submission, token) if submission is not None else None
        finally:
            self._look_at_hosts()

    def _in_quarantine(self) -> bool:
        """Whether this host claims nothing just now; said once. Raises StorageFault."""
        held = held_host(self._storage, self._place.host)
        if held is not None:
            self._show("draining")
            if held.id != self._quarantine:
                self._say(f"{held.host} is in quarantine: {held.reason}; it claims nothing until `tuner queue release {held.host}`")
        self._quarantine = None if held is None else held.id
        return held is not None

    def _look_at_hosts(self) -> None:
        """After new results: whether a host measures something else than its peers."""
        with suppress(StorageFault):
            for item in quarantine_drifting(self._storage, self._place.name):
                self._say(f"{item.host} is put into quarantine: {item.reason}")

    def _claim(self, token: str, only: int | None = None) -> Claim:
        """`only`: of a study of which this worker has an engine already. Raises BadInput where the Ray cluster does not answer."""
        has_room = (lambda _needs: True) if self._place.on_ray is None or only is not None else self._place.on_ray.room()
        besides = _until_now(self._left_alone)
        fitting = lambda needs: fits(needs, self._machine) and has_room(needs)  # noqa: E731
        return Claim(self._place.name, token, self._place.lease_s, fitting, besides=besides, only=only)

    def _joining(self, claim: Claim) -> Claim:
        """Only with a machine like that of the worker that leads: what the two measure stands side by side."""
        return replace(claim, besides=claim.besides | _until_now(self._not_joined), like=lambda worker: is_like(self._machine, worker))

    def _run(self, submission: Submission, token: str) -> SubmissionState | None:
        self._say(f"submission {submission.id}: study {submission.study!r}, attempt {submission.attempts}")
        hold = Hold(self._storage, submission, token, self._place.lease_s)
        share = self._share(token, hold, submission, leads=True)
        with self._holding(hold, submission, share):
            try:
                ending = self._measured(submission, hold, share)
            except BaseException:  # a second signal, or worse: the study goes back before the worker does
                self._told(submission, token, Ending(SubmissionState.QUEUED, "its worker was stopped"), patient=False)
                raise
        if ending.state is SubmissionState.QUEUED and not self._stop.is_set():
            self._left_alone[submission.id] = time.monotonic() + (NEVER_S if ending.for_others else LEFT_ALONE_S)
        return self._told(submission, token, ending, patient=True)

    def _share(self, token: str, hold: Hold, submission: Submission, **of_its_part: Any) -> Share:
        place = self._place

        def elsewhere(waited_s: float) -> bool:
            seen = [item for item in self._storage.list_workers(seen_within_s=place.lease_s) if item.host != place.host]
            working = any(item.submission_id == submission.id and item.state == "running" for item in seen)
            return working or (waited_s < IDLE_ONES_COME_S and any(item.state == "idle" and is_like(self._machine, item) for item in seen))

        return Share(place.name, token, place.lease_s, may_go_on=hold.may_go_on, host=place.host, elsewhere=elsewhere, **of_its_part)

    @contextmanager
    def _holding(self, hold: Hold, submission: Submission, share: Share) -> Iterator[None]:
        def show() -> None:
            self._show("draining" if self._stop.is_set() else "running", submission.id)
            share.beat()
            if held_host(self._storage, self._place.host) is not None:
                hold.draining = True

        hold.on_beat = show
        with suppress(StorageFault):
            show()
        self._hold = hold
        if self._stop.is_set():
            hold.draining = True
        hold.start()
        try:
            with span("submission", submission_id=submission.id, study=submission.study, attempt=submission.attempts, leads=share.leads):
                yield
        finally:
            hold.stop()
            self._hold = None

    def _help(self, submission: Submission, token: str) -> SubmissionState | None:
        """Work on a study that another worker leads; where nobody does any more, lead it."""
        self._say(f"submission {submission.id}: works on study {submission.study!r} with {submission.claimed_by}")
        lead: list[Submission] = []
        hold = JoinedHold(self._storage, submission, token, self._place.lease_s)

        def lead_is_free() -> bool:
            lead.extend(filter(None, [self._storage.claim_submission(self._claim(token, only=submission.id))]))
            return bool(lead)

        share = self._share(token, hold, submission, leads=False, lead_is_free=lead_is_free)
        with self._holding(hold, submission, share):
            alone_s, said = self._part(submission, hold, share)
        if lead:
            return self._run(lead[0], token)
        self._say(f"submission {submission.id}: {said}")
        self._not_joined[submission.id] = time.monotonic() + alone_s
        return None

    def _part(self, submission: Submission, hold: Hold, share: Share) -> tuple[float, str]:
        """(for how many seconds this worker does not join again, why it left)."""
        try:
            hold.may_go_on()
            config = self._config(submission)
            if (reason := left_to_others(config, None, self._place.on_ray)) is not None:
                return NEVER_S, f"cannot work on it: {reason}"
            with planned(config, self._say, resume=True) as plan:
                run_shared(plan, Progress(listener=self._listen), share, self._place.on_fault)
        except StudyBusy as error:
            return self._place.poll_s, f"cannot be joined yet: {error}"
        except (StudyTaken, Interrupted, StorageError, StorageFault) as error:
            return LEFT_ALONE_S, f"left: {error}"
        except BadInput as error:  # of this machine or this version; whoever leads goes on
            return NEVER_S, f"cannot work on it: {error}"
        except Exception as error:  # noqa: BLE001  # a worker outlives any study
            return NEVER_S, f"left: internal: {type(error).__name__}: {error}"
        return LEFT_ALONE_S, "nothing is left for this worker"

    def _listen(self, _progress: Progress, line: str) -> None:
        if line:
            self._say(line)

    def _config(self, submission: Submission) -> StudyConfig:
        """Raises BadInput and DamagedRecord."""
        place = self._place
        own = (lambda _given: {}) if place.on_ray is None else place.on_ray.settings
        return config_of(submission, storage=place.storage_url, logdir=place.logdir, engine_python=place.engine_python, of_the_place=own)

    def _measured(self, submission: Submission, hold: Hold, share: Share) -> Ending:
        """The whole search. Whatever it raises is how the study ended; only what stops the worker itself passes."""
        try:
            hold.may_go_on()
            existing, config = find_study(self._storage, submission.study), self._config(submission)
            if (reason := left_to_others(config, existing, self._place.on_ray)) is not None:
                return Ending(SubmissionState.QUEUED, reason, for_others=True)
            with planned(config, self._say, resume=existing is not None) as plan:
                progress = Progress(listener=self._listen)
                shared = run_shared(plan, progress, share, self._place.on_fault) if submission.workers > 1 and can_be_shared(plan) else None
                outcome = shared or run_plan(plan, progress, may_go_on=hold.may_go_on, on_fault=self._place.on_fault)
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

"""Webhooks of submissions and of hosts in quarantine, sent by the services of a database from this one place: each change is told by
exactly one of them.

Who takes a change and dies before it has told of it tells nobody: at most once, where the receiver's answer cannot be known.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import structlog

from storage.base import Storage, StorageFault
from storage.queue_records import ENDED, Quarantine, Submission, SubmissionEvent, SubmissionState
from storage.records import Json
from tuner.fleet.webhook import AllowedHosts, Delivery, deliver

LOOK_S = 5.0
STALE_S = 600.0  # a worker that was not heard of for so long, and that nobody has followed
FORGET_S = 24 * 3600.0  # nobody waits for what is older
_MOST = 1000
_NAMES = {SubmissionState.COMPLETE: "finished", SubmissionState.FAILED: "failed", SubmissionState.CANCELLED: "cancelled"}
log = structlog.get_logger("tuner.service")


class Notifier:
    """`send` posts one event: (address, event) -> what became of it. `host_webhook`: the address that is told of hosts."""

    def __init__(self, storage: Storage, send: Callable[[str, Json], Delivery], host_webhook: str | None = None) -> None:
        self._storage = storage
        self._send = send
        self._host_webhook = host_webhook
        self._after = 0
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    @classmethod
    def to(cls, storage: Storage, hosts: AllowedHosts, secret: str | None, host_webhook: str | None = None) -> Notifier:
        return cls(storage, lambda url, event: deliver(url, event, hosts=hosts, secret=secret), host_webhook)

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """A delivery that is under way is not waited for."""
        self._ending.set()

    def _run(self) -> None:
        while not self._ending.wait(LOOK_S):
            try:
                self.look()
            except StorageFault as error:
                log.warning("webhooks_without_a_database", reason=str(error))
            except Exception:
                log.exception("webhooks")

    def look(self) -> int:
        """Tells what has happened since the last look; how many receivers were told. Raises StorageFault."""
        told = 0
        now = self._storage.database_now()
        while events := self._storage.list_events(after=self._after, limit=_MOST):
            for event in events:
                if event.what in ENDED and now - event.at < FORGET_S:
                    told += self._tell(self._storage.get_submission(event.submission_id), event, _NAMES[event.what])
                self._after = event.id
        return told + self._stale(now) + self._hosts(now)

    def _stale(self, now: float) -> int:
        """Running ones whose worker is silent; told once for each time that it began to run."""
        told = 0
        for item in self._storage.list_submissions(states=frozenset({SubmissionState.RUNNING}), limit=_MOST):
            if item.webhook is not None and item.heartbeat_at is not None and now - item.heartbeat_at >= STALE_S:
                events = self._storage.list_events(submission_id=item.id)
                begun = next((event for event in reversed(events) if event.what is SubmissionState.RUNNING), None)
                told += 0 if begun is None else self._tell(item, begun, "stale")
        return told

    def _tell(self, item: Submission, event: SubmissionEvent, name: str) -> bool:
        if item.webhook is None or not self._storage.take_notification(item.id, event.id):
            return False
        return self._post(item.webhook, message(item, event, name), submission=item.id)

    def _hosts(self, now: float) -> int:
        """Those that went into quarantine, and those that were released."""
        told = 0
        if self._host_webhook is None:
            return told
        for item in reversed(self._storage.list_quarantines(released=True, limit=_MOST)):
            for name, at, by, reason in host_events(item):
                if now - at < FORGET_S and self._storage.take_quarantine_notice(item.id, name):
                    event = {"event": f"host_{name}", "host": item.host, "by": by, "reason": reason, "at": at}
                    told += self._post(self._host_webhook, {**event, "quarantine": item.id}, host=item.host)
        return told

    def _post(self, url: str, event: Json, **what: Any) -> bool:
        done = self._send(url, event)
        say = log.info if done.delivered else log.warning
        said = {"delivered": done.delivered, "attempts": done.attempts, "status": done.status, "reason": done.reason}
        say("webhook", what=event["event"], **what, **said)
        return done.delivered


def host_events(item: Quarantine) -> Iterator[tuple[str, float, str, str]]:
    """(event, moment, who, why) of each."""
    yield "quarantined", item.since, item.by, item.reason
    if item.released_at is not None:
        yield "released", item.released_at, item.released_by or "", item.release_reason or ""


def message(item: Submission, event: SubmissionEvent, name: str) -> dict[str, Any]:
    return {
        "event": name,
        "event_id": event.id,
        "submission": item.id,
        "study": item.study,
        "state": item.state.value,
        "submitted_by": item.submitted_by,
        "reason": item.reason,
        "at": event.at,
    }

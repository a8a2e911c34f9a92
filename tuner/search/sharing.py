"""One worker's part in a study that several work on: its claims, and the fence that keeps what it writes inside them.

What is divided is the *batch*: configurations of one engine that share their rounds, so that all pairs of a cell come from one engine on
one host. Its key names the engine and its first round. Who measures a batch holds its claim, and every write of the measurement holds only
while the claim does (storage.sharing_contract.SharingStorage.fenced): a worker that was silent for longer than its lease, and whose batch
another one took up, writes nothing more. Two more keys are locks: ASKING of whoever chooses what is measured next, CONCLUDING of whoever
ends the study.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from storage.base import Storage, StorageFault
from storage.queue_records import Fence, GroupClaim
from tuner.core.errors import StudyTaken
from tuner.core.factors import factors_of
from tuner.search.lease import is_alive, is_shared
from tuner.setup.space import EngineKey

ASKING = "asking"
CONCLUDING = "concluding"
ANSWERING = "answering"  # of whoever stores what the answers of engines are compared with
MOST_DEATHS = 5  # workers that died while they measured one batch, before it is given up
_FIRST_WAIT_S, _LONGEST_WAIT_S, _LONGEST_PAUSE_S = 0.01, 0.25, 2.0

type Key = tuple[EngineKey, int]
"""Of a batch: its engine and its first round."""


def key_text(key: Key) -> str:
    """Canonical JSON."""
    (block_size, factors), first_round = key
    named = {"block_size": block_size, "factors": dict(factors), "first_round": first_round}
    return json.dumps(named, sort_keys=True, separators=(",", ":"))


def key_of(text: str) -> Key | None:
    """None for a lock's."""
    if not text.startswith("{"):
        return None
    named = json.loads(text)
    return (int(named["block_size"]), factors_of(named["factors"])), int(named["first_round"])


class Share:
    """From `begin` to `give_back`. `leads`: it holds the submission, and ends the study. `may_go_on` raises where the worker has to stop;
    `lead_is_free` says whether nobody leads any more and this one now does, `elsewhere` whether a worker on another host than `host` works
    on the study, or is free to join it and was not waited for in vain yet."""

    def __init__(
        self,
        worker: str,
        token: str,
        lease_s: float,
        *,
        leads: bool,
        may_go_on: Callable[[], None],
        lead_is_free: Callable[[], bool] = lambda: False,
        host: str = "",
        elsewhere: Callable[[float], bool] = lambda _waited_s: False,
    ) -> None:
        self.leads = leads
        self.may_go_on = may_go_on
        self.lead_is_free = lead_is_free
        self.host = host
        self.elsewhere = elsewhere
        self.token = token
        self._worker = worker
        self._lease_s = lease_s
        self._storage: Storage | None = None
        self._study_id = 0
        self._fence: Fence | None = None
        self._held: set[str] = set()

    def fenced(self, storage: Storage) -> Storage:
        """Whose writes hold only within what this worker measures just then."""
        return storage.fenced(self.fence)

    def fence(self) -> Fence | None:
        """The claim under which it measures just now."""
        return self._fence

    def begin(self, storage: Storage, study_id: int) -> None:
        """`storage`: not the fenced one."""
        self._storage, self._study_id = storage, study_id

    def beat(self) -> None:
        """Renew what is held. Safe to call from another thread. Raises StorageFault."""
        if self._storage is not None and self._held:
            self._storage.beat_groups(self._study_id, self.token, self._lease_s)

    def claim(self, key: str) -> bool:
        storage = self._storage
        assert storage is not None
        if not storage.claim_group(self._study_id, key, worker=self._worker, token=self.token, lease_s=self._lease_s):
            return False
        self._held.add(key)
        return True

    def end(self, key: str) -> None:
        """Give it back: what it was for is done, or is left to others. What was taken over stays theirs."""
        assert self._storage is not None
        self._held.discard(key)
        self._storage.end_group(self._study_id, key, self.token, done=False)

    def give_back(self) -> None:
        """All that is held. Where the database is away the claims are left to run out."""
        for key in sorted(self._held):
            with suppress(StorageFault):
                self.end(key)

    def others(self) -> list[GroupClaim]:
        """Claims that other workers hold."""
        assert self._storage is not None
        return [claim for claim in self._storage.held_groups(self._study_id) if claim.group_key not in self._held]

    def check_alone(self) -> None:
        """Raises StudyTaken where a process holds the study alone that began at the moment at which this worker claimed something."""
        assert self._storage is not None
        lease = self._storage.get_lease(self._study_id)
        if lease is not None and not is_shared(lease) and is_alive(lease, self.now()):
            raise StudyTaken(f"the study is being run by process {lease.pid} on {lease.host} alone")

    def deaths(self, key: str) -> int:
        """Of workers that held this claim without a pause in between and did not give it back, this one not counted."""
        assert self._storage is not None
        found = [claim.attempts for claim in self._storage.list_groups(self._study_id) if claim.group_key == key]
        return found[0] - 1 if found else 0

    def now(self) -> float:
        """Unix seconds by the database's clock."""
        assert self._storage is not None
        return self._storage.database_now()

    @contextmanager
    def within(self, key: str) -> Iterator[None]:
        """What is written inside holds only while this claim, which is held, is this worker's."""
        before, self._fence = self._fence, Fence(self._study_id, key, self.token)
        try:
            yield
        finally:
            self._fence = before

    @contextmanager
    def locked(self, key: str) -> Iterator[None]:
        """Nobody else is inside. Raises what `may_go_on` raises while it waits."""
        wait_s = _FIRST_WAIT_S
        while not self.claim(key):
            self.may_go_on()
            time.sleep(wait_s * random.uniform(0.5, 1.5))  # noqa: S311  # so that those who wait do not ask in step
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
        try:
            yield
        finally:
            self.end(key)

    def pause(self, nth: int) -> None:
        """Before it is looked again for something to do, for the n-th time in a row, from 0. Raises what `may_go_on` raises."""
        self.may_go_on()
        time.sleep(min(_LONGEST_WAIT_S * 2.0 ** min(nth, 10), _LONGEST_PAUSE_S))
        self.may_go_on()

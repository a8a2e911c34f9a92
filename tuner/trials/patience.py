"""How long a run waits for a database that is away: what has to be stored before it can go on, and nothing else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from storage.base import StorageUnavailable

PATIENCE_S = 600.0
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 10.0


class Patience:
    """See storage.base.Patience. Only the thread that made it waits; a heartbeat that fails is made up by the next one.

    `limit_s`: of one absence. Once it is over, or the run was told to stop, nothing waits any more until the database has answered.
    """

    def __init__(
        self, limit_s: float, *, may_go_on: Callable[[], None] = lambda: None, say: Callable[[str], None] = lambda _line: None
    ) -> None:
        """`may_go_on` is asked before each pause and stops the run by raising."""
        self._limit_s = limit_s
        self._may_go_on = may_go_on
        self._say = say
        self._thread = threading.get_ident()
        self._since: float | None = None  # monotonic seconds
        self._pause_s = FIRST_PAUSE_S
        self._over = False

    def again(self, error: StorageUnavailable) -> bool:
        if self._over or threading.get_ident() != self._thread:
            return False
        now = time.monotonic()
        if self._since is None:
            self._since = now
        left_s = self._since + self._limit_s - now
        self._over = True  # unless the pause comes to its end
        if left_s <= 0:
            return False
        if self._pause_s == FIRST_PAUSE_S:
            self._say(f"waiting for the database: {error.reason}")
        self._may_go_on()
        time.sleep(min(self._pause_s, left_s))
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        self._over = False
        return True

    def answered(self) -> None:
        if self._since is None and not self._over:
            return
        if threading.get_ident() == self._thread:
            self._since, self._pause_s, self._over = None, FIRST_PAUSE_S, False

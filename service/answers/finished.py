"""Keeps what was read or computed about studies whose search is not running: it stays valid until the study changes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

from storage.records import Study, StudyState


class FinishedStudies[T]:
    """Holds the `most` last used studies, each with the state it was in when its data were read. Safe to use from several threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[tuple[int, float], T] = OrderedDict()
        self._lock = Lock()

    def get(self, study: Study, make: Callable[[], T]) -> T:
        """The result of `make`: a kept one where the study is in the same state as then; a new one always while its search runs."""
        if study.state is StudyState.RUNNING:
            return make()
        key = (study.id, study.updated_at)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = make()
        with self._lock:
            self._kept[key] = made
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return made

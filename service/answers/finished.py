"""What is read or computed about a study whose search does not run: it cannot change until the study does, so it is kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

from storage.records import Study, StudyState


class FinishedStudies[T]:
    """The last `most` of them, each for the state that its study was in. Safe to use from several threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[tuple[int, float], T] = OrderedDict()
        self._lock = Lock()

    def get(self, study: Study, make: Callable[[], T]) -> T:
        """What `make` gives: out of memory where it gave it before for this state, always anew while the search runs."""
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

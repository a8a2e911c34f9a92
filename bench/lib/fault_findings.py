"""What a fault campaign found: faults by name, and what must not follow from one."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields

import psutil

from storage.base import Storage
from storage.records import Measurement, Stage, Study, TrialState
from tests.tuner.fake_engine import value_of
from tests.tuner.workbench import configuration_of
from tuner.core.errors import FailureClass
from tuner.setup.space import Configuration

ORPHAN_S = 10.0
MOST_STUDIES = 100_000
NEARLY = 0.98  # where its rival in the other arm failed, a configuration that is 1 % better is no safe choice for the tuner's rules
OURS = frozenset({FailureClass.INTERNAL.value})  # a class that says: a fault of the tuner


@dataclass
class Found:
    """`second`: studies whose best configuration failed, so that the best of the others is the right answer. `waiting`: windows kept on a
    machine that did not come back, which nobody measured again because their trial ended with fewer. What follows must be 0."""

    faults: Counter[str] = field(default_factory=Counter)
    studies: int = 0
    windows: int = 0
    second: int = 0
    waiting: int = 0
    lost: int = 0
    twice: int = 0
    orphans: int = 0
    wrong: int = 0
    unclassified: int = 0
    not_complete: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return not any(count for _, count in self.bad())

    def bad(self) -> Sequence[tuple[str, int]]:
        return (
            ("finished windows lost", self.lost),
            ("windows or configurations that are there twice", self.twice),
            (f"processes alive {ORPHAN_S:g} s after whom they belonged to", self.orphans),
            ("recommendations that are not the right answer", self.wrong),
            ("failures without a class, or of the class internal", self.unclassified),
            ("studies not COMPLETE", self.not_complete),
        )

    def add(self, other: Found) -> None:
        for item in fields(self):
            setattr(self, item.name, getattr(self, item.name) + getattr(other, item.name))

    def lines(self) -> list[str]:
        said = ", ".join(f"{count} {name}" for name, count in sorted(self.faults.items()))
        head = f"{self.faults.total()} faults ({said}); {self.studies} studies, {self.windows} windows"
        second = f"; in {self.second} the best configuration failed" if self.second else ""
        second += f"; {self.waiting} windows wait in the spools of machines that did not come back" if self.waiting else ""
        return [head + second, *(f"  {what:56} {count}" for what, count in self.bad()), *self.notes]


class Kept:
    """Windows that were stored before a fault: none of them may change or go."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._windows: dict[int, Measurement] = {}

    def look(self) -> None:
        self._windows |= {item.id: item for item in _measured(self._storage)}

    def begin_anew(self) -> None:
        """After a backup was put in the database's place: what it does not hold is lost by whoever restored it."""
        self._windows = {}
        self.look()

    def lost(self) -> int:
        there = {item.id: item for item in _measured(self._storage)}
        return sum(there.get(number) != item for number, item in self._windows.items())


def _measured(storage: Storage) -> Iterable[Measurement]:
    for study in storage.list_studies(limit=MOST_STUDIES):
        yield from storage.list_measurements(study_id=study.id)


def judge(found: Found, storage: Storage) -> None:
    """Of all studies of the database, which have ended."""
    for study in storage.list_studies(limit=MOST_STUDIES):
        windows = storage.list_measurements(study_id=study.id)
        valid = [(item.trial_id, item.round) for item in windows if item.valid]
        found.windows += len(windows)
        found.twice += len(valid) - len(set(valid))
        trials = storage.list_trials(study.id)
        search = [trial for trial in trials if trial.stage is Stage.SEARCH and trial.state is not TrialState.FAIL]
        found.twice += len(search) - len({configuration_of(trial) for trial in search})
        bad = [
            item
            for item in trials
            if item.state is TrialState.FAIL and (item.error_class not in list(FailureClass) or item.error_class in OURS)
        ]
        found.unclassified += len(bad)
        found.notes += sorted({f"study {study.name}: {trial.error_class}: {trial.error_message}" for trial in bad})
        _judge_answer(found, storage, study)


def _judge_answer(found: Found, storage: Storage, study: Study) -> None:
    """Right is the best configuration of those that could be measured, by what the fake engine makes of each, and what is nearly
    as good."""
    trials = storage.list_trials(study.id)
    measured = {configuration_of(trial) for trial in trials if trial.state is TrialState.COMPLETE and trial.stage is Stage.SEARCH}
    refused = {configuration_of(trial) for trial in trials if trial.state is TrialState.FAIL and trial.stage is Stage.CONFIRM}
    tried = {configuration_of(trial) for trial in trials}
    newest = next(iter(storage.list_recommendations(study_id=study.id, limit=1)), None)
    if newest is None or not measured - refused:
        found.wrong += newest is not None and newest.body.get("settings") is not None
        return
    right = max(measured - refused, key=value_of)
    found.second += right != max(tried, key=value_of)
    settings = newest.body.get("settings")
    if settings is None:
        return  # it says that it is undecided
    told = Configuration(settings["block_size"], settings["max_num_batched_tokens"], settings["arm"])
    if told not in measured or value_of(told) < NEARLY * value_of(right):
        found.wrong += 1
        failed = [f"{trial.stage} {configuration_of(trial)}: {trial.error_class}" for trial in trials if trial.state is TrialState.FAIL]
        found.notes.append(f"study {study.name}: {told} is recommended, not {right}; failed: {'; '.join(failed) or 'nothing'}")


def alive(pid: int, is_it: Callable[[psutil.Process], bool]) -> psutil.Process | None:
    """None where there is none any more, or another process has its number."""
    try:
        process = psutil.Process(pid)
        return process if process.status() != psutil.STATUS_ZOMBIE and is_it(process) else None
    except psutil.NoSuchProcess:
        return None


def orphans(look: Callable[[], Sequence[psutil.Process]]) -> int:
    """How many are left after ORPHAN_S; they are ended."""
    deadline = time.monotonic() + ORPHAN_S
    while (left := look()) and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in left:
        process.kill()
    return len(left)

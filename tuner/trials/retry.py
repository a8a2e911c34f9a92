"""Whether what failed is tried again, by the class of its failure; and what each attempt of a trial came to. Pure.

A failure that another attempt can hardly change (out of memory, a compiler's refusal, invalid settings, wrong answers) is final at once.
Attempts that failed stand in the trial's notes, and nowhere else: a trial that succeeded later keeps them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

from tuner.core.errors import FailureClass

ATTEMPTS = "attempts"  # in a trial's notes: those that failed, oldest first
RETRIES = 3  # of one trial at most, whatever they were for
FIRST_WAIT_S = 10.0
_LONGEST_MESSAGE = 300


class Where(StrEnum):
    """On which host the next attempt is made; with `FIRST`, on this one where no other works on the study."""

    NEVER = "no"
    HERE = "with a fresh engine"
    ANOTHER_FIRST = "with a fresh engine, on another host if one works on the study"
    ANOTHER_ONLY = "only on another host that works on the study"


@dataclass(frozen=True)
class Rule:
    """`times`: for this class, of one trial. `waits`: what was in use may be free a little later."""

    where: Where
    times: int = 0
    waits: bool = False

    def __str__(self) -> str:
        often = {0: "no", 1: "once"}.get(self.times, f"{self.times} times")
        return often + (f", {self.where}" if self.times else "") + (", after a wait" if self.waits else "")


_NEVER = Rule(Where.NEVER)
RULES: Mapping[FailureClass, Rule] = {
    FailureClass.OUT_OF_MEMORY: _NEVER,
    FailureClass.TIMEOUT: Rule(Where.HERE, 1),
    FailureClass.ENGINE_CRASH: Rule(Where.ANOTHER_FIRST, 1),
    FailureClass.STARTUP: Rule(Where.ANOTHER_FIRST, 1),
    FailureClass.INVALID_CONFIG: _NEVER,
    FailureClass.REQUEST_FAILED: _NEVER,
    FailureClass.INVALID_MEASUREMENT: _NEVER,
    FailureClass.WRONG_OUTPUT: _NEVER,
    FailureClass.NO_SPACE: Rule(Where.ANOTHER_ONLY, 1),
    FailureClass.INTERNAL: _NEVER,
    FailureClass.COMPILE_ERROR: _NEVER,
    FailureClass.IN_USE: Rule(Where.HERE, 3, waits=True),
}


class Next(StrEnum):
    GIVE_UP = "given up"
    HERE = "tried again with a fresh engine"
    ELSEWHERE = "left to another host"


@dataclass(frozen=True)
class Attempt:
    """One that failed. `number`: from 1. `engine_start`: of the study. `at`: Unix seconds. `then`: a word of Next."""

    number: int
    error_class: str
    message: str
    host: str
    engine_start: int
    at: float
    then: str

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "message": self.message[:_LONGEST_MESSAGE]}


_FIELDS = frozenset(item.name for item in fields(Attempt))


def attempts_of(notes: Mapping[str, Any]) -> list[Attempt]:
    """Of a trial's notes; entries that another version wrote in another form are left out."""
    kept = notes.get(ATTEMPTS)
    whole = [item for item in (kept if isinstance(kept, list) else ()) if isinstance(item, dict) and item.keys() >= _FIELDS]
    return [Attempt(**{name: item[name] for name in _FIELDS}) for item in whole]


def next_step(failure: FailureClass, earlier: Sequence[Attempt], *, most: int, elsewhere: bool) -> Next:
    """After an attempt that failed with this class. `earlier`: those before it. `most`: attempts after the first that a trial may have.
    `elsewhere`: another host works on the study and may take the trial up."""
    rule = RULES[failure]
    if len(earlier) >= most or sum(item.error_class == failure for item in earlier) >= rule.times:
        return Next.GIVE_UP
    if elsewhere and rule.where in (Where.ANOTHER_FIRST, Where.ANOTHER_ONLY):
        return Next.ELSEWHERE
    return Next.GIVE_UP if rule.where is Where.ANOTHER_ONLY else Next.HERE


def wait_before(failure: FailureClass, earlier: Sequence[Attempt], first_s: float) -> float:
    """Seconds before the next attempt: doubled with each that was for the same."""
    if not RULES[failure].waits:
        return 0.0
    return first_s * 2.0 ** sum(item.error_class == failure for item in earlier)


def is_left_by(notes: Mapping[str, Any], host: str) -> bool:
    """Whether this host left the trial to another one, which has not tried it yet."""
    last = attempts_of(notes)[-1:]
    return any(item.then == Next.ELSEWHERE and item.host == host for item in last)


def attempts_words(notes: Mapping[str, Any]) -> str:
    """ "2 attempts failed: startup on tpu-1, engine_crash on tpu-2"; "" where nothing was tried again."""
    found = attempts_of(notes)
    if not found:
        return ""
    each = ", ".join(f"{item.error_class} on {item.host}" for item in found)
    return f"{len(found)} {'attempt' if len(found) == 1 else 'attempts'} failed: {each}"

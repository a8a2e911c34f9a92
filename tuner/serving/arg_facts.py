"""What is known of an engine argument of vLLM, and which levels it refuses. Pure; tuner.serving.engine_arg_facts reads it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tuner.core.factors import UNSET, Level, level_text
from tuner.core.spelling import closest

PLAIN: Mapping[str, tuple[type, ...]] = {"int": (int,), "float": (float, int), "bool": (bool,), "str": (str,)}
_IN_WORDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a word"}
BOUNDS: Mapping[str, tuple[Callable[[Any, Any], bool], str]] = {
    "ge": (operator.ge, "at least"),
    "gt": (operator.gt, "above"),
    "le": (operator.le, "at most"),
    "lt": (operator.lt, "below"),
}


@dataclass(frozen=True)
class ArgFacts:
    """`default`: UNSET where vLLM decides later (None in its source); None where it cannot be read. `types`: names of plain types that it
    takes, `words`: the words; both empty where anything may be taken. `bounds`: name of BOUNDS -> number."""

    default: Level | None = None
    types: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    bounds: Mapping[str, float] = field(default_factory=dict)

    def refuses(self, level: Level) -> str | None:
        """Why vLLM does not take it, and what it takes; None where it may."""
        if level == UNSET or not (self.types or self.words):
            return None
        if level in self.words and isinstance(level, str):
            return None
        if not any(type(level) in PLAIN[name] for name in self.types):
            wanted = [*(_IN_WORDS[name] for name in self.types), *self.words]
            close = closest(str(level), self.words) if self.words else None
            return f"{level_text(level)} is not {'one of ' if self.words else ''}{', '.join(wanted)}" + (
                f"; did you mean {close}?" if close else ""
            )
        for name, limit in self.bounds.items():
            holds, words = BOUNDS[name]
            if isinstance(level, int | float) and not isinstance(level, bool) and not holds(level, limit):
                return f"{level_text(level)} is not {words} {limit:g}"
        return None

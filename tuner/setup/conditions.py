"""Conditions of factors: a factor that counts only where others have certain levels, `when page_size <= 64 and arm == page_aligned`. Pure.

Grammar, all of it:

    condition   = term { "and" term }
    term        = NAME ( "<=" | ">=" | "<" | ">" | "==" | "!=" ) VALUE
                | NAME "in" VALUE { "," VALUE }          (in brackets, where one likes)
    VALUE       = a number, a word, true, false, or text in quotes

NAME is page_size, chunk_budget, page_alignment (or how vLLM calls them) or another factor. Where the condition does not hold the factor is
*inactive*: it has vLLM's own level, and there is one configuration instead of one for each level.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tuner.core.contrast import ARM, CHUNK_BUDGET, PAGE_SIZE, compared_name
from tuner.core.errors import BadInput
from tuner.core.factors import Level, level_text, shortened
from tuner.core.spelling import did_you_mean
from tuner.core.yaml_file import parse_yaml

WHEN = "when"
_SPLIT = re.compile(r"\s+when\s+")
_AND = re.compile(r"\s+and\s+")
_TERM = re.compile(r"(?P<name>[A-Za-z_][\w.:-]*)\s*(?:(?P<operator><=|>=|==|!=|<|>)|\s(?P<among>in)\b)\s*(?P<value>\S.*)")
_VALUE = re.compile(r"""[\w.+-]+|'[^']*'|"[^"]*\"""")
_ORDERS: Mapping[str, Callable[[Any, Any], bool]] = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt}
_SAID = {PAGE_SIZE: "page_size", CHUNK_BUDGET: "chunk_budget", ARM: "page_alignment"}
MOST_CHARACTERS = 500


@dataclass(frozen=True)
class Term:
    """`operator`: one of the grammar's; `values` has one value but for `in`."""

    name: str
    operator: str
    values: tuple[Level, ...]

    def holds(self, level: Level) -> bool:
        if self.operator in _ORDERS:
            limit = self.values[0]
            return _is_number(level) and _ORDERS[self.operator](level, limit)
        among = any(_same(level, value) for value in self.values)
        return not among if self.operator == "!=" else among

    def __str__(self) -> str:
        values = ", ".join(map(_written, self.values))
        return f"{said_name(self.name)} {self.operator} {f'({values})' if self.operator == 'in' else values}"


@dataclass(frozen=True)
class Condition:
    """All of the terms."""

    terms: tuple[Term, ...]

    @property
    def names(self) -> frozenset[str]:
        return frozenset(term.name for term in self.terms)

    def holds(self, levels: Mapping[str, Level]) -> bool:
        return all(term.holds(levels[term.name]) for term in self.terms)

    def __str__(self) -> str:
        return " and ".join(map(str, self.terms))


@dataclass(frozen=True)
class Conditions:
    """Of the factors that have one: name -> condition, in an order in which each looks only at factors before it. `inactive`: name -> level
    where it does not hold."""

    of: Mapping[str, Condition] = field(default_factory=dict)
    inactive: Mapping[str, Level] = field(default_factory=dict)

    def canonical(self, levels: Mapping[str, Level]) -> dict[str, Level]:
        """The same in effect, in the one spelling that is measured: inactive factors at vLLM's own level."""
        found = dict(levels)
        for name, condition in self.of.items():
            if not condition.holds(found):
                found[name] = self.inactive[name]
        return found

    def allows(self, levels: Mapping[str, Level], named: Mapping[str, Sequence[Level]]) -> bool:
        """Whether these levels of everything are a configuration: active factors have a level that was `named`, others vLLM's own."""
        return all(
            levels[name] in named[name] if condition.holds(levels) else levels[name] == self.inactive[name]
            for name, condition in self.of.items()
        )


def said_name(name: str) -> str:
    """As people write it."""
    return _SAID.get(name, name)


def split_conditions(given: Any) -> Any:
    """The settings of a study with the conditions of its factors under `when`. People write them behind the levels
    ("8,16 when page_size<=64") or beside them ({levels: [8, 16], when: page_size <= 64}). Anything else comes back as it is, to be refused
    where it is read."""
    if not isinstance(given, Mapping) or not isinstance(given.get("factors"), Mapping):
        return given
    factors, conditions = {}, {}
    for name, levels in given["factors"].items():
        factors[name] = levels
        if isinstance(levels, str) and _SPLIT.search(f" {levels}"):
            factors[name], conditions[name] = _SPLIT.split(f" {levels}", maxsplit=1)
        elif isinstance(levels, Mapping) and set(levels) == {"levels", WHEN}:
            factors[name], conditions[name] = levels["levels"], levels[WHEN]
    if not conditions:
        return given
    further = given.get(WHEN)
    return {**given, "factors": factors, WHEN: {**further, **conditions} if isinstance(further, Mapping) else conditions}


def parse_condition(text: str) -> Condition:
    """Raises ValueError, in one line."""
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"it has {len(text):,} characters, more than {MOST_CHARACTERS}")
    return Condition(tuple(_term(part) for part in _AND.split(text.strip())))


def _term(text: str) -> Term:
    match = _TERM.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text.strip()!r} is no comparison; write for instance page_size <= 64, or kv_cache_dtype in (auto, fp8)")
    sign, written = match["operator"] or "in", match["value"].strip()
    parts = [written]
    if sign == "in":
        inside = written[1:-1] if (written[0], written[-1]) in (("(", ")"), ("[", "]")) else written
        parts = [part.strip() for part in inside.split(",")]
    for part in parts:
        if not _VALUE.fullmatch(part):
            raise ValueError(f"{part!r} is no value; write a number, a word, or text in quotes")
    values = tuple(map(_value, parts))
    if sign in _ORDERS and not _is_number(values[0]):
        raise ValueError(f"{text.strip()!r}: {sign} compares numbers; use ==, != or in for words")
    return Term(compared_name(match["name"]), sign, values)


def _value(text: str) -> Level:
    if text[0] in "'\"":
        return text[1:-1]
    found = parse_yaml(text)
    return found if isinstance(found, str | int | float) else text


def check_conditions(when: Mapping[str, str], factors: Mapping[str, Sequence[Level]]) -> None:
    """Raises BadInput for one that cannot be read, looks at what is not searched, or at itself."""
    for name in when:
        if name not in factors:
            raise _bad(f"{name} has a condition and no levels", f"add --factor {name}=..., or drop it")
    ordered_conditions(when, factors)


def ordered_conditions(when: Mapping[str, str], factors: Mapping[str, Sequence[Level]]) -> dict[str, Condition]:
    """Each behind those that it looks at. Raises BadInput as check_conditions does."""
    read: dict[str, Condition] = {}
    for name, text in when.items():
        try:
            read[name] = parse_condition(text)
        except ValueError as error:
            raise _bad(f"{name} when: {error}", "mend the condition") from error
        for other in sorted(read[name].names - {PAGE_SIZE, CHUNK_BUDGET, ARM, *factors}):
            fix = f"{did_you_mean(other, (*_SAID.values(), *factors))}; or add --factor {other}=..."
            raise _bad(f"{name} when: {other} is not searched", fix)
    found: dict[str, Condition] = {}
    while len(found) < len(read):
        ready = [name for name, condition in read.items() if name not in found and condition.names & read.keys() <= found.keys()]
        if not ready:
            circle = ", ".join(name for name in read if name not in found)
            raise _bad(f"the conditions of {circle} look at each other or at themselves", "let one of them look at something else")
        found |= {name: read[name] for name in ready}
    return found


def check_reached(named: Mapping[str, Sequence[Level]], conditions: Conditions, reached: Mapping[str, set[Level]]) -> None:
    """`named`: what is searched -> its levels; `reached`: the levels that some configuration has. Raises BadInput where a condition never
    holds, or leaves a level without a configuration."""
    for name, condition in conditions.of.items():
        if not reached[name].intersection(named[name]):
            looked = "; ".join(f"{said_name(other)} is {shortened(named[other])}" for other in sorted(condition.names))
            raise _bad(f"{name} when {condition}: no configuration meets it ({looked})", "mend the condition, or drop the factor")
    for name, levels in named.items():
        missing = [level for level in levels if level not in reached[name]]
        if missing:
            inactive = ", ".join(f"{other} {level_text(level)}" for other, level in conditions.inactive.items())
            raise _bad(
                f"{said_name(name)} {level_text(missing[0])} is left without a configuration by the conditions "
                f"(where inactive: {inactive})",
                "mend a condition, or drop that level",
            )


def _bad(reason: str, fix: str) -> BadInput:
    return BadInput(reason, setting="factors", fix=fix)


def _is_number(level: Level) -> bool:
    return isinstance(level, int | float) and not isinstance(level, bool)


def _same(level: Level, value: Level) -> bool:
    """Numbers by size; else as they are written, so that an environment variable's "1" is 1."""
    return level == value if _is_number(level) and _is_number(value) else level_text(level) == level_text(value)


def _written(value: Level) -> str:
    """So that it is read back the same."""
    text = level_text(value)
    plain = _VALUE.fullmatch(text) and text[0] not in "'\"" and _same(_value(text), value) and type(_value(text)) is type(value)
    return text if plain else f"'{text}'"

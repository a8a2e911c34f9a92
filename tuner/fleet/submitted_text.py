"""What somebody submits, as text, made plain data: JSON or YAML by one set of rules, before anything looks at what it means.

A submission comes from a stranger. So nothing is built from it but numbers, words, lists and mappings, all of them small; YAML's anchors
and tags, which make much of little or objects of text, are refused before anything is built.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from tuner.core.errors import BadInput
from tuner.core.yaml_file import parse_json, parse_settings

MOST_DEPTH = 6  # of lists and mappings inside each other; a workload needs 4
MOST_VALUES = 2000
LONGEST_KEY = 100
LONGEST_TEXT = 500
LARGEST_NUMBER = 2**53  # what every reader of JSON keeps

_KEY = re.compile(rf"(?:env:)?[A-Za-z0-9_.-]{{1,{LONGEST_KEY}}}")
_TEXT = re.compile(rf"[A-Za-z0-9 _.,:/+=<>@*-]{{0,{LONGEST_TEXT}}}")
_LEVELS = re.compile(rf"\*|[A-Za-z0-9 _.,;:/+-]{{0,{LONGEST_TEXT}}}")
_ALLOWED_TEXT = "letters, digits, spaces and _ . , : / + = < > @ * - up to {most} of them"

type Place = tuple[str | int, ...]
"""The keys and positions on the way to a value."""


class NotAllowed(BadInput):
    """What a submission may not ask for; `place` is where it stands in it."""

    def __init__(self, place: Place, reason: str, fix: str | None) -> None:
        super().__init__(reason, setting=".".join(map(str, place)) or "submission", fix=fix)
        self.place = place


def pointer(place: Place) -> str:
    """The place as a JSON pointer (RFC 6901); "" is the whole."""
    return "".join("/" + str(part)[:LONGEST_KEY].replace("~", "~0").replace("/", "~1") for part in place)


def read_json(text: bytes) -> dict[str, Any]:
    """Raises NotAllowed."""
    try:
        found = parse_json(text.decode("utf-8"))
    except RecursionError as error:
        raise NotAllowed((), "is nested too deeply", f"use at most {MOST_DEPTH} levels") from error
    except ValueError as error:  # UnicodeDecodeError is one; so is a number of 5000 digits
        raise NotAllowed((), "is no JSON as it should be", "send one object, each key once, in UTF-8") from error
    return _settings(found)


def read_yaml(text: str) -> dict[str, Any]:
    """Raises NotAllowed; BadInput with the line of what is no YAML."""
    try:
        _refuse_more_than_plain(text)
    except RecursionError as error:
        raise NotAllowed((), "is nested too deeply", f"use at most {MOST_DEPTH} levels") from error
    except yaml.YAMLError:
        pass  # the reader below says it with the line
    return _settings(parse_settings(text, where="submission", holds="settings such as model and page_sizes"))


def _refuse_more_than_plain(text: str) -> None:
    """Looks at YAML's marks one by one and builds nothing."""
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
        line = event.start_mark.line + 1 if event.start_mark is not None else 0
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise NotAllowed((), f"line {line} has an anchor or an alias", "write the value out")
        if getattr(event, "tag", None) is not None:
            raise NotAllowed((), f"line {line} has a tag (!)", "write plain values, and quote what is text")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MOST_DEPTH:
            raise NotAllowed((), f"line {line} is nested too deeply", f"use at most {MOST_DEPTH} levels")
        if count > 4 * MOST_VALUES:
            raise NotAllowed((), "has too many values", f"use at most {MOST_VALUES}")


def _settings(found: object) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise NotAllowed((), "is no mapping", "send the settings of a study file, such as model and page_sizes")
    for count, (place, value) in enumerate(_values((), found)):
        if count >= MOST_VALUES:
            raise NotAllowed((), "has too many values", f"use at most {MOST_VALUES}")
        _check(place, value)
    return found


def _values(place: Place, value: object) -> Iterator[tuple[Place, object]]:
    """Each value and all inside it, with its place; not below what is too deep."""
    yield place, value
    inside: Any = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    if len(place) < MOST_DEPTH:
        for key, item in inside:
            if not isinstance(key, int) and not (isinstance(key, str) and _KEY.fullmatch(key)):
                raise NotAllowed(place, "has a key that is no name", f"use letters, digits, _ . and -, at most {LONGEST_KEY}")
            yield from _values((*place, key), item)
    elif isinstance(value, Mapping | list):
        raise NotAllowed(place, "is nested too deeply", f"use at most {MOST_DEPTH} levels")


def _check(place: Place, value: object) -> None:
    if isinstance(value, str):
        if not (_LEVELS if place[:1] == ("factors",) else _TEXT).fullmatch(value):
            raise NotAllowed(place, "has characters that no setting needs, or too many", f"use {_ALLOWED_TEXT.format(most=LONGEST_TEXT)}")
    elif isinstance(value, bool) or value is None:
        return
    elif isinstance(value, int | float):
        if not abs(value) <= LARGEST_NUMBER:  # NaN is not, either
            raise NotAllowed(place, "is no number that can be kept", f"use one up to {LARGEST_NUMBER}")
    elif not isinstance(value, Mapping | list):
        raise NotAllowed(place, f"is a {type(value).__name__}", "write a number, a word, true or false; quote a date")

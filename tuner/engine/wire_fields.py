"""Dataclasses as JSON objects, every field under its own name. Pure; standard library only.

`to_fields` writes, `from_fields` reads and refuses a field that it does not know as well as one that is missing: two installations that
differ in a message find out at once, instead of taking one number for another. Values inside may be JSON values, dataclasses, tuples
(JSON lists) and dictionaries of these.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

Json = dict[str, Any]
_KNOWN: dict[type[Any], dict[str, Callable[[Any], Any]]] = {}


class WrongFields(Exception):
    """A JSON value does not have the fields that its type has; one line that names the type and the field."""


def to_fields(record: Any) -> Json:
    """A dataclass instance -> {field: value}. Tuples of numbers stay tuples: json writes them as lists."""
    return {item.name: _plain(getattr(record, item.name)) for item in fields(record)}


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [to_fields(item) for item in value] if value and is_dataclass(value[0]) else value
    return to_fields(value) if is_dataclass(value) else value


def from_fields[Record](kind: type[Record], raw: object) -> Record:
    """Inverse of `to_fields`. `kind` is a dataclass. Raises WrongFields for an unknown or missing field, or no object at all."""
    name = kind.__name__
    if not isinstance(raw, dict):
        raise WrongFields(f"{name} must be an object, got {type(raw).__name__}")
    readers = _readers(kind)
    for wrong, what in ((raw.keys() - readers.keys(), "unknown"), (readers.keys() - raw.keys(), "missing")):
        if wrong:
            raise WrongFields(f"{name}: the field {min(map(str, wrong))} is {what}")
    return kind(**{field: read(raw[field]) for field, read in readers.items()})


def _readers(kind: type[Any]) -> dict[str, Callable[[Any], Any]]:
    """Field -> what makes its value of a JSON value; worked out once for each type."""
    if kind not in _KNOWN:
        hints = get_type_hints(kind)
        _KNOWN[kind] = {item.name: _reader(hints[item.name], f"{kind.__name__}.{item.name}") for item in fields(kind)}
    return _KNOWN[kind]


def _reader(hint: Any, where: str) -> Callable[[Any], Any]:
    origin, arguments = get_origin(hint), get_args(hint)
    if is_dataclass(hint) and isinstance(hint, type):
        dataclass_type: type[Any] = hint
        return lambda raw: from_fields(dataclass_type, raw)
    if origin is tuple:
        element = _reader(arguments[0], where)
        plain = element is _as_it_is
        return lambda raw: tuple(_list(raw, where)) if plain else tuple(element(item) for item in _list(raw, where))
    if origin is dict and (inner := _reader(arguments[1], where)) is not _as_it_is:
        return lambda raw: {str(key): inner(value) for key, value in _dict(raw, where).items()}
    return _as_it_is


def _as_it_is(raw: Any) -> Any:
    return raw


def _list(raw: Any, where: str) -> list[Any]:
    if not isinstance(raw, list | tuple):
        raise WrongFields(f"{where} must be a list, got {type(raw).__name__}")
    return list(raw)


def _dict(raw: Any, where: str) -> Json:
    if not isinstance(raw, dict):
        raise WrongFields(f"{where} must be an object, got {type(raw).__name__}")
    return raw

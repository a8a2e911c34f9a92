"""What pydantic refuses, in our words: what was written, and what should have been. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tuner.core.numbers import exact

_KINDS = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text; put it in quotes",
    "dict_type": "a mapping of settings to values",
    "model_type": "a mapping of settings to values",
    "model_attributes_type": "a mapping of settings to values",
    "tuple_type": "a list",
    "list_type": "a list",
}
_BOUNDS = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("below", "lt"),
    "less_than_equal": ("at most", "le"),
}
_LONGEST = 80  # characters of what was written


def refusal(first: Mapping[str, Any]) -> str:
    """Of one entry of ValidationError.errors(). What it says itself of values that our own checks refused is kept."""
    kind, given, context = first["type"], first["input"], first.get("ctx", {})
    if kind == "value_error":
        message = first["msg"].removeprefix("Value error, ")
        return f"{message[:1].lower()}{message[1:]}"
    if kind in _KINDS:
        return f"{_shown(given)} is not {_KINDS[kind]}"
    if kind in _BOUNDS:
        words, name = _BOUNDS[kind]
        limit = context[name]
        return f"{_shown(given)} is not {words} {exact(limit) if isinstance(limit, float) else limit}"
    if kind == "literal_error":
        return f"{_shown(given)} is unknown; use {context['expected']}"
    if kind == "union_tag_invalid":
        return f"the kind {_shown(context['tag'])} is unknown; use one of {context['expected_tags']}"
    if kind == "union_tag_not_found":
        return "the kind is missing; add it"
    if kind == "too_short":
        least = context.get("min_length", 1)
        return "must not be empty; name at least one" if least == 1 else f"has too few values; name at least {least}"
    if kind == "string_too_short":
        return "must not be empty"
    return f"{_shown(given)} cannot be taken"


def _shown(given: object) -> str:
    text = repr(given)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."

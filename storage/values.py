"""What may enter a column: JSON made plain and checked, text without the characters that databases refuse."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from enum import Enum
from typing import Any

from storage.base import InvalidRecord

_MAX_DEPTH = 64


def _text_keys(value: Mapping[Any, Any], where: str) -> list[tuple[str, Any]]:
    for key in value:
        if not isinstance(key, str):
            raise InvalidRecord(f"{where}: the key {key!r} is not text")
    return [(clean_text(key), item) for key, item in value.items()]


def plain(value: Any, where: str, depth: int = 0) -> Any:
    """A deep copy made of dict, list, str, int, float, bool and None only.

    NumPy scalars and enum members become plain values, tuples become lists, text is cleaned as by `clean_text`.
    Raises InvalidRecord, naming the place (`where`, then the path), for NaN, infinity, a key that is not text, and any other type.
    """
    if depth > _MAX_DEPTH:
        raise InvalidRecord(f"{where}: nested deeper than {_MAX_DEPTH} levels")
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, bool) or type(value) is int:
        return value
    if isinstance(value, str):
        return clean_text(value)
    if type(value) is float:  # as what follows, at a tenth of the time
        return finite(value, where)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return finite(value, where)
    if isinstance(value, Mapping):
        return {key: plain(item, f"{where}[{key!r}]", depth + 1) for key, item in _text_keys(value, where)}
    if isinstance(value, list | tuple):
        return [plain(item, f"{where}[{index}]", depth + 1) for index, item in enumerate(value)]
    if type(value).__name__ in ("bool", "bool_") and hasattr(value, "item"):  # NumPy's bool is neither a bool nor a number
        return bool(value)
    raise InvalidRecord(f"{where}: {type(value).__name__} cannot be kept as JSON")


def finite(value: Any, where: str) -> float:
    """The value as a float. Raises InvalidRecord unless it is a finite real number."""
    if type(value) is not float and (isinstance(value, bool) or not isinstance(value, numbers.Real)):
        raise InvalidRecord(f"{where}: {value!r} is not a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InvalidRecord(f"{where}: {number} is not a finite number")
    return number


def clean_text(text: str) -> str:
    """The text with NUL and lone surrogates replaced by U+FFFD: an engine's log may hold any bytes, a database takes neither."""
    if text.isascii() and "\x00" not in text:
        return text
    return text.replace("\x00", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")

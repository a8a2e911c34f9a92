"""What people type to find something: a part of a name, in any case."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Text, cast, func

_ESCAPE = "\\"


def holds(column: ColumnElement[Any], text: str) -> ColumnElement[bool]:
    """Whether the column's text holds `text`, in any case (of ASCII letters on SQLite); its own wildcards stand for themselves."""
    pattern = "".join(_ESCAPE + letter if letter in f"%_{_ESCAPE}" else letter for letter in text.lower())
    return func.lower(cast(column, Text)).like(f"%{pattern}%", escape=_ESCAPE)

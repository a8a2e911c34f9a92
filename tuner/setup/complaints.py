"""What pydantic complains about, in words that name the setting and the fix. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError

# pydantic's type of error -> what the value should have been.
_WRONG_TYPES = {
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text; put it in quotes",
    "dict_type": "a mapping of settings to values",
}


_OF_PYDANTIC = ("tuple[", "function-", "dict[")  # parts of a place that nobody wrote


@dataclass(frozen=True)
class Complaint:
    """`key`: the setting, with dots for what is inside it; `text`: what is wrong with it; `place`: keys and positions on the way to it."""

    key: str
    text: str
    place: tuple[str | int, ...] = ()

    @property
    def setting(self) -> str:
        return self.key.split(".")[0]


def first_complaint(error: ValidationError) -> Complaint:
    """The first thing that is wrong."""
    first = error.errors(include_url=False)[0]
    ours = [part for part in first["loc"] if isinstance(part, int) or not (part.startswith(_OF_PYDANTIC) or part == "str")]
    keys = [part for part in ours if isinstance(part, str)]  # without positions in a list
    return Complaint(".".join(keys) or "settings", _text(first["type"], first["msg"], first["input"]), tuple(ours))


def _text(kind: str, message: str, given: object) -> str:
    if kind == "extra_forbidden":
        return "this key is unknown; remove it or fix its spelling"
    if kind == "too_short":
        return "must not be empty; name at least one"
    if kind in _WRONG_TYPES:
        return f"{given!r} is not {_WRONG_TYPES[kind]}"
    message = message.removeprefix("Value error, ")
    return f"{message[:1].lower()}{message[1:]}" + ("" if kind == "value_error" else f", got {given!r}")

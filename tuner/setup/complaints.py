"""What pydantic complains about, in words that name the setting and the fix. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError

from tuner.core.refusals import refusal

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
    unknown = "this key is unknown; remove it or fix its spelling"
    text = unknown if first["type"] == "extra_forbidden" else refusal(first)
    return Complaint(".".join(keys) or "settings", text, tuple(ours))

"""The reason that somebody gives for a change, as the audit trail keeps it: one rule for command line, API and pages. Pure."""

from __future__ import annotations

import re

from tuner.core.errors import BadInput

MOST_CHARACTERS = 500
ONE_LINE = r"^[^\x00-\x1f\x7f]*$"  # also in the API's schema


def check_reason(text: str) -> str:
    """The same text. Raises BadInput."""
    if len(text) > MOST_CHARACTERS:
        raise BadInput("is too long", setting="reason", value=f"of {len(text)} characters", fix=f"use at most {MOST_CHARACTERS}")
    if not re.fullmatch(ONE_LINE[1:-1], text) or any("\ud800" <= letter <= "\udfff" for letter in text):
        shown = repr(text if len(text) <= 60 else f"{text[:60]}...")
        raise BadInput("holds a line break or another control character", setting="reason", value=shown, fix="write plain text in one line")
    return text

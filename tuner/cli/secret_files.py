"""Secrets that come as files, as containers mount them: VARIABLE_FILE names the file that holds what VARIABLE would hold;
VARIABLE itself goes first."""

from __future__ import annotations

import os
from pathlib import Path

from tuner.core.errors import BadInput


def from_file(variable: str) -> str | None:
    """The text of the file that VARIABLE_FILE names, without the white space around it; None where VARIABLE_FILE is not set.

    Raises BadInput where the file cannot be read or is empty.
    """
    name = f"{variable}_FILE"
    path = os.environ.get(name)
    if not path:
        return None
    try:
        text = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{name}: cannot read {path} ({getattr(error, 'strerror', None) or 'not text'}); mount the secret there") from error
    if not text:
        raise BadInput(f"{name}: {path} is empty; write the secret into it")
    return text

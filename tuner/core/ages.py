"""How long ago, as people write it: 90d, 12h, 30m, 45s. Pure."""

from __future__ import annotations

import re

from tuner.core.errors import BadInput

_SECONDS = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_MOST_S = 100 * 365 * 86_400.0


def parse_age(text: str, setting: str) -> float:
    """Seconds. Raises BadInput naming the setting."""
    match = re.fullmatch(r"([0-9]{1,9})([dhms])", text)
    seconds = float(match[1]) * _SECONDS[match[2]] if match is not None else -1.0
    if not 0 <= seconds <= _MOST_S:
        raise BadInput(
            "is no length of time", setting=setting, value=repr(text), fix="write days, hours, minutes or seconds: 90d, 12h, 30m, 45s"
        )
    return seconds

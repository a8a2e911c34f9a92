"""Which known name a mistyped one probably is. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_ALIKE = 0.6  # difflib's own default: of 1


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known name that is most like `word`, or None where none is much like it. Case and - against _ do not count."""
    plain = {_plain(name): name for name in known}
    found = difflib.get_close_matches(_plain(word), list(plain), n=1, cutoff=_ALIKE)
    return plain[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """ "did you mean NAME?", or "known: all of them" where none is much like it."""
    names = list(known)
    found = closest(word, names)
    return f"did you mean {found}?" if found is not None else f"known: {', '.join(names)}"


def _plain(name: str) -> str:
    return name.replace("-", "_").lower()

"""One thing that `tuner doctor` looked at."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """`needed`: a search with the local launcher (or the fleet) cannot run without it. `fix`: what to do where it is not ok."""

    name: str
    ok: bool
    found: str
    fix: str = ""
    needed: bool = False

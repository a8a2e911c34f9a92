"""What the profiles of a cell say about the KV write: how much of a window's engine time it is. Pure.

One kernel that writes and attends (tpu-inference's on a TPU) hides it. On XLA:CPU the tracer lengthens the ops of a loop, so that a write
which is one shows too large a fraction: then it is a bound, and the arms do not compare by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from profiles.classify import Category
from profiles.session_plan import ALL
from storage.records import Measurement, Profile
from tuner.verdict.profile_sessions import OK, usable


@dataclass(frozen=True)
class KvShare:
    """`fraction` of the engine time of a mean window; `exact`: no traced loop lengthened it."""

    fraction: float
    exact: bool


def kv_share(profiles: Sequence[Profile], windows: Sequence[Measurement]) -> KvShare | None:
    """`profiles`, `windows`: of one cell and arm. None where a phase of theirs was not profiled well, one kernel does both, or no write was
    seen."""
    spent: dict[str, float] = {}
    for window in windows:
        for phase, (_, milliseconds) in window.details.get("phases", {}).items():
            spent[phase] = spent.get(phase, 0.0) + milliseconds
    total, found = sum(spent.values()), 0.0
    summaries = [item.summary.get("phases", {}) for item in usable(profiles) if item.status == OK]
    exact = True
    for phase, milliseconds in spent.items():
        rows = [summary.get(phase) or summary.get(ALL) for summary in summaries if phase in summary or set(summary) == {ALL}]
        shares: list[dict[str, Any]] = [row["share"] for row in rows if row]
        if not shares or any(share.get(Category.ATTENTION_FUSED_KV, 0.0) > 0 for share in shares):
            return None
        loops = [share.get(Category.LOOP_CONTROL, 0.0) for share in shares]
        exact = exact and not any(loops)
        found += (
            milliseconds
            * sum(share.get(Category.KV_WRITE, 0.0) / (1 - loop) for share, loop in zip(shares, loops, strict=True))
            / len(shares)
        )
    return KvShare(found / total, exact) if found > 0 else None

"""The pairs of a cold comparison: engine starts, not windows. Pure.

Everything that is measured in one engine start shares what that start happened to get (memory layout, compiled programs), so its windows
tell again and again about the same start, and a hundred of them are still one draw. The unit is the start: its value is the median of the
logarithms of its windows, and a pair is the difference of two starts of one block (tuner.search.cold_comparison), which were started
one right after the other. Student's t over the pairs then knows the spread between starts and that within them, as they come, without
having to tell them apart; the degrees of freedom are pairs - 1, however many windows there are.

The number of starts is fixed beforehand, and so the data are analysed once: there is no interim rule here. Below LEAST_STARTS pairs nothing
is decided: t with so few degrees of freedom is only as good as the noise is normal, which starts need not be.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from statistics import median

from tuner.verdict.evidence import Origin

LEAST_STARTS = 4


def start_pairs(
    baseline: Mapping[int, float],
    candidate: Mapping[int, float],
    origins: tuple[Mapping[int, Origin], Mapping[int, Origin]],
    *,
    windows: int,
) -> dict[int, float]:
    """Block -> log(candidate / baseline) of its two starts, of the blocks that both have. Given are the values of the rounds and the engine
    that each comes from; `windows`: rounds of a block."""
    one, other = (_starts(values, origin, windows) for values, origin in zip((baseline, candidate), origins, strict=True))
    return {block: other[block] - one[block] for block in sorted(one.keys() & other.keys())}


def _starts(values: Mapping[int, float], origins: Mapping[int, Origin], windows: int) -> dict[int, float]:
    """Block -> log of its start's value. Where an engine was lost within a block, the start with most of its windows counts alone: never
    two starts as one, never one start twice."""
    blocks: dict[int, dict[Origin, list[float]]] = {}
    for number, value in sorted(values.items()):
        if 0 < value < math.inf:
            blocks.setdefault(number // windows, {}).setdefault(origins[number], []).append(math.log(value))
    found: dict[int, float] = {}
    used: Counter[Origin] = Counter()
    for block, starts in blocks.items():
        origin = max(starts, key=lambda item: len(starts[item]))
        used[origin] += 1
        if used[origin] == 1:
            found[block] = median(starts[origin])
    return found

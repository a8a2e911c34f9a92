"""The search for the highest rate, or number of requests at once, within an SLO (tuner.stats.edge_search) on queues whose edge is known,
beside what others do.

    python -m bench.capacity_search                  100 seeds of seven queues and five closed loops, some minutes
    python -m bench.capacity_search --only concurrency

- search: ours, from a first load that is wrong by up to a factor of 4 in either direction.
- sweep: what guidellm and vLLM's sweeps do. Loads equally far apart up to the capacity, which it is told; the answer is the last one
  before one that does not hold.
- bisection: what tpu-inference's run_bm.sh does. Halving between 0 and the capacity, which it is told, each half chosen by one window.

All three get the same windows. Error: |answer / edge - 1|. Exit status 1 if ours misses a bar: a median error of at most 5 % in at most 12
windows for each queue (or, of requests at once, of one request), and the 95 % intervals hold the edge in at least 92 % of all searches.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np

from tests.oracles.closed_loops import CLOSED_LOOPS
from tests.oracles.queues import QUEUES, Queue
from tuner.capacity.loads import TURNS
from tuner.stats.edge import Count, Ratio, Reading, Side
from tuner.stats.edge_search import MAX_WINDOWS, EdgeAsk, EdgeWindow, search_edge

REQUESTS = 2000
WRONG_START = 4.0  # the first rate is off by up to this factor
ERROR_BAR, COVER_BAR = 0.05, 0.92


@dataclass(frozen=True)
class Found:
    """`covered`: the interval holds the edge; `half_width` of it, as a fraction."""

    error: float
    windows: int
    covered: bool
    half_width: float


def window_at(queue: Queue, load: float, requests: int, random: np.random.Generator) -> EdgeWindow:
    """Of whole loads the nearest one."""
    rate = max(1.0, float(round(load))) if queue in CLOSED_LOOPS else load
    times = queue.window(rate, requests, random)
    readings: dict[str, Reading] = {}
    for slo in queue.slos:
        if slo.value(times) <= 0:  # nobody waited
            readings["mean" if slo.percentile is None else "percentile"] = Side(held=True)
        elif slo.percentile is None:
            readings["mean"] = Ratio(math.log(slo.value(times) / slo.limit_s))
        else:
            readings["percentile"] = Count(
                int((times > slo.limit_s).sum()), requests, 1 - slo.percentile / 100, math.log(slo.value(times) / slo.limit_s)
            )
    return EdgeWindow(rate, readings)


def searched(queue: Queue, seed: int, requests: int) -> Found:
    random = np.random.default_rng(seed)
    first = queue.edge * WRONG_START ** random.uniform(-1, 1)
    ask = EdgeAsk(max(1.0, first), requests // TURNS, whole=True) if queue in CLOSED_LOOPS else EdgeAsk(first)
    search = search_edge(ask, lambda rate: window_at(queue, rate, requests, random))
    found = search.estimate()
    if found is None:
        return Found(1.0, len(search.windows), False, math.inf)
    error = abs(found.edge / queue.edge - 1)
    return Found(error, len(search.windows), found.low <= queue.edge <= found.high, found.half_width)


def swept(queue: Queue, seed: int, requests: int) -> float:
    """The error of a linear sweep."""
    random, held = np.random.default_rng(seed), 0.0
    for step in range(1, MAX_WINDOWS + 1):
        rate = queue.capacity * step / MAX_WINDOWS
        if not window_at(queue, rate, requests, random).held:
            break
        held = rate
    return abs(held / queue.edge - 1)


def halved(queue: Queue, seed: int, requests: int) -> float:
    """The error of a bisection by single windows."""
    random, low, high = np.random.default_rng(seed), 0.0, queue.capacity
    for _ in range(MAX_WINDOWS):
        middle = (low + high) / 2
        low, high = (middle, high) if window_at(queue, middle, requests, random).held else (low, middle)
    return abs((low + high) / 2 / queue.edge - 1)


def line(queue: Queue, seeds: int, requests: int) -> tuple[str, bool, float]:
    """(a line of the table, whether the queue's bars are met, how many of the intervals hold the edge)"""
    ours = [searched(queue, seed, requests) for seed in range(seeds)]
    errors, covered, windows = [item.error for item in ours], fmean(item.covered for item in ours), max(item.windows for item in ours)
    others: list[Callable[[Queue, int, int], float]] = [swept, halved]
    theirs = [[other(queue, seed, requests) for seed in range(seeds)] for other in others]
    shown = "".join(f"{median(items):>9.1%}{_tail(items):>8.1%}" for items in (errors, *theirs))
    text = f"{queue.name:<28}{queue.edge:>8.3f}{shown}{median(item.windows for item in ours):>9.0f}"
    text += f"{median(item.half_width for item in ours):>9.1%}{covered:>8.0%}"
    bar = max(ERROR_BAR, 1 / queue.edge) if queue in CLOSED_LOOPS else ERROR_BAR
    return text, median(errors) <= bar and windows <= MAX_WINDOWS, covered


def _tail(errors: list[float]) -> float:
    return float(np.percentile(errors, 95))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=100, help="searches of a queue")
    parser.add_argument("--requests", type=int, default=REQUESTS, help="requests of a window")
    parser.add_argument("--only", choices=["rate", "concurrency"], help="queues or closed loops alone")
    given = parser.parse_args()
    print(f"{given.seeds} searches of at most {MAX_WINDOWS} windows of {given.requests} requests; errors: median and 95th percentile")
    print(f"{'queue':<28}{'edge':>8}{'search':>9}{'':>8}{'sweep':>9}{'':>8}{'bisection':>9}{'':>8}{'windows':>9}{'+-':>9}{'covers':>8}")
    missed, covered = 0, []
    for queue in (*(QUEUES if given.only != "concurrency" else ()), *(CLOSED_LOOPS if given.only != "rate" else ())):
        text, met, share = line(queue, given.seeds, given.requests)
        print(text, flush=True)
        missed += not met
        covered.append(share)
    print(f"intervals that hold the edge: {fmean(covered):.1%}")
    missed += fmean(covered) < COVER_BAR
    print("all bars met" if not missed else f"{missed} bars missed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

"""Does a host measure what its peers measure? Pure.

What is compared is one engine start: the windows of one start share what that start was like. For each question (the same model, workload,
settings and versions) that three hosts or more have measured, a host's deviation is the difference of its mean from the median of the
hosts' means, in log units; over questions it is averaged by numbers of starts. The noise is the spread of starts of one host and question,
pooled, with Student's t; the error of a look is shared by the hosts (Bonferroni). The variance of a median of k means is taken as pi/2 of
that of their mean (Kenney and Keeping, Mathematics of Statistics, part 2, 1951).

Two hosts that differ say nothing of which is the odd one, and a host is never judged by few starts: then it is undecided. So is one whose
interval reaches into the band by which starts of one engine differ anyway.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean, median

from tuner.stats.racing import ENGINE_BAND
from tuner.stats.student import two_sided_critical

LEAST_STARTS = 4  # of a host, and of its peers for each question together
LEAST_HOSTS = 3
LEAST_FREEDOM = 6  # degrees of freedom of the spread
ERROR_OF_A_LOOK = 0.01


class Standing(StrEnum):
    DRIFTS = "drifts"
    ALIKE = "like its peers"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Reading:
    """One engine start: `value` > 0 is the median of its windows."""

    host: str
    question: str
    value: float


@dataclass(frozen=True)
class HostFinding:
    """`ratio`, `low`, `high`: this host over its peers, None where they cannot be told. `starts`: those that were compared."""

    host: str
    standing: Standing
    reason: str
    starts: int = 0
    peers: int = 0
    ratio: float | None = None
    low: float | None = None
    high: float | None = None


def judge_hosts(readings: Iterable[Reading], *, error: float = ERROR_OF_A_LOOK, band: float = ENGINE_BAND) -> dict[str, HostFinding]:
    """By host, of all that have a reading."""
    cells: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for item in readings:
        cells[item.question][item.host].append(math.log(item.value))
    hosts = sorted({host for by_host in cells.values() for host in by_host})
    shared = {question: by_host for question, by_host in cells.items() if len(by_host) >= LEAST_HOSTS}
    spread, freedom = _spread(cells)
    critical = two_sided_critical(error / max(1, len(hosts)), freedom) if freedom >= LEAST_FREEDOM else math.inf
    return {host: _finding(host, shared, spread * critical if math.isfinite(critical) else math.inf, math.log1p(band)) for host in hosts}


def _spread(cells: Mapping[str, Mapping[str, list[float]]]) -> tuple[float, int]:
    """(standard deviation of starts of one host and question, its degrees of freedom)."""
    total, freedom = 0.0, 0
    for by_host in cells.values():
        for values in by_host.values():
            middle = fmean(values)
            total += sum((value - middle) ** 2 for value in values)
            freedom += len(values) - 1
    return (math.sqrt(total / freedom) if freedom else 0.0), freedom


def _finding(host: str, shared: Mapping[str, Mapping[str, list[float]]], reach: float, band: float) -> HostFinding:
    """`reach`: half an interval's width for a variance of one start."""
    mine = {question: by_host for question, by_host in shared.items() if host in by_host}
    starts = sum(len(by_host[host]) for by_host in mine.values())
    peers = len({name for by_host in mine.values() for name in by_host} - {host})
    if not mine:
        return HostFinding(host, Standing.UNDECIDED, f"nothing that it measured was measured by {LEAST_HOSTS - 1} other hosts as well")
    if starts < LEAST_STARTS or math.isinf(reach):
        few = (
            f"{starts} engine starts can be compared, {LEAST_STARTS} are needed" if starts < LEAST_STARTS else "the noise is not known yet"
        )
        return HostFinding(host, Standing.UNDECIDED, few, starts, peers)
    apart = variance = 0.0
    for by_host in mine.values():
        weight, means = len(by_host[host]) / starts, {name: fmean(values) for name, values in by_host.items()}
        others = [1 / len(values) for name, values in by_host.items() if name != host]
        apart += weight * (means[host] - median(means.values()))
        variance += weight**2 * (1 / len(by_host[host]) + math.pi / 2 * fmean(others) / len(others))
    half = reach * math.sqrt(variance)
    low, high = apart - half, apart + half
    standing = Standing.UNDECIDED
    if low > band or high < -band:
        standing = Standing.DRIFTS
    elif -band <= low and high <= band:
        standing = Standing.ALIKE
    return HostFinding(
        host,
        standing,
        _words(apart, low, high),
        starts=starts,
        peers=peers,
        ratio=math.exp(apart),
        low=math.exp(low),
        high=math.exp(high),
    )


def _words(apart: float, low: float, high: float) -> str:
    shown = [f"{100 * math.expm1(value):+.1f} %" for value in (apart, low, high)]
    return f"{shown[0]} beside its peers ({shown[1]} to {shown[2]})"

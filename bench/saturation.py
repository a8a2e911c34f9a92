"""The over-saturation test on simulated queues: wrong alarms below capacity, alarms above it, and what a check costs.

    python -m bench.saturation                100 windows a cell, about two minutes

Exit status 1 if a bar is missed: alarms in more than 5 % of windows at 0.8 or 0.9 of the capacity, or in less than 90 % of windows of 1000
requests at 1.2 times the capacity. A check is made as in a measurement, after every
tuner.workload.saturation.CHECK_EVERY finished requests.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from heapq import heapify, heappop, heappush

from tuner.core.contract import RequestRecord
from tuner.workload.saturation import CHECK_EVERY, saturation

type Service = Callable[[random.Random], float]

LOADS = (0.8, 0.9, 1.2, 1.5)


def exponential(rng: random.Random) -> float:
    return rng.expovariate(1.0)


def lognormal(rng: random.Random) -> float:
    """Mean 1, coefficient of variation 1.3: long outputs among short ones."""
    return rng.lognormvariate(-0.5, 1.0)


def queue(load: float, requests: int, seed: int, service: Service = exponential, servers: int = 1) -> list[RequestRecord]:
    """M/G/c, first come first served; `load` 1 is the capacity. The first token comes after a tenth of the service."""
    rng = random.Random(seed)
    free, now_s, records = [0.0] * servers, 0.0, []
    heapify(free)
    for index in range(requests):
        now_s += rng.expovariate(load * servers)
        begun_s, spent_s = max(now_s, heappop(free)), service(rng)
        heappush(free, begun_s + spent_s)
        records.append(RequestRecord(f"r{index}", 1, now_s, now_s, (begun_s + 0.1 * spent_s,), begun_s + spent_s))
    return records


def seen_at(records: Sequence[RequestRecord], now_s: float) -> list[RequestRecord]:
    """What the driver knows at `now_s`."""
    return [
        record
        if record.finished_s is not None and record.finished_s <= now_s
        else replace(record, token_times_s=tuple(time_s for time_s in record.token_times_s if time_s <= now_s), finished_s=None)
        for record in records
        if record.planned_s <= now_s
    ]


def first_alarm(records: Sequence[RequestRecord], every: int = CHECK_EVERY) -> str | None:
    """The reason of the first alarm while requests arrive; None where there is none."""
    finishes = sorted(record.finished_s for record in records if record.finished_s is not None)
    for now_s in finishes[every - 1 :: every]:
        if now_s <= records[-1].planned_s and (reason := saturation(seen_at(records, now_s), now_s)):
            return reason
    return None


def alarm_rate(load: float, requests: int, windows: int, service: Service, servers: int) -> float:
    return sum(first_alarm(queue(load, requests, seed, service, servers)) is not None for seed in range(windows)) / windows


def check_ms(requests: int, checks: int = 20) -> float:
    """Mean time of one check of a window of so many requests, in milliseconds."""
    records = queue(0.9, requests, 1)
    now_s = records[-1].planned_s
    seen = seen_at(records, now_s)
    begun = time.perf_counter()
    for _ in range(checks):
        saturation(seen, now_s)
    return (time.perf_counter() - begun) / checks * 1000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=100, help="simulated windows a cell")
    windows = parser.parse_args().windows
    missed = 0
    print("service      servers  requests  " + "".join(f"{f'load {load}':>10}" for load in LOADS))
    for service in (exponential, lognormal):
        for servers in (1, 16):
            for requests in (300, 1000):
                fractions = {load: alarm_rate(load, requests, windows, service, servers) for load in LOADS}
                print(
                    f"{service.__name__:<12} {servers:>7}  {requests:>8}  "
                    + "".join(f"{fraction:>10.1%}" for fraction in fractions.values()),
                    flush=True,
                )
                missed += max(fractions[0.8], fractions[0.9]) > 0.05
                missed += requests >= 1000 and fractions[1.2] < 0.9
    print(f"one check: {check_ms(300):.2f} ms at 300 requests, {check_ms(1000):.2f} ms at 1000")
    print("all bars met" if not missed else f"{missed} bars missed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

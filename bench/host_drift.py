"""How often a host is put into quarantine that should not be, and how soon one that should.

    python -m bench.host_drift [--studies 300] [--looks 12] [--seed 1]

Simulated hosts measure the same two questions; with each look every host has one engine start more of each. Starts differ by a normal
spread of 1 % or 3 %, and the hosts are looked at after every start (tuner.stats.hosts), as workers do after every study: the rates are
those of all looks together. One host is off by what the column says; "false" counts studies in which any other host was put into
quarantine. Exit status 1 where more than 1 % of the studies without a host that is off put one into quarantine, or a host that is off by
10 % under a spread of 1 % is not found in 99 %.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tuner.core.numbers import number
from tuner.stats.hosts import Reading, Standing, judge_hosts

QUESTIONS = ("a", "b")
LEAST_POWER, MOST_FALSE = 0.99, 0.01


@dataclass(frozen=True)
class Rates:
    """Parts of the studies. `looks`: the median look at which the host that is off was found, from 1."""

    false: float
    found: float
    looks: float | None


def rates(hosts: int, spread: float, off: float, *, studies: int, looks: int, seed: int) -> Rates:
    """`off`: the last host's factor is 1 + off."""
    random = np.random.default_rng(seed)
    false, found = 0, []
    for _ in range(studies):
        noise = np.exp(random.normal(0.0, spread, (looks, hosts, len(QUESTIONS))))
        noise[:, hosts - 1, :] *= 1 + off
        readings: list[Reading] = []
        caught: set[str] = set()
        for look in range(looks):
            readings += [
                Reading(str(host), name, 100.0 * noise[look, host, nth]) for host in range(hosts) for nth, name in enumerate(QUESTIONS)
            ]
            judged = judge_hosts(item for item in readings if item.host not in caught)
            drifting = {host for host, finding in judged.items() if finding.standing is Standing.DRIFTS}
            if str(hosts - 1) in drifting:
                found.append(look + 1)
            caught |= drifting
        false += bool(caught - ({str(hosts - 1)} if off else set()))
    return Rates(false / studies, len(found) / studies, float(np.median(found)) if found else None)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--studies", type=int, default=300)
    parser.add_argument("--looks", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args(arguments)
    print("| hosts | spread of starts | one host is off by | false, of studies | found, of studies | engine starts of it until then |")
    print("|---|---|---|---|---|---|")
    passed = True
    for hosts in (3, 8):
        for spread in (0.01, 0.03):
            for off in (0.0, -0.03, -0.05, -0.1):
                found = rates(hosts, spread, off, studies=asked.studies, looks=asked.looks, seed=asked.seed)
                starts = number(None if found.looks is None else found.looks * len(QUESTIONS))
                shown = f"{100 * found.found:.1f} %" if off else "-"
                print(f"| {hosts} | {spread:.0%} | {off:.0%} | {100 * found.false:.1f} % | {shown} | {starts if off else '-'} |")
                passed &= off != 0.0 or found.false <= MOST_FALSE
                passed &= (spread, off) != (0.01, -0.1) or found.found >= LEAST_POWER
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())

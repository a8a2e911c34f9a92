"""Faults injected into workers, searches, engines, their databases and their network at random moments, and what was lost by them.

    python -m bench.fault_campaign [--faults 220] [--seed 0] [--only NAME] [--ray N]

| part | what is hit |
|---|---|
| workers | `tuner worker` processes on SQLite: killed, drained, stopped beyond their lease, with a wrong clock, with a full disk |
| database | the same on a PostgreSQL server of its own, which is restarted, crashes, is cut off, and is put back to a backup |
| searches | `tuner search` processes that are killed and resumed |
| engines | an engine or its host is killed; an engine crashes at start, warm-up, window and profile; its profile is corrupt |
| ray | actor and node of a local Ray cluster are killed (only with --ray: a cluster takes some seconds to start) |

Engines are those of the tests: nothing is computed. Exit status 1 where anything followed that must not (bench/lib/fault_findings.py).
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from itertools import chain
from pathlib import Path

from bench.lib.ending import end_all_at_signals, undone_at_the_end
from bench.lib.fault_engines import EngineCampaign
from bench.lib.fault_findings import Found
from bench.lib.fault_searches import SearchCampaign
from bench.lib.fault_workers import ON_ANY, ON_POSTGRESQL, WorkerCampaign
from bench.lib.own_postgres import OwnPostgres


def workers(folder: Path, seed: int, faults: int) -> Found:
    return WorkerCampaign(folder, seed).run(faults, ON_ANY)


def database(folder: Path, seed: int, faults: int) -> Found:
    postgres = OwnPostgres(folder)
    with undone_at_the_end(postgres.close):
        return WorkerCampaign(folder, seed, postgres).run(faults, ON_POSTGRESQL)


def searches(folder: Path, seed: int, faults: int) -> Found:
    return SearchCampaign(folder, seed).run(faults)


def engines(folder: Path, seed: int, faults: int) -> Found:
    return EngineCampaign(folder, seed).run(faults)


def ray(folder: Path, seed: int, faults: int) -> Found:
    from bench.lib.fault_ray import RayCampaign

    return RayCampaign(folder, seed).run(faults)


PARTS: Mapping[str, tuple[float, Callable[[Path, int, int], Found]]] = {  # share of the faults
    "workers": (0.25, workers),
    "database": (0.3, database),
    "searches": (0.1, searches),
    "engines": (0.35, engines),
}


def _run(part: Callable[[Path, int, int], Found], seed: int, faults: int) -> Found:
    folder = Path(tempfile.mkdtemp(prefix="tuner-faults-"))
    with undone_at_the_end(partial(shutil.rmtree, folder, ignore_errors=True)):
        return part(folder, seed, faults)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Faults injected into workers, searches, engines and databases, and what was lost by them."
    )
    parser.add_argument("--faults", type=int, default=220)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=PARTS, help="all faults into this part")
    parser.add_argument("--ray", type=int, default=0, metavar="N", help="further faults of a local Ray cluster")
    options = parser.parse_args(arguments)
    counts = {name: max(1, round(share * options.faults)) for name, (share, _) in PARTS.items()}
    if options.only:
        counts = {options.only: options.faults}
    asked = [(name, PARTS[name][1], count) for name, count in counts.items() if count]
    whole = Found()
    with ThreadPoolExecutor(len(PARTS)) as pool:  # each waits nearly all the time, for processes and databases of its own
        running = {pool.submit(_run, part, options.seed, count): name for name, part, count in asked}
        found = [("ray", _run(ray, options.seed, options.ray))] if options.ray else []  # Ray starts nodes in the main thread only
        for name, of_it in chain(found, ((running[done], done.result()) for done in as_completed(running))):
            whole.add(of_it)
            print("\n".join([f"{name}:", *of_it.lines()]), flush=True)
    print("\n".join(["all:", *whole.lines()]))
    return 0 if whole.is_clean else 1


if __name__ == "__main__":
    end_all_at_signals()
    sys.exit(main())

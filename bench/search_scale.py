"""What a trial costs beside the engine as a search grows: processor time a trial after 0, 1,000, 2,500 and 5,000 trials.

    python -m bench.search_scale [--at 0,1000,2500,5000] [--rounds 3] [--storage sqlite:///FILE]

One search of a table of 5,180 configurations (7 page sizes x 370 chunk budgets x 2 arms), where a measurement takes no time, so that all
time is the search's own: choosing, statistics, SQL. Linear algebra runs on one thread. Exit status 1 where a trial costs more than 0.05 s,
or half as much again as at the second point: at the first one little is known, and a choice is cheaper.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PAGES = (8, 16, 32, 64, 128, 256, 512)
BUDGETS = tuple(1024 + 16 * step for step in range(370))
ARMS = ("default", "page_aligned")
SPAN = 100  # trials that a point is the mean of
MOST_S = 0.05
GROWTH = 1.5


def main() -> None:
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy: processor time is then wall time on a machine that is free
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--at", default="0,1000,2500,5000", help="numbers of trials, ascending")
    parser.add_argument("--rounds", default="3")
    parser.add_argument("--storage", help="default: a file in a temporary folder")
    args = parser.parse_args()
    points = [int(word) for word in args.at.split(",")]
    with tempfile.TemporaryDirectory(prefix="tuner-bench-") as folder:
        reached = run(Path(folder), points[-1] + SPAN, args.rounds, args.storage)
    costs = [(reached[point + SPAN] - reached[point]) / SPAN for point in points]
    print(f"{len(PAGES) * len(BUDGETS) * len(ARMS)} configurations, {args.rounds} rounds\n")
    print("| trials before | ms of processor time a trial |\n|---:|---:|")
    for point, cost in zip(points, costs, strict=True):
        print(f"| {point:,} | {1e3 * cost:.1f} |")
    sys.exit(0 if is_flat(costs) else 1)


def is_flat(costs: Sequence[float]) -> bool:
    """Whether every trial is cheap, and none costs much more than those at the second point."""
    return max(costs) <= MOST_S and all(cost <= GROWTH * costs[min(1, len(costs) - 1)] for cost in costs)


def run(folder: Path, trials: int, rounds: str, storage_url: str | None) -> dict[int, float]:
    """{finished trials: seconds of processor time until then}."""
    from storage.upgrade import open_storage
    from tuner.launchers.table import TableLauncher
    from tuner.search.plan import plan_search
    from tuner.search.study import StudyRun
    from tuner.setup.config_file import load_config
    from tuner.setup.study_setup import prepare_study
    from tuner.trials.progress import Progress

    url = storage_url or f"sqlite:///{folder}/tuner.db"
    table = write_table(folder / "table.csv")
    reached: dict[int, float] = {}

    def note(progress: Progress, _line: str) -> None:
        reached.setdefault(progress.done_trials, time.process_time())

    settings: dict[str, Any] = {"model": "tiny-qwen3", "study": "scale", "workload": "demo", "sampler": "ordinal", "warm_start": "none"}
    settings |= {"page_sizes": PAGES, "chunk_budgets": BUDGETS, "rounds": rounds, "trials": trials, "profile": "none"}
    settings |= {"launcher": "table", "table": str(table), "storage": url, "logdir": str(folder / "profiles")}
    setup = prepare_study(load_config(None, settings))
    storage = open_storage(url)
    reached[0] = time.process_time()
    StudyRun(plan_search(setup, storage, resume=False), storage, TableLauncher(table), Progress(listener=note)).run()
    storage.close()
    return reached


def write_table(path: Path) -> Path:
    """A smooth surface with a little of its own in each configuration; page alignment helps some budgets."""
    rng = random.Random(1)
    lines = ["block_size,max_num_batched_tokens,arm,total_token_throughput,ttft_p99_ms"]
    for page in PAGES:
        for budget in BUDGETS:
            for arm in ARMS:
                aligned = 15 * math.cos(budget / 300) if arm == "page_aligned" else 0.0
                value = 1000 + 60 * math.sin(budget / 800) - 12 * (math.log2(page) - 5.7) ** 2 + aligned + rng.gauss(0, 3)
                lines.append(f"{page},{budget},{arm},{value:.3f},{40 + budget / 60:.3f}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


if __name__ == "__main__":
    main()

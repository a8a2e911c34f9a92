"""Where the wall time of a whole search goes: a study of 40 cells (80 configurations) on the real engine.

    python -m bench.search_overhead [--page-sizes 16,32,64,128] [--budgets 128,160,...] [--rounds 5]

Runs `tuner search` as a user would, on a database of its own, with the finalists confirmed cold and profiled. Overhead is everything
outside warm-up (compiling what will be measured) and measured windows: engine starts, profiles, statistics, SQL. Exit status 1 if it is
more than 25 % of the wall time.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.engine_null import BUDGETS
from bench.lib.options import numbers
from bench.lib.real_engine import device_line, say

MAX_OVERHEAD = 0.25
WORK = ("warm_up", "measure")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page-sizes", type=numbers, default=[16, 32, 64, 128])
    parser.add_argument("--budgets", type=numbers, default=BUDGETS)
    parser.add_argument("--rounds", default="5")
    parser.add_argument("--workload", default="demo")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tuner-bench-") as folder:
        command = [str(Path(sys.executable).with_name("tuner")), "search", "--model", "tiny-qwen3", "--study", "overhead", "--json"]
        command += ["--storage", f"sqlite:///{folder}/tuner.db", "--logdir", f"{folder}/profiles", "--sampler", "grid"]
        command += ["--page-sizes", ",".join(map(str, args.page_sizes)), "--chunk-budgets", ",".join(map(str, args.budgets))]
        command += ["--workload", args.workload, "--rounds", args.rounds]
        say(" ".join(command))
        start = time.perf_counter()
        finished = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        wall_s = time.perf_counter() - start
    study = json.loads(finished.stdout)["study"]
    costs: dict[str, float] = study["cost_s"]
    print(f"Device: {device_line()}; workload {args.workload}; {args.rounds} rounds; {len(args.page_sizes) * len(args.budgets)} cells\n")
    print("| part | seconds | fraction of the wall time |\n|---|---|---|")
    parts = {name: seconds for name, seconds in costs.items() if name not in ("other", "wall")}
    parts["everything else"] = wall_s - sum(parts.values())
    for name, seconds in parts.items():
        print(f"| {name} | {seconds:.1f} | {seconds / wall_s:.1%} |")
    overhead = 1 - sum(costs[name] for name in WORK) / wall_s
    print(f"\nwall time {wall_s:.0f} s, {study['engine_starts']} engine starts; overhead outside warm-up and measurement: {overhead:.1%}")
    sys.exit(0 if overhead <= MAX_OVERHEAD else 1)


if __name__ == "__main__":
    main()

"""Measured configurations per hour: one engine per page size with live reconfiguration, against one start per configuration.

    python -m bench.configurations_per_hour [--page-sizes 16,32,64,128] [--budgets 128,192,256,384,512] [--windows 1] [--restarts 3]
    [--serve 2] [--sweep 3]

The same workload and grid. Ours: one import, one engine per page size, every arm x budget warmed up and measured inside it. Against it,
on a sample of the grid's configurations (its time per configuration does not depend on the grid): (a) our own launcher with all reuse
off, (b) `vllm serve` + `vllm bench serve` started for each configuration by our `serve`
launcher, (c) vLLM's own sweep, `vllm bench sweep serve`, which starts a server for each. The persistent
XLA cache is warm for all of them: (a) and (b) after a first, uncounted start of each, (c) after those.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path

from bench.lib.options import numbers
from bench.lib.real_engine import START_TIMEOUT_S, WINDOW_TIMEOUT_S, device_line, engine_settings, launcher, load_plan, say
from bench.lib.vllm_sweep import sample, sweep_seconds
from tuner.core.contract import ARMS, Launcher, LiveSettings
from tuner.launchers.serve import ServeLauncher

WAYS = {
    "local": "our launcher, one start per configuration",
    "serve": "our `serve` launcher: `vllm serve` + `vllm bench serve` per configuration, vLLM imported once",
    "sweep": "`vllm bench sweep serve`",
}


def ours(pages: list[int], budgets: list[int], windows: int, workload: str) -> tuple[float, float]:
    """(wall seconds for the whole grid, seconds of it inside measured windows)."""
    start, measured = time.perf_counter(), 0.0
    with launcher() as opened:
        for page in pages:
            say(f"ours: page size {page}")
            settings = engine_settings(page, max(budgets))
            plan = load_plan(workload, settings)
            session = opened.open(settings, START_TIMEOUT_S)
            for budget in budgets:
                for arm in ARMS:
                    session.warm_up(LiveSettings(arm, budget), plan, WINDOW_TIMEOUT_S)
            for _ in range(windows):
                for budget in budgets:
                    for arm in ARMS:
                        measured += session.measure(LiveSettings(arm, budget), plan, WINDOW_TIMEOUT_S).duration_s
            session.close()
    return time.perf_counter() - start, measured


def one_restart(opened: Launcher, page: int, live: LiveSettings, windows: int, workload: str) -> float:
    """Wall seconds of one configuration with a launcher of its own, from start to exit."""
    start = time.perf_counter()
    settings = engine_settings(page, live.max_num_batched_tokens)
    plan = load_plan(workload, settings)
    session = opened.open(settings, START_TIMEOUT_S)
    session.warm_up(live, plan, WINDOW_TIMEOUT_S)
    for _ in range(windows):
        session.measure(live, plan, WINDOW_TIMEOUT_S)
    session.close()
    opened.close()
    return time.perf_counter() - start


def restarts(kind: str, count: int, pages: list[int], budgets: list[int], windows: int, workload: str) -> list[float]:
    """Seconds per configuration of `count` restarts after an uncounted one."""
    order, seconds = random.Random(0), []
    for number in range(count + 1):
        page, live = order.choice(pages), LiveSettings(order.choice(ARMS), order.choice(budgets))
        say(f"{kind}: page size {page}, {live}")
        if kind == "serve":
            with tempfile.TemporaryDirectory(prefix="tuner-bench-") as folder:
                seconds.append(one_restart(ServeLauncher(log_dir=Path(folder)), page, live, windows, workload))
        else:
            with launcher() as opened:
                seconds.append(one_restart(opened, page, live, windows, workload))
        if number == 0:
            seconds.clear()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page-sizes", type=numbers, default=[16, 32, 64, 128])
    parser.add_argument("--budgets", type=numbers, default=[128, 192, 256, 384, 512])
    parser.add_argument("--windows", type=int, default=1, help="measured windows of each configuration")
    parser.add_argument("--restarts", type=int, default=3)
    parser.add_argument("--serve", type=int, default=2)
    parser.add_argument("--sweep", type=int, default=3, help="configurations given to vLLM's own sweep")
    parser.add_argument("--workload", default="demo")
    args = parser.parse_args()
    grid = args.page_sizes, args.budgets
    rest = args.windows, args.workload
    wall_s, measured_s = ours(*grid, *rest)
    configurations = len(args.page_sizes) * len(args.budgets) * len(ARMS)
    each_s = wall_s / configurations
    print(f"Device: {device_line()}; workload {args.workload}; {args.windows} window(s) a configuration\n")
    print("| way | configurations | seconds each | per hour | ours is faster by |\n|---|---|---|---|---|")
    print(f"| live reconfiguration, one engine per page size | {configurations} | {each_s:.1f} | {3600 / each_s:.0f} | |")
    for kind, count in (("local", args.restarts), ("serve", args.serve)):
        if count:
            seconds = restarts(kind, count, *grid, *rest)
            factors = f"{min(seconds) / each_s:.1f} to {max(seconds) / each_s:.1f} x"
            mean = sum(seconds) / len(seconds)
            print(f"| {WAYS[kind]} | {count} | {mean:.1f} | {3600 / mean:.0f} | {factors} |", flush=True)
    if args.sweep:
        mean = sweep_seconds(sample(args.sweep, *grid), args.workload) / args.sweep
        print(f"| {WAYS['sweep']} | {args.sweep} | {mean:.1f} | {3600 / mean:.0f} | {mean / each_s:.1f} x |")
    print(f"\nours: {wall_s:.0f} s wall time, {measured_s:.0f} s of it inside measured windows")


if __name__ == "__main__":
    main()

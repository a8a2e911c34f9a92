"""Does a configuration measured live (in an engine compiled for a larger budget) agree with the same one started cold with its own flags?

    python -m bench.live_vs_cold [--page-sizes 32,128] [--budgets 128,256] [--rounds 10] [--compiled-maximum 512]

For each page size one engine with the compiled maximum; for each configuration (arm x budget) a fresh engine with exactly its own budget
and, for the default arm, vLLM's own scheduler. The two are measured in alternation (one is idle while the other is measured), so that
drift of the machine cancels. Equivalence: the whole interval of cold / live lies within +-3 %. Exit status 1 if a configuration differs
by more than that with confidence.
"""

from __future__ import annotations

import argparse
import math
import random
import sys

from bench.page_alignment import numbers
from bench.real_engine import (
    START_TIMEOUT_S,
    WINDOW_TIMEOUT_S,
    device_line,
    engine_settings,
    launcher,
    load_plan,
    say,
    tokens_per_second,
)
from tuner.launchers.base import ARM_DEFAULT, ARMS, LiveSettings, LoadPlan, WindowResult
from tuner.launchers.local import LocalSession
from tuner.statistics import log_mean_interval, paired_log_ratios

TOLERANCE = 0.03


def alternate(live: LocalSession, cold: LocalSession, setting: LiveSettings, plan: LoadPlan, rounds: int, seed: int) -> list[float]:
    """Log-ratios cold / live of total token throughput."""
    sessions = {"live": live, "cold": cold}
    for session in sessions.values():
        while session.warm_up(setting, plan, WINDOW_TIMEOUT_S)["compilations"]:
            pass
    windows: dict[str, dict[int, WindowResult]] = {name: {} for name in sessions}
    order = random.Random(seed)
    for round_ in range(rounds):
        for name in order.sample(sorted(sessions), len(sessions)):
            windows[name][round_] = sessions[name].measure(setting, plan, WINDOW_TIMEOUT_S)
    return list(paired_log_ratios(tokens_per_second(windows["live"]), tokens_per_second(windows["cold"])).values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page-sizes", type=numbers, default=[32, 128])
    parser.add_argument("--budgets", type=numbers, default=[128, 256])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--compiled-maximum", type=int, default=512)
    parser.add_argument("--workload", default="demo")
    args = parser.parse_args()
    rows: list[tuple[str, float, float, float]] = []
    with launcher() as opened:
        for page in args.page_sizes:
            wide = engine_settings(page, args.compiled_maximum)
            plan = load_plan(args.workload, wide)
            live = opened.open(wide, START_TIMEOUT_S)
            for budget in args.budgets:
                for arm in ARMS:
                    say(f"page size {page}, budget {budget}, {arm}")
                    kv_write = live.report.effective["kv_write"] or "auto"
                    own = wide.with_changes(max_num_batched_tokens=budget, kv_write=kv_write, alignable=arm != ARM_DEFAULT)
                    cold = opened.open(own, START_TIMEOUT_S)
                    logs = alternate(live, cold, LiveSettings(arm, budget), plan, args.rounds, seed=budget)
                    cold.close()
                    low, high = log_mean_interval(logs) or (-math.inf, math.inf)
                    rows.append((f"page {page}, budget {budget}, {arm}", math.exp(sum(logs) / len(logs)), math.exp(low), math.exp(high)))
            live.close()
    print(f"Device: {device_line()}; workload {args.workload}; {args.rounds} rounds; total token throughput, cold / live\n")
    print("| configuration | cold / live | 95 % interval | within +-3 % |\n|---|---|---|---|")
    differs = 0
    for label, ratio, low, high in rows:
        inside = low >= 1 - TOLERANCE and high <= 1 + TOLERANCE
        outside = high < 1 - TOLERANCE or low > 1 + TOLERANCE
        differs += outside
        print(f"| {label} | {ratio:.3f} | {low:.3f} to {high:.3f} | {'yes' if inside else 'no' if outside else 'undecided'} |")
    mean = sum(math.log(ratio) for _, ratio, _, _ in rows) / len(rows)
    print(f"\ngeometric mean of cold / live over {len(rows)} configurations: {math.exp(mean):.4f}")
    sys.exit(1 if differs else 0)


if __name__ == "__main__":
    main()

"""Does a configuration measured live (in an engine compiled for a larger budget) agree with the same one started cold with its own flags?

    python -m bench.live_vs_cold [--page-sizes 32,128] [--budgets 128,256] [--rounds 10] [--compiled-maximum 512]

For each page size two engines with the compiled maximum (`live`, and `again`: the same settings, another start); for each configuration
(arm x budget) a fresh engine with exactly its own budget and, for the default arm, vLLM's own scheduler (`cold`). The three are measured
in turn (two are idle while one is measured), so that drift of the machine cancels. again / live shows what one more start of the same
engine changes: memory layout and the like, which no number of rounds averages out; cold / live holds that, too.

Equivalence: the whole 95 % interval of cold / live lies within +-3 %. Exit status 1 if a configuration differs by more than that with
confidence, and by more than the starts of the same engine do.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from collections.abc import Mapping

from bench.lib.options import numbers
from bench.lib.real_engine import (
    START_TIMEOUT_S,
    clean_window,
    device_line,
    engine_settings,
    launcher,
    load_plan,
    say,
    tokens_per_second,
    warm_up,
)
from tuner.core.contract import ARM_DEFAULT, ARMS, LiveSettings, LoadPlan, WindowResult
from tuner.launchers.local import LocalSession
from tuner.stats.intervals import log_mean_interval, paired_log_ratios

TOLERANCE = 0.03
type Ratio = tuple[float, float, float]  # geometric mean, low, high


def in_turn(sessions: Mapping[str, LocalSession], setting: LiveSettings, plan: LoadPlan, rounds: int, seed: int) -> dict[str, Ratio]:
    """Ratio of total token throughput to that of the session `live`, for each other session."""
    for session in sessions.values():
        warm_up(session, setting, plan)
    windows: dict[str, dict[int, WindowResult]] = {name: {} for name in sessions}
    order = random.Random(seed)
    for round_ in range(rounds):
        for name in order.sample(sorted(sessions), len(sessions)):
            windows[name][round_] = clean_window(sessions[name], setting, plan)
    rates = {name: tokens_per_second(found) for name, found in windows.items()}
    return {name: _ratio(rates["live"], found) for name, found in rates.items() if name != "live"}


def _ratio(baseline: Mapping[int, float], candidate: Mapping[int, float]) -> Ratio:
    ratios = [math.exp(value) for value in paired_log_ratios(baseline, candidate).values()]
    interval = log_mean_interval(ratios)
    assert interval is not None
    return math.exp(sum(map(math.log, ratios)) / len(ratios)), *interval


def text(ratio: Ratio) -> str:
    return f"{ratio[0]:.3f} [{ratio[1]:.3f}, {ratio[2]:.3f}]"


def within(ratio: Ratio) -> str:
    if ratio[1] >= 1 - TOLERANCE and ratio[2] <= 1 + TOLERANCE:
        return "yes"
    return "no" if ratio[2] < 1 - TOLERANCE or ratio[1] > 1 + TOLERANCE else "undecided"


def measure(args: argparse.Namespace) -> dict[str, dict[str, Ratio]]:
    """Configuration -> {"again", "cold"} -> ratio to live."""
    found: dict[str, dict[str, Ratio]] = {}
    with launcher() as opened:
        for page in args.page_sizes:
            wide = engine_settings(page, args.compiled_maximum)
            plan = load_plan(args.workload, wide)
            live = opened.open(wide, START_TIMEOUT_S)
            kv_write = live.report.effective["kv_write"] or "auto"
            again = opened.open(wide.with_changes(kv_write=kv_write), START_TIMEOUT_S)
            for budget in args.budgets:
                for arm in ARMS:
                    say(f"page size {page}, budget {budget}, {arm}")
                    own = wide.with_changes(max_num_batched_tokens=budget, kv_write=kv_write, alignable=arm != ARM_DEFAULT)
                    cold = opened.open(own, START_TIMEOUT_S)
                    sessions = {"live": live, "again": again, "cold": cold}
                    found[f"page {page}, budget {budget}, {arm}"] = in_turn(sessions, LiveSettings(arm, budget), plan, args.rounds, budget)
                    cold.close()
            live.close()
            again.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page-sizes", type=numbers, default=[32, 128])
    parser.add_argument("--budgets", type=numbers, default=[128, 256])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--compiled-maximum", type=int, default=512)
    parser.add_argument("--workload", default="demo")
    args = parser.parse_args()
    found = measure(args)
    print(f"Device: {device_line()}; workload {args.workload}; {args.rounds} rounds; total token throughput, 95 % intervals\n")
    print("| configuration | again / live | cold / live | cold within +-3 % |\n|---|---|---|---|")
    for label, ratios in found.items():
        print(f"| {label} | {text(ratios['again'])} | {text(ratios['cold'])} | {within(ratios['cold'])} |")
    for name in ("again", "cold"):
        logs = [math.log(ratios[name][0]) for ratios in found.values()]
        mean = math.fsum(logs) / len(logs)
        low, high = log_mean_interval([math.exp(value) for value in logs]) or (0.0, math.inf)
        spread = math.sqrt(math.fsum((value - mean) ** 2 for value in logs) / (len(logs) - 1))
        overall = (math.exp(mean), low, high)
        print(f"\n{name} / live over {len(logs)} configurations: {text(overall)}, within +-3 %: {within(overall)}; spread {spread:.3f}")
    starts = max(abs(math.log(ratios["again"][0])) for ratios in found.values())
    worse = [label for label, ratios in found.items() if within(ratios["cold"]) == "no" and abs(math.log(ratios["cold"][0])) > starts]
    print(f"\ndiffer by more than 3 % and more than the starts of one engine do: {', '.join(worse) or 'none'}")
    sys.exit(1 if worse else 0)


if __name__ == "__main__":
    main()

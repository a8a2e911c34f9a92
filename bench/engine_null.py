"""How reliable the verdicts are on the real engine: A/A cells, and a planted slowdown of 3 % of the step.

    python -m bench.engine_null [--page-sizes 16,32,64,128] [--budgets 128,160,...] [--rounds 8]
    [--planted-rounds 80] [--parts both|null|planted]

A/A: both arms run the same schedule in randomised interleaved rounds; a verdict "better" or "worse" is wrong. Planted: one arm waits 3 %
of the previous step's time in every step (bench/lib/planted.py); the interval of the mean step time should exclude 1 and cover 1.03. Exit
status 1 if more than 5 % of the A/A cells get a wrong verdict or the planted slowdown is not found.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter

from bench.lib.options import numbers
from bench.lib.real_engine import START_TIMEOUT_S, device_line, engine_settings, interleaved, launcher, load_plan, mean_step_ms, say
from tuner.core.contract import ARM_DEFAULT, ARM_PAGE_ALIGNED, LiveSettings
from tuner.launchers.local import LocalLauncher
from tuner.metrics.catalog import Direction
from tuner.stats.intervals import Effect, judge, judge_family, paired_log_ratios
from tuner.stats.pooling import pool
from tuner.stats.samples import sample_of

WORKLOAD = "synthetic:input=33-280,output=8-16,requests=12,concurrency=8,seed=3"
BUDGETS = [128, 160, 192, 224, 256, 320, 352, 384, 448, 512]
PLANTED_RATIO = 1.03
MAX_WRONG_SHARE = 0.05
type Cell = tuple[int, int]


def measure(opened: LocalLauncher, scheduler: str, pages: list[int], budgets: list[int], rounds: int) -> dict[Cell, list[float]]:
    """Log-ratios page_aligned / default of the mean step time, by cell."""
    found: dict[Cell, list[float]] = {}
    for page in pages:
        say(f"{scheduler}, page size {page}")
        settings = engine_settings(page, max(budgets), extra_engine_args={"scheduler_cls": f"bench.lib.planted.{scheduler}"})
        session = opened.open(settings, START_TIMEOUT_S)
        live = [LiveSettings(arm, budget) for budget in budgets for arm in (ARM_DEFAULT, ARM_PAGE_ALIGNED)]
        windows = interleaved(session, live, load_plan(WORKLOAD, settings), rounds, seed=page)
        session.close()
        for budget in budgets:
            arms = (mean_step_ms(windows[LiveSettings(arm, budget)]) for arm in (ARM_DEFAULT, ARM_PAGE_ALIGNED))
            found[page, budget] = list(paired_log_ratios(*arms).values())
    return found


def row(label: str, effect: Effect) -> str:
    assert effect.ratio is not None and effect.low is not None and effect.high is not None
    return f"| {label} | {effect.pairs} | {effect.ratio:.4f} | {effect.low:.4f} to {effect.high:.4f} | {effect.verdict.value} |"


def report_null(null: dict[Cell, list[float]], rounds: int) -> bool:
    """Print the A/A verdicts; whether few enough of them are wrong."""
    effects = judge_family(null, Direction.MINIMIZE)
    wrong = [effect for effect in effects.values() if effect.verdict.value in ("better", "worse")]
    spread = sorted(abs(effect.ratio - 1) for effect in effects.values() if effect.ratio is not None)
    noise = sorted(effect.sd for effect in effects.values() if effect.sd is not None)
    print(
        f"A/A: {len(effects)} cells, {rounds} rounds: {len(wrong)} wrong verdicts; median |ratio - 1| {spread[len(spread) // 2]:.4f}, "
        f"median standard deviation of a log-ratio {noise[len(noise) // 2]:.3f}"
    )
    counts = Counter(effect.verdict.value for effect in effects.values())
    print("A/A verdicts: " + ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common()))
    alone = sum(judge(values, Direction.MINIMIZE).verdict.value in ("better", "worse") for values in null.values())
    print(f"without the correction for many cells: {alone} wrong\n")
    return len(wrong) <= MAX_WRONG_SHARE * len(effects)


def report_planted(planted: dict[Cell, list[float]]) -> bool:
    """Print the planted slowdown by cell and pooled; whether it was found and covered."""
    print("| planted +3 % | pairs | ratio | 95 % interval | verdict |\n|---|---|---|---|---|")
    for (page, budget), effect in judge_family(planted, Direction.MINIMIZE).items():
        print(row(f"page {page}, budget {budget}", effect))
    pooled = pool([sample_of(values) for values in planted.values()], Direction.MINIMIZE)
    assert pooled is not None
    found = pooled.low > 1 and pooled.low <= PLANTED_RATIO <= pooled.high
    print(f"\nplanted, pooled over cells: {pooled.ratio:.4f} ({pooled.low:.4f} to {pooled.high:.4f}); found and covered: {found}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page-sizes", type=numbers, default=[16, 32, 64, 128])
    parser.add_argument("--budgets", type=numbers, default=BUDGETS)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--planted-rounds", type=int, default=80)
    parser.add_argument("--parts", choices=["both", "null", "planted"], default="both")
    args = parser.parse_args()
    held = True
    with launcher() as opened:
        null = measure(opened, "SameArms", args.page_sizes, args.budgets, args.rounds) if args.parts != "planted" else {}
        slower = (
            measure(opened, "ThreePercentSlower", args.page_sizes[-1:], args.budgets[::3], args.planted_rounds)
            if args.parts != "null"
            else {}
        )
    print(f"Device: {device_line()}; workload {WORKLOAD}; mean step time, arm B / arm A\n")
    if null:
        held &= report_null(null, args.rounds)
    if slower:
        held &= report_planted(slower)
    sys.exit(0 if held else 1)


if __name__ == "__main__":
    main()

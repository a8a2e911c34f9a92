"""The headline: what page alignment does per step and end to end, split into the effect of scheduling and that of the KV write.

    python -m bench.page_alignment [--dtypes float32,bfloat16] [--page-sizes 16,64,128] [--budgets 128,256,512] [--rounds 20]
    [--workload demo] [--sessions 6] [--kv-write auto]

In each engine three arms run in randomised interleaved rounds: `default` (vLLM's schedule, token-wise write), `page_aligned_token_write`
(aligned schedule, token-wise write) and `page_aligned`. Scheduling effect = second / first; KV-write effect = third / second (the same
schedule, step by step); total = third / first. Ratios with 95 % intervals over rounds, of total token throughput (above 1 is better) and
of mean step time (below 1 is better); what has no verdict is inconclusive. The row "all" pools the cells of a dtype. The last table
(bench.lib.profiled_write) reads from XLA profiles which part of a prefill step the KV write is, and what of it page-wise writing saves.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from bench.lib.options import numbers
from bench.lib.profiled_write import ProfiledWrite, profiled_write
from bench.lib.real_engine import (
    START_TIMEOUT_S,
    Windows,
    device_line,
    engine_settings,
    interleaved,
    launcher,
    load_plan,
    mean_step_ms,
    say,
    tokens_per_second,
)
from tuner.core.contract import ABLATION_ARM, ARM_DEFAULT, ARM_PAGE_ALIGNED, LiveSettings, WindowResult
from tuner.metrics.catalog import Direction
from tuner.stats.intervals import Effect, Verdict, judge_family, paired_log_ratios
from tuner.stats.pooling import PooledEffect, pool
from tuner.stats.samples import sample_of

PARTS = {
    "scheduling": (ARM_DEFAULT, ABLATION_ARM),
    "KV write": (ABLATION_ARM, ARM_PAGE_ALIGNED),
    "total": (ARM_DEFAULT, ARM_PAGE_ALIGNED),
}
METRICS: dict[str, tuple[Callable[[Mapping[int, WindowResult]], dict[int, float]], Direction]] = {
    "tokens/s": (tokens_per_second, Direction.MAXIMIZE),
    "step ms": (mean_step_ms, Direction.MINIMIZE),
}
type Key = tuple[str, int, int, str, str]  # dtype, page size, budget, metric, part


def log_ratios(windows: Windows, dtype: str, page: int, budgets: list[int]) -> dict[Key, list[float]]:
    """Paired log-ratios of every part and metric of one engine's cells."""
    found: dict[Key, list[float]] = {}
    for budget in budgets:
        for metric, (measure, _) in METRICS.items():
            for part, (baseline, candidate) in PARTS.items():
                pairs = paired_log_ratios(
                    measure(windows[LiveSettings(baseline, budget)]), measure(windows[LiveSettings(candidate, budget)])
                )
                found[dtype, page, budget, metric, part] = list(pairs.values())
    return found


def cell_text(effect: Effect | PooledEffect | None) -> str:
    """The ratio with its interval; the verdict where there is one."""
    if effect is None or effect.ratio is None or effect.low is None or effect.high is None:
        return "no pair"
    verdict = f" **{effect.verdict.value}**" if effect.verdict is not Verdict.INCONCLUSIVE else ""
    return f"{effect.ratio:.3f} [{effect.low:.3f}, {effect.high:.3f}]{verdict}"


def print_effects(metric: str, ratios: dict[Key, list[float]], steps: dict[tuple[str, int, int], str]) -> None:
    """One row a cell and one for all cells of a dtype; the family of the interval correction is all cells of one part."""
    _, direction = METRICS[metric]
    effects: dict[Key, Effect] = {}
    for part in PARTS:
        effects |= judge_family({key: values for key, values in ratios.items() if key[3:] == (metric, part)}, direction)
    print(f"\n{metric} ({'above' if direction is Direction.MAXIMIZE else 'below'} 1 is better):\n")
    print(f"| dtype | page | budget | steps default / aligned | {' | '.join(PARTS)} |")
    print("|" + "---|" * (4 + len(PARTS)))
    cells = sorted({key[:3] for key in ratios})
    for dtype in dict.fromkeys(cell[0] for cell in cells):
        for cell in (each for each in cells if each[0] == dtype):
            texts = [cell_text(effects[*cell, metric, part]) for part in PARTS]
            print(f"| {dtype} | {cell[1]} | {cell[2]} | {steps[cell]} | {' | '.join(texts)} |")
        pooled = [pool([sample_of(ratios[*cell, metric, part]) for cell in cells if cell[0] == dtype], direction) for part in PARTS]
        print(f"| {dtype} | all | all | | {' | '.join(map(cell_text, pooled))} |")


def print_writes(writes: dict[tuple[str, int], ProfiledWrite], implementations: dict[tuple[str, int], str]) -> None:
    """One row for each engine, at its largest budget."""
    print("\nThe KV write in a prefill step, from XLA profiles:\n")
    print(
        "| dtype | page | implementations | tokens a step | token-wise, fraction of the step | page-wise / token-wise | saved of the step |"
    )
    print("|" + "---|" * 7)
    for (dtype, page), found in writes.items():
        ceiling, saved = (f"{100 * a:.2f} % [{100 * b:.2f}, {100 * c:.2f}]" for a, b, c in (found.ceiling, found.saved))
        ratio = "{:.2f} [{:.2f}, {:.2f}]".format(*found.speedup)
        print(f"| {dtype} | {page} | {implementations[dtype, page]} | {found.tokens:.0f} | {ceiling} | {ratio} | {saved} |")
    print(f"\ndoubtful profiles: {sum(found.doubtful for found in writes.values())}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--page-sizes", type=numbers, default=[16, 64, 128])
    parser.add_argument("--budgets", type=numbers, default=[128, 256, 512])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--workload", default="demo")
    parser.add_argument("--sessions", "--captures", type=int, default=6, help="pairs of profile sessions an engine, 2 or more")
    parser.add_argument(
        "--kv-write", default="auto", help="implementations of the two writes instead of those that the engine measured: scatter,loop"
    )
    args = parser.parse_args()
    ratios: dict[Key, list[float]] = {}
    implementations: dict[tuple[str, int], str] = {}
    steps: dict[tuple[str, int, int], str] = {}
    writes: dict[tuple[str, int], ProfiledWrite] = {}
    with launcher() as opened, tempfile.TemporaryDirectory(prefix="tuner-bench-") as folder:
        for dtype in args.dtypes.split(","):
            for page in args.page_sizes:
                say(f"{dtype}, page size {page}")
                settings = engine_settings(page, max(args.budgets), dtype=dtype, kv_write=args.kv_write)
                session = opened.open(settings, START_TIMEOUT_S)
                live = [LiveSettings(arm, budget) for budget in args.budgets for arm in (ARM_DEFAULT, ABLATION_ARM, ARM_PAGE_ALIGNED)]
                plan = load_plan(args.workload, settings)
                windows = interleaved(session, live, plan, args.rounds)
                writes[dtype, page] = profiled_write(session, plan, max(args.budgets), args.sessions, Path(folder, f"{dtype}-{page}"))
                implementations[dtype, page] = session.report.effective["kv_write"]
                session.close()
                ratios |= log_ratios(windows, dtype, page, args.budgets)
                for budget in args.budgets:
                    counts = [len(windows[LiveSettings(arm, budget)][0].steps) for arm in (ARM_DEFAULT, ARM_PAGE_ALIGNED)]
                    steps[dtype, page, budget] = " / ".join(map(str, counts))
    print(f"\nDevice: {device_line()}; workload {args.workload}, {args.rounds} rounds")
    for metric in METRICS:
        print_effects(metric, ratios, steps)
    print_writes(writes, implementations)


if __name__ == "__main__":
    main()

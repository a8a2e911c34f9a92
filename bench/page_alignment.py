"""The headline: what page alignment does per step and end to end, split into the effect of scheduling and that of the KV write.

    python -m bench.page_alignment [--dtypes float32,bfloat16] [--page-sizes 16,64,128] [--budgets 128,256,512] [--rounds 10]
    [--workload demo] [--captures 4]

In each engine three arms run in randomised interleaved rounds: `default` (vLLM's schedule, token-wise write), `page_aligned_token_write`
(aligned schedule, token-wise write) and `page_aligned`. Scheduling effect = second / first; KV-write effect = third / second (the same
schedule, step by step); total = third / first. Ratios with 95 % intervals over rounds, of total token throughput (above 1 is better) and
of mean step time (below 1 is better). A second table (bench.profiled_write) reads from XLA profiles which part of a prefill step the KV
write is, and what of it page-wise writing saves.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from bench.profiled_write import ProfiledWrite, profiled_write
from bench.real_engine import (
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
from tuner.launchers.base import ABLATION_ARM, ARM_DEFAULT, ARM_PAGE_ALIGNED, LiveSettings, WindowResult
from tuner.metric_catalog import Direction
from tuner.statistics import Effect, judge_family, paired_log_ratios

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


def numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


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


def cell_text(effect: Effect) -> str:
    if effect.ratio is None or effect.low is None or effect.high is None:
        return "no pair"
    return f"{effect.ratio:.3f} [{effect.low:.3f}, {effect.high:.3f}] {effect.verdict.value}"


def print_table(ratios: dict[Key, list[float]], forms: dict[tuple[str, int], str], steps: dict[tuple[str, int, int], str]) -> None:
    """One row a cell; the family of the interval correction is all cells of one metric and part."""
    effects: dict[Key, Effect] = {}
    for metric, (_, direction) in METRICS.items():
        for part in PARTS:
            family = {key: values for key, values in ratios.items() if key[3:] == (metric, part)}
            effects |= judge_family(family, direction)
    print(f"\nDevice: {device_line()}\n")
    heads = [f"{metric}: {part}" for metric in METRICS for part in PARTS]
    print("| dtype | page | budget | KV write forms | steps default / aligned | " + " | ".join(heads) + " |")
    print("|" + "---|" * (5 + len(heads)))
    for dtype, page, budget in sorted({key[:3] for key in ratios}):
        texts = [cell_text(effects[dtype, page, budget, metric, part]) for metric in METRICS for part in PARTS]
        print(f"| {dtype} | {page} | {budget} | {forms[dtype, page]} | {steps[dtype, page, budget]} | " + " | ".join(texts) + " |")


def print_writes(writes: dict[tuple[str, int, int], ProfiledWrite]) -> None:
    """One row for each engine, at its largest budget."""
    print("\n| dtype | page | budget | tokens a step | write: token-wise, share of the step | page-wise / token-wise | saved of the step |")
    print("|" + "---|" * 7)
    for (dtype, page, budget), found in writes.items():
        ceiling, saved = (f"{100 * a:.2f} % [{100 * b:.2f}, {100 * c:.2f}]" for a, b, c in (found.ceiling, found.saved))
        ratio = "{:.2f} [{:.2f}, {:.2f}]".format(*found.speedup)
        print(f"| {dtype} | {page} | {budget} | {found.tokens:.0f} | {ceiling} | {ratio} | {saved} |")
    print(f"\ndoubtful captures: {sum(found.doubtful for found in writes.values())}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--page-sizes", type=numbers, default=[16, 64, 128])
    parser.add_argument("--budgets", type=numbers, default=[128, 256, 512])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--workload", default="demo")
    parser.add_argument("--captures", type=int, default=4, help="pairs of profiles an engine, 2 or more")
    args = parser.parse_args()
    ratios: dict[Key, list[float]] = {}
    forms: dict[tuple[str, int], str] = {}
    steps: dict[tuple[str, int, int], str] = {}
    writes: dict[tuple[str, int, int], ProfiledWrite] = {}
    with launcher() as opened, tempfile.TemporaryDirectory(prefix="tuner-bench-") as folder:
        for dtype in args.dtypes.split(","):
            for page in args.page_sizes:
                say(f"{dtype}, page size {page}")
                settings = engine_settings(page, max(args.budgets), dtype=dtype)
                session = opened.open(settings, START_TIMEOUT_S)
                live = [LiveSettings(arm, budget) for budget in args.budgets for arm in (ARM_DEFAULT, ABLATION_ARM, ARM_PAGE_ALIGNED)]
                plan = load_plan(args.workload, settings)
                windows = interleaved(session, live, plan, args.rounds)
                budget = max(args.budgets)
                writes[dtype, page, budget] = profiled_write(session, plan, budget, args.captures, Path(folder, f"{dtype}-{page}"))
                forms[dtype, page] = session.report.effective["kv_write"]
                session.close()
                ratios |= log_ratios(windows, dtype, page, args.budgets)
                for budget in args.budgets:
                    counts = [len(windows[LiveSettings(arm, budget)][0].steps) for arm in (ARM_DEFAULT, ARM_PAGE_ALIGNED)]
                    steps[dtype, page, budget] = " / ".join(map(str, counts))
    print_table(ratios, forms, steps)
    print_writes(writes)


if __name__ == "__main__":
    main()

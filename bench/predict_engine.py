"""Predicted against measured on the real engine: mean step, throughput and time to first token of configurations that were left out.

    python -m bench.predict_engine --record FILE [--rounds 12] [--minutes 20]      measure (an engine for each page size), then print
    python -m bench.predict_engine --measured FILE [--leave-out cell|budget]      print from what was measured before

Measured: page sizes x chunk budgets x requests at once x arms under each workload, in rounds that visit all of them
(bench.lib.recorded_windows). In a closed loop a configuration's numbers are those of its typical window, in which each step takes its
median over the rounds (bench.lib.typical_window); in an open one, and with --windows everywhere, medians over its windows. Predicted: a
cell (page size, chunk budget and max_num_seqs, both arms, all workloads) is left out; step costs are fitted on the steps of all others
(tuner.foresight.engine_steps); vLLM's real scheduler plays the workloads under them (the launcher of `tuner simulate`). --leave-out budget
leaves a budget out at all page sizes.
Bars: median absolute error at most 8 %, rank correlation at least 0.9, 90 % in the 90 % intervals. Exit status 1 where one is missed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.lib.held_out import Comparison, coverage, intervals, median_error, spearman
from bench.lib.options import numbers
from bench.lib.real_engine import START_TIMEOUT_S, WINDOW_TIMEOUT_S, say
from bench.lib.recorded_windows import Grid, Place, Recorded, read, record
from bench.lib.typical_window import decisions, typical_window
from tuner.core.contract import WindowResult
from tuner.foresight.engine_steps import StepFit, fit_steps
from tuner.foresight.simulated_chip import SimulatedChip
from tuner.launchers.simulate import SimulatedSession, SimulateLauncher
from tuner.metrics.window import window_metrics
from tuner.setup.models import resolve_model

METRICS = ("mean_step_ms", "total_token_throughput", "ttft_p50_ms")
SHORT = {"mean_step_ms": "step ms", "total_token_throughput": "tokens/s", "ttft_p50_ms": "TTFT p50 ms"}
WORKLOADS = (
    "synthetic:input=17-400,output=4-20,requests=12,concurrency=6,prefix_share=0.25,prefix_groups=2,seed=1",
    "synthetic:input=200-440,output=2-10,requests=12,concurrency=4,prefix_share=0.6,prefix_groups=3,seed=2",
)
WORST_ERROR, LEAST_ORDER, LEAST_COVERED = 0.08, 0.9, 0.9
FOLDS: Mapping[str, Callable[[Place], Hashable]] = {"cell": lambda place: place.cell, "budget": lambda place: place.budget}

type Values = Mapping[Place, Mapping[str, float]]


@dataclass(frozen=True)
class Judged:
    """All configurations of one workload in one metric; `items` in the order of `places`."""

    workload: str
    metric: str
    places: Sequence[Place]
    items: Sequence[Comparison]

    @property
    def misses(self) -> list[str]:
        found = []
        if median_error(self.items) > WORST_ERROR:
            found.append(f"median error above {WORST_ERROR:.0%}")
        if not spearman(self.items) >= LEAST_ORDER:
            found.append(f"rank correlation below {LEAST_ORDER}")
        if coverage(self.items) < LEAST_COVERED:
            found.append(f"fewer than {LEAST_COVERED:.0%} inside")
        return found


def by_place(windows: Sequence[Recorded]) -> dict[Place, list[WindowResult]]:
    found: dict[Place, list[WindowResult]] = {}
    for item in windows:
        found.setdefault(item.place, []).append(item.window)
    return found


def typical(windows: Mapping[Place, Sequence[WindowResult]]) -> dict[Place, Sequence[WindowResult]]:
    """One typical window of each configuration; all of them where they are not alike, step by step."""
    return {place: some if (one := typical_window(some)) is None else [one] for place, some in windows.items()}


def values(windows: Mapping[Place, Sequence[WindowResult]]) -> dict[Place, dict[str, float]]:
    """Medians over the windows of each configuration."""
    metrics = {place: [window_metrics(window) for window in some] for place, some in windows.items()}
    return {place: {name: float(np.median([each[name] for each in some])) for name in METRICS} for place, some in metrics.items()}


def spread(windows: Mapping[Place, Sequence[WindowResult]]) -> float:
    """How much one window's mean step varies: the standard deviation of its logarithm, the median over configurations."""
    return float(np.median([np.std(np.log([window_metrics(each)["mean_step_ms"] for each in some])) for some in windows.values()]))


def predicted_values(
    grid: Grid, windows: Mapping[Place, Sequence[WindowResult]], fold_of: Callable[[Place], Hashable]
) -> dict[Place, dict[str, float]]:
    """Of every configuration, by step costs from the other folds."""
    fits: dict[tuple[int, Hashable], StepFit] = {}
    for page, fold in sorted({(place.page, fold_of(place)) for place in windows}, key=str):
        seen = [window for place, some in windows.items() if fold_of(place) != fold for window in some]
        fits[page, fold] = fit_steps(seen, f"without {fold}")
    found: dict[Place, dict[str, float]] = {}
    plans, same = grid.plans(), 0
    for page, fold, fitted, session in simulations(grid, fits):
        for place in (place for place in windows if place.page == page and fold_of(place) == fold):
            plan = plans[place.workload]
            window = session.simulate(place.live, plan, WINDOW_TIMEOUT_S, seed=(0,))
            same += sum(decisions(window) == decisions(each) for each in windows[place])
            metrics = window_metrics(window)
            found[place] = {name: metrics[name] for name in METRICS}
            found[place]["mean_step_ms"] -= 1000 * fitted.between_s
    say(f"decisions as the engine's, step by step, in {same} of {sum(map(len, windows.values()))} windows")
    return found


def simulations(grid: Grid, fits: Mapping[tuple[int, Hashable], StepFit]) -> Iterator[tuple[int, Hashable, StepFit, SimulatedSession]]:
    """A simulated engine for each fit, one after the other; its page size is the first part of the key."""
    features = resolve_model(grid.settings(grid.pages[0]).model).features
    with tempfile.TemporaryDirectory(prefix="tuner-bench-") as folder, ExitStack() as ending:
        launcher: SimulateLauncher | None = None
        for (page, fold), fitted in fits.items():
            chip = SimulatedChip("engine", limits=None, devices=1, times=None, given=fitted.costs)
            if launcher is None:
                launcher = SimulateLauncher(chip, log_dir=Path(folder))
                ending.callback(launcher.close)
            launcher.chip = chip
            session = launcher.open_for(grid.settings(page), features, START_TIMEOUT_S)
            yield page, fold, fitted, session
            session.close()


def judged(workloads: Sequence[str], measured: Values, predicted: Values, fold_of: Callable[[Place], Hashable]) -> list[Judged]:
    """Every workload and metric, in order."""
    found = []
    for workload in workloads:
        places = sorted(place for place in measured if place.workload == workload)
        for metric in METRICS:
            items = [Comparison(fold_of(place), measured[place][metric], predicted[place][metric]) for place in places]
            found.append(Judged(workload, metric, places, items))
    return found


def print_places(workload: str, found: Sequence[Judged]) -> None:
    """One row a configuration; of each metric what was measured, what was predicted with its interval, and the error."""
    print(f"\n{workload}\n")
    print(f"| page | budget | requests | arm | {' | '.join(f'{SHORT[each.metric]} | predicted | error' for each in found)} |")
    print("|" + "---|" * (4 + 3 * len(found)))
    spans = [intervals(each.items) for each in found]
    for index, place in enumerate(found[0].places):
        cells = [str(place.page), str(place.budget), str(place.seqs), place.arm]
        for each, span in zip(found, spans, strict=True):
            item, (low, high) = each.items[index], span[index]
            cells += [_short(item.measured), f"{_short(item.predicted)} [{_short(low)}, {_short(high)}]", f"{100 * item.error:+.1f} %"]
        print(f"| {' | '.join(cells)} |")


def print_sums(title: str, found: Sequence[Judged]) -> None:
    print(f"\n{title}:\n")
    print("| workload | metric | configurations | median error | rank correlation | inside the 90 % interval | bars |")
    print("|" + "---|" * 7)
    for number, workload in enumerate(dict.fromkeys(each.workload for each in found), start=1):
        for each in (each for each in found if each.workload == workload):
            words = "met" if not each.misses else f"missed: {', '.join(each.misses)}"
            sums = f"{median_error(each.items):.1%} | {spearman(each.items):.3f} | {coverage(each.items):.1%}"
            print(f"| {number} | {SHORT[each.metric]} | {len(each.items)} | {sums} | {words} |")


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--record", type=Path, help="measure, and keep the windows in this new file (.jsonl.gz)")
    source.add_argument("--measured", type=Path, help="a file that --record wrote")
    parser.add_argument("--page-sizes", type=numbers, default=[16, 64, 128])
    parser.add_argument("--budgets", type=numbers, default=[128, 256, 512])
    parser.add_argument("--max-num-seqs", type=numbers, default=[2, 8])
    parser.add_argument("--workloads", nargs="+", default=list(WORKLOADS))
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--minutes", type=float, default=20.0, help="no round begins later")
    parser.add_argument("--windows", action="store_true", help="judge by the medians of whole windows, too, and fit on all of them for it")
    parser.add_argument("--leave-out", choices=FOLDS, default="cell")
    args = parser.parse_args()
    if args.record is not None:
        grid = Grid(tuple(args.page_sizes), tuple(args.budgets), tuple(args.max_num_seqs), tuple(args.workloads))
        record(grid, args.record, rounds=args.rounds, most_s=60 * args.minutes)
    grid, recorded = read(args.record or args.measured)
    windows, fold_of = by_place(recorded), FOLDS[args.leave_out]
    counts = sorted({len(some) for some in windows.values()})
    print(f"Device: {grid.device}; {' to '.join(map(str, counts))} windows a configuration; left out: a {args.leave_out}")
    print(f"The mean step of a single window varies by {spread(windows):.0%}.")
    done = typical(windows)
    found = judged(grid.workloads, values(done), predicted_values(grid, done, fold_of), fold_of)
    for workload in grid.workloads:
        print_places(workload, [each for each in found if each.workload == workload])
    print_sums("Against each configuration's typical window", found)
    if args.windows:
        against = judged(grid.workloads, values(windows), predicted_values(grid, windows, fold_of), fold_of)
        print_sums("Against the medians of its windows", against)
    return 1 if any(each.misses for each in found) else 0


if __name__ == "__main__":
    sys.exit(main())

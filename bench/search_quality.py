"""How many trials a search needs to come within 2 % of the best: our sampler, Optuna's and random search on measured tables.

    python -m bench.search_quality [--tables SS-D,SS-I] [--skip-gp] [--first-seed 1000] [--data ../shared/data/search]

Prints the tables of docs/benchmarks.md. A run ends with the first measurement of a configuration whose true mean is within 2 % of the
best, or is given up after `cap` trials; it then counts as `cap`, although it would have needed more. Every measurement is a trial, also
a repeat and a failure. Optuna's samplers do not know which combinations exist. To ask for one that is not in the table is free (the trial
is told as failed); after eight such asks in a row they get a random configuration that exists.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import optuna
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.trial import TrialState

from tuner.launchers.measured_table import MeasuredTable, Noise
from tuner.launchers.table_files import load_table
from tuner.sampler.ordinal_gp import OrdinalGpSampler

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "search"
FOLDER = "SEARCH_QUALITY_DATA"  # how the worker process learns of --data
WITHIN = 0.02
RANDOM, DISTINCT, TPE, GP, OURS = "random", "random, no repeats", "Optuna TPE", "Optuna GP", "ours"
FREE_ASKS = 8
BOOTSTRAP = 4000


@dataclass(frozen=True)
class Problem:
    """`cap`: trials after which a run is given up; random search gets more, it is cheap. The noise is the table's own repeats."""

    name: str
    file: str
    metric: str
    seeds: int
    cap: int
    gp_cap: int = 0  # 0: Optuna's GP is too slow here


PROBLEMS = (
    Problem("SS-C", "moot/SS-C.csv", "Throughput", seeds=30, cap=300),
    Problem("SS-D", "moot/SS-D.csv", "Throughput", seeds=100, cap=400, gp_cap=60),
    Problem("SS-I", "moot/SS-I.csv", "Throughput", seeds=100, cap=500, gp_cap=100),
    Problem("convolution", "benchmark_hub/convolution_milo__A100.json.gz", "time", seeds=30, cap=300),
)
RANDOM_CAP = 20_000
RANDOM_SEEDS = 1000
GP_SEEDS = 20


@dataclass(frozen=True)
class Run:
    """`trials`, `failed` among them, and `cost_s` by the table until the end; `reached` is false for a run that was given up."""

    trials: int
    cost_s: float
    failed: int
    reached: bool


@cache
def table_of(problem: Problem) -> MeasuredTable:
    return load_table(Path(os.environ.get(FOLDER, DATA)) / problem.file)


def seeds_of(problem: Problem, sampler: str) -> int:
    """Fewer where a run is dear: the spread between seeds is wide, so that more are better."""
    if sampler in (RANDOM, DISTINCT):
        return RANDOM_SEEDS
    return GP_SEEDS if sampler == GP else problem.seeds


def run(problem: Problem, sampler: str, seed: int) -> Run:
    table = table_of(problem)
    if sampler in (RANDOM, DISTINCT):
        return run_random(table, problem, seed, repeats=sampler == RANDOM)
    cap = problem.gp_cap if sampler == GP else problem.cap
    return run_study(table, problem.metric, make_sampler(sampler, table, seed), seed, cap)


def make_sampler(name: str, table: MeasuredTable, seed: int) -> BaseSampler:
    match name:
        case "Optuna TPE":
            return TPESampler(seed=seed)
        case "Optuna GP":
            return GPSampler(seed=seed)
        case "ours":
            return OrdinalGpSampler(table.distributions(), seed=seed, contains=table.contains)
    return RandomSampler(seed=seed)


def run_random(table: MeasuredTable, problem: Problem, seed: int, *, repeats: bool) -> Run:
    """Uniform over the configurations that exist, which is what Optuna's RandomSampler draws there."""
    rng = np.random.default_rng([seed, repeats])
    size = len(table.configurations)
    order = rng.integers(size, size=RANDOM_CAP) if repeats else rng.permutation(size)
    best = table.best(problem.metric)[1]
    cost_s, failed = 0.0, 0
    for trials, position in enumerate(order, start=1):
        configuration = table.configurations[position]
        cost_s += configuration.start_s + configuration.measure_s
        failed += configuration.failure is not None
        if not configuration.failure and abs(statistics.fmean(configuration.samples[problem.metric]) - best) <= WITHIN * abs(best):
            return Run(trials, cost_s, failed, reached=True)
    return Run(len(order), cost_s, failed, reached=False)


def run_study(table: MeasuredTable, metric: str, sampler: BaseSampler, seed: int, cap: int) -> Run:
    study = optuna.create_study(direction="maximize" if table.directions[metric].sign > 0 else "minimize", sampler=sampler)
    distributions, rng = table.distributions(), np.random.default_rng([seed, 1])
    best = table.best(metric)[1]
    trials, failed, cost_s, missing = 0, 0, 0.0, 0
    while trials < cap:
        trial = study.ask(distributions)
        if not table.contains(trial.params):
            study.tell(trial, state=TrialState.FAIL)
            missing += 1
            if missing % FREE_ASKS == 0:
                study.enqueue_trial(table.configurations[rng.integers(len(table.configurations))].params)
            continue
        trials, missing = trials + 1, 0
        result = table.evaluate(trial.params, seed=seed * RANDOM_CAP + trials, noise=Noise("resample"))
        cost_s += result.cost_s
        if result.failure:
            failed += 1
            study.tell(trial, state=TrialState.FAIL)
            continue
        study.tell(trial, result.values[metric])
        truth = table.truth(trial.params, metric)
        if truth is not None and abs(truth - best) <= WITHIN * abs(best):
            return Run(trials, cost_s, failed, reached=True)
    return Run(trials, cost_s, failed, reached=False)


def quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)


def interval(ours: Sequence[Run], theirs: Sequence[Run]) -> tuple[float, float, float]:
    """Ratio of the median numbers of trials and its 95 % percentile bootstrap interval; seeds are resampled on both sides."""
    rng = np.random.default_rng(0)
    sides = [np.array([run.trials for run in runs], dtype=float) for runs in (ours, theirs)]
    drawn = [np.median(rng.choice(side, size=(BOOTSTRAP, len(side))), axis=1) for side in sides]
    low, high = np.quantile(drawn[0] / drawn[1], [0.025, 0.975])
    return float(np.median(sides[0]) / np.median(sides[1])), float(low), float(high)


def given_up(runs: Sequence[Run]) -> bool:
    """The median itself is a run that was given up, so that the true median is higher."""
    return sum(run.reached for run in runs) <= len(runs) / 2


def print_runs(results: dict[tuple[str, str], list[Run]]) -> None:
    print("| table | sampler | seeds | median trials | quartiles | within the cap | median cost | median failed |")
    print("|---|---|---|---|---|---|---|---|")
    for (name, sampler), runs in results.items():
        trials = [run.trials for run in runs]
        low, median, high = np.quantile(trials, [0.25, 0.5, 0.75])
        more = "> " if given_up(runs) else ""
        cost, failed = statistics.median(run.cost_s for run in runs), statistics.median(run.failed for run in runs)
        reached = f"{sum(run.reached for run in runs)} of {len(runs)}"
        print(
            f"| {name} | {sampler} | {len(runs)} | {more}{median:.1f} | {low:.0f} to {high:.0f} | {reached} "
            f"| {more}{cost:.0f} s | {failed:.0f} |"
        )


def print_ratios(results: dict[tuple[str, str], list[Run]], names: Sequence[str]) -> bool:
    """The bar, table by table. True if it is met everywhere."""
    print("\n| table | ours / Optuna TPE | at most 0.5 | ours / random | ours / random without repeats | never worse than random |")
    print("|---|---|---|---|---|---|")
    fine = True
    for name in names:
        cells, ratios = [], []
        for other in (TPE, RANDOM, DISTINCT):
            ratio, low, high = interval(results[name, OURS], results[name, other])
            sign = "<= " if given_up(results[name, other]) else ""
            cells.append(f"{sign}{ratio:.2f} ({low:.2f} to {high:.2f})")
            ratios.append(ratio)
        half, not_worse = ratios[0] <= 0.5, max(ratios[1:]) <= 1
        fine = fine and half and not_worse
        verdicts = ["met" if met else "NOT met" for met in (half, not_worse)]
        print(f"| {name} | {cells[0]} | {verdicts[0]} | {cells[1]} | {cells[2]} | {verdicts[1]} |")
    return fine


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tables", default=",".join(problem.name for problem in PROBLEMS))
    parser.add_argument("--skip-gp", action="store_true", help="leave out Optuna's GP, which needs torch")
    parser.add_argument(
        "--first-seed", type=int, default=1000, help="another one gives independent runs; the sampler was designed on seeds below 100"
    )
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the tables, by default ../shared/data/search")
    arguments = parser.parse_args()
    chosen = [problem for problem in PROBLEMS if problem.name in arguments.tables.split(",")]
    if not arguments.data.is_dir() or not chosen:
        names = ", ".join(problem.name for problem in PROBLEMS)
        print(f"needs the tables in {arguments.data} (--data) and --tables of {names}", file=sys.stderr)
        return 2
    os.environ[FOLDER] = str(arguments.data)
    os.environ["OMP_NUM_THREADS"] = "1"  # for the process below, which starts afresh
    results: dict[tuple[str, str], list[Run]] = {}
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=quiet) as pool:
        for problem in chosen:
            for sampler in (RANDOM, DISTINCT, TPE, GP, OURS):
                if sampler == GP and (arguments.skip_gp or not problem.gp_cap):
                    continue
                seeds = range(arguments.first_seed, arguments.first_seed + seeds_of(problem, sampler))
                started = time.monotonic()
                work = [pool.submit(run, problem, sampler, seed) for seed in seeds]
                results[problem.name, sampler] = [item.result() for item in work]
                print(f"{problem.name}, {sampler}: {math.ceil(time.monotonic() - started)} s", file=sys.stderr)
    print_runs(results)
    return 0 if print_ratios(results, [problem.name for problem in chosen]) else 1


if __name__ == "__main__":
    sys.exit(main())

"""How many trials a search needs to come within 2 % of the best: our sampler, Optuna's and random search on measured tables.

    python -m bench.search_quality [--tables SS-D,SS-I] [--noise 0,5,20] [--seeds 20] [--gp] [--first-seed 1000] [--data FOLDER]
        [--keep FILE] [--only-others]

Prints the tables of docs/benchmarks.md. A run ends with the first measurement of a configuration whose true mean is within 2 % of the
best, or is given up after `--cap` trials; it then counts as the cap, although it would have needed more. `--noise` is the standard
deviation of a measurement in percent; at 0 it is that of the table's own repeats, where it has any. Optuna's samplers run as `tuner search`
runs them: a proposal that is known, or that is not in the table, costs no trial and is told what is known; after 24 of them in a row they
get a random configuration that is new. Random search draws without repeats. Runs of Optuna's samplers
take nearly all the time and do not change with ours: `--keep` writes them to a file and takes them from there.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.trial import TrialState

from bench.lib.options import numbers
from tuner.launchers.measured_table import MeasuredTable, Noise, Value
from tuner.launchers.table_files import load_table
from tuner.sampler.ordinal_gp import OrdinalGpSampler

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "search"
FOLDER = "SEARCH_QUALITY_DATA"  # how the worker process learns of --data
WITHIN = 0.02
RANDOM, TPE, GP, AUTO, OURS = "random", "Optuna TPE", "Optuna GP", "Optuna Auto", "ours"
FREE_ASKS = 24  # as tuner.search.proposer has it
BOOTSTRAP = 2000
REPEATS = Noise("resample")
HALF, ON_OFF_BAR = 0.5, 0.6
Samples = dict[str, list["Run"]]
"""Of one problem: sampler -> runs."""


@dataclass(frozen=True)
class Problem:
    """`on_off`: most parameters of the table are options that are on or off. `gp`: small enough for Optuna's GP."""

    table: str
    file: str
    metric: str
    on_off: bool = False
    gp: bool = False

    @property
    def name(self) -> str:
        return f"{self.table} {self.metric}"


def _stream_processors() -> Iterable[Problem]:
    for letter in "ACDFGI":
        for metric in ("Throughput", "Latency"):
            yield Problem(f"SS-{letter}", f"moot/SS-{letter}.csv", metric, gp=letter == "F")


PROBLEMS = (
    *_stream_processors(),
    Problem("SS-B", "moot/SS-B.csv", "mA"),
    Problem("SS-B", "moot/SS-B.csv", "mB"),
    Problem("SS-H", "moot/SS-H.csv", "Energy"),
    Problem("SS-H", "moot/SS-H.csv", "Inv_runtime", gp=True),
    Problem("convolution", "benchmark_hub/convolution_milo__A100.json.gz", "time"),
    Problem("Apache", "moot/Apache_AllMeasurements.csv", "Performance", on_off=True, gp=True),
    Problem("X264", "moot/X264_AllMeasurements.csv", "Performance", on_off=True),
    Problem("LLVM", "moot/LLVM.csv", "PERF", on_off=True, gp=True),
    Problem("HSQLDB", "moot/HSQLDB.csv", "Performance", on_off=True),
)
RANDOM_SEEDS = 4000
GP_SEEDS, GP_CAP = 5, 60


@dataclass(frozen=True)
class Run:
    """`trials` until the end; `reached` is false for a run that was given up. `ask_s`: seconds of the sampler for each of them."""

    trials: int
    reached: bool
    ask_s: float = 0.0


@cache
def table_of(problem: Problem) -> MeasuredTable:
    return load_table(Path(os.environ.get(FOLDER, DATA)) / problem.file)


def run(problem: Problem, sampler: str, seed: int, cap: int, noise: Noise) -> Run:
    table = table_of(problem)
    return run_study(table, problem.metric, make_sampler(sampler, table, seed), seed, cap, noise)


def make_sampler(name: str, table: MeasuredTable, seed: int) -> BaseSampler:
    match name:
        case "Optuna TPE":
            return TPESampler(seed=seed)
        case "Optuna GP":
            return GPSampler(seed=seed)
        case "Optuna Auto":  # what optunahub's samplers/auto_sampler takes in the first 250 trials of one objective
            return TPESampler(seed=seed, multivariate=True, constant_liar=True) if has_categories(table) else GPSampler(seed=seed)
    return OrdinalGpSampler(table.distributions(), seed=seed, configurations=[point.params for point in table.configurations])


def has_categories(table: MeasuredTable) -> bool:
    return any(isinstance(item, CategoricalDistribution) for item in table.distributions().values())


def random_runs(problem: Problem, seed: int) -> list[Run]:
    """Uniform over the configurations that exist, without repeats."""
    table, rng = table_of(problem), np.random.default_rng(seed)
    best = table.best(problem.metric)[1]
    means = [table.truth(point.params, problem.metric) for point in table.configurations]
    good = np.array([mean is not None and abs(mean - best) <= WITHIN * abs(best) for mean in means])
    return [Run(int(np.argmax(good[rng.permutation(len(good))])) + 1, reached=True) for _ in range(RANDOM_SEEDS)]


def run_study(table: MeasuredTable, metric: str, sampler: BaseSampler, seed: int, cap: int, noise: Noise = REPEATS) -> Run:
    study = optuna.create_study(direction="maximize" if table.directions[metric].sign > 0 else "minimize", sampler=sampler)
    distributions, rng = table.distributions(), np.random.default_rng([seed, 1])
    best = table.best(metric)[1]
    known: dict[tuple[Value, ...], float | None] = {}
    free, ask_s = 0, 0.0
    cap = min(cap, len(table.configurations))
    while len(known) < cap:
        started = time.perf_counter()
        trial = study.ask(distributions)
        ask_s += time.perf_counter() - started
        key = tuple(trial.params[name] for name in table.parameters)
        if key in known or not table.contains(trial.params):
            _tell(study, trial, known.get(key))
            free += 1
            if free % FREE_ASKS == 0:
                new = [point.params for point in table.configurations if tuple(point.params.values()) not in known]
                study.enqueue_trial(dict(new[rng.integers(len(new))]))
            continue
        free = 0
        known[key] = table.evaluate(trial.params, seed=seed * 2**20 + len(known), noise=noise).values.get(metric)
        _tell(study, trial, known[key])
        truth = table.truth(trial.params, metric)
        if truth is not None and abs(truth - best) <= WITHIN * abs(best):
            return Run(len(known), reached=True, ask_s=ask_s / len(known))
    return Run(cap, reached=False, ask_s=ask_s / cap)


def _tell(study: optuna.Study, trial: optuna.Trial, value: float | None) -> None:
    study.tell(trial, value, state=TrialState.FAIL if value is None else TrialState.COMPLETE)


def quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)


def trials_of(runs: Sequence[Run]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([item.trials for item in runs], dtype=float)


def ratio(ours: Sequence[Run], theirs: Sequence[Run]) -> tuple[float, float, float]:
    """Of the median numbers of trials, and its 95 % percentile bootstrap interval; seeds are resampled on both sides."""
    rng = np.random.default_rng(0)
    sides = [trials_of(runs) for runs in (ours, theirs)]
    drawn = [np.median(rng.choice(side, size=(BOOTSTRAP, min(len(side), 200))), axis=1) for side in sides]
    low, high = np.quantile(drawn[0] / drawn[1], [0.025, 0.975])
    return float(np.median(sides[0]) / np.median(sides[1])), float(low), float(high)


def given_up(runs: Sequence[Run]) -> bool:
    """The median itself is a run that was given up, so that the true median is higher."""
    return sum(item.reached for item in runs) <= len(runs) / 2


def shown(runs: Sequence[Run] | None) -> str:
    """Median and quartiles."""
    if not runs:
        return ""
    low, median, high = np.quantile(trials_of(runs), [0.25, 0.5, 0.75])
    return f"{'> ' if given_up(runs) else ''}{median:g} ({low:.0f} to {high:.0f})"


def print_problems(results: dict[Problem, Samples], samplers: Sequence[str]) -> None:
    others = [name for name in samplers if name != OURS]
    print(f"| table | {' | '.join(others)} | ours | ms an ask | ours / TPE | ours / random |")
    print("|---" * (len(others) + 5) + "|")
    for problem, runs in results.items():
        cells = [shown(runs.get(name)) for name in others]
        value, low, high = ratio(runs[OURS], runs[TPE])
        bound = "<= " if given_up(runs[TPE]) else ""
        ask_ms = 1e3 * float(np.mean([item.ask_s for item in runs[OURS]]))
        print(
            f"| {problem.name} | {' | '.join(cells)} | {shown(runs[OURS])} | {ask_ms:.0f} | {bound}{value:.2f} ({low:.2f} to {high:.2f}) "
            f"| {ratio(runs[OURS], runs[RANDOM])[0]:.2f} |"
        )


def print_bars(results: dict[Problem, Samples]) -> bool:
    """True if all are met."""
    fine = True
    for words, kept, most in (("all", list(results), HALF), ("on/off", [problem for problem in results if problem.on_off], ON_OFF_BAR)):
        if kept:
            mean = float(np.exp(np.mean([np.log(ratio(results[problem][OURS], results[problem][TPE])[0]) for problem in kept])))
            fine &= mean <= most
            print(f"{words} ({len(kept)}): geometric mean of ours / TPE {mean:.2f}, bar {most}: {'met' if mean <= most else 'NOT met'}")
    for other in (TPE, RANDOM):
        above = [problem.name for problem, runs in results.items() if ratio(runs[OURS], runs[other])[0] > 1]
        fine &= not above
        print(f"never above {other}: {'met' if not above else 'NOT met on ' + ', '.join(above)}")
    return fine


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tables", default=",".join(dict.fromkeys(problem.table for problem in PROBLEMS)))
    parser.add_argument("--noise", type=numbers, default=[0, 5, 20], help="standard deviations of a measurement in percent")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--cap", type=int, default=200, help="trials after which a run is given up")
    parser.add_argument("--gp", action="store_true", help=f"also Optuna's GP and Auto, which need torch: {GP_SEEDS} seeds, {GP_CAP} trials")
    parser.add_argument("--first-seed", type=int, default=1000, help="the sampler was designed on seeds below 100")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the tables, by default ../shared/data/search")
    parser.add_argument("--keep", type=Path, help="file for the runs of Optuna's samplers, which are not repeated then")
    parser.add_argument("--only-others", action="store_true", help="leave ours out and print nothing: fills --keep")
    arguments = parser.parse_args()
    chosen = [problem for problem in PROBLEMS if problem.table in arguments.tables.split(",")]
    if not arguments.data.is_dir() or not chosen:
        names = ", ".join(dict.fromkeys(problem.table for problem in PROBLEMS))
        print(f"needs the tables in {arguments.data} (--data) and --tables of {names}", file=sys.stderr)
        return 2
    os.environ[FOLDER] = str(arguments.data)
    os.environ["OMP_NUM_THREADS"] = "1"  # for the process below, which starts afresh
    samplers = [RANDOM, TPE, *([GP, AUTO] if arguments.gp else []), *([] if arguments.only_others else [OURS])]
    fine = True
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=quiet) as pool:
        for percent in arguments.noise:
            results = {problem: measured(pool, problem, samplers, percent, arguments) for problem in chosen}
            if arguments.only_others:
                continue
            print(f"\nnoise {percent} %, {arguments.seeds} seeds from {arguments.first_seed}, cap {arguments.cap}\n")
            print_problems(results, samplers)
            print()
            fine &= print_bars(results)
    return 0 if fine else 1


def measured(pool: ProcessPoolExecutor, problem: Problem, samplers: Sequence[str], percent: int, arguments: argparse.Namespace) -> Samples:
    found: Samples = {RANDOM: random_runs(problem, arguments.first_seed)}
    noise = Noise("multiplicative", percent / 100) if percent else REPEATS
    for sampler in samplers[1:]:
        slow = sampler in (GP, AUTO)
        if slow and not problem.gp:
            continue
        if sampler == AUTO and not has_categories(table_of(problem)):
            found[AUTO] = found[GP]  # the same sampler
            continue
        seeds, cap = (GP_SEEDS, min(GP_CAP, arguments.cap)) if slow else (arguments.seeds, arguments.cap)
        started = time.monotonic()
        name = f"{problem.name}, {sampler}, {percent} %, cap {cap}, {seeds} seeds from {arguments.first_seed}"
        kept = kept_runs(arguments.keep)
        if sampler == OURS or name not in kept:
            work = [pool.submit(run, problem, sampler, arguments.first_seed + number, cap, noise) for number in range(seeds)]
            kept[name] = [item.result() for item in work]
        if sampler != OURS and arguments.keep:
            arguments.keep.write_text(json.dumps({key: [astuple(item) for item in runs] for key, runs in kept.items()}), encoding="utf-8")
        found[sampler] = kept[name]
        print(f"{name}: {shown(kept[name])}, {time.monotonic() - started:.0f} s", file=sys.stderr)
    return found


def kept_runs(path: Path | None) -> Samples:
    if path is None or not path.is_file():
        return {}
    return {key: [Run(*item) for item in runs] for key, runs in json.loads(path.read_text(encoding="utf-8")).items()}


if __name__ == "__main__":
    sys.exit(main())

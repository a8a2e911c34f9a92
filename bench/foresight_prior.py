"""How many real windows a search needs to come within 2 % of the best on the engine's own grid, with foresight as its prior and without.

    tuner search --study grid --workload demo --page-sizes 16,32,64,128 --chunk-budgets 128,256,512 --storage sqlite:///prior.db
    python -m bench.foresight_prior --storage sqlite:///prior.db --grid grid [--fit others] [--rounds 3]

Searches are played on the windows that the study `--grid` measured on a real engine: a configuration's value is the median of as many
windows as a search measures at least (`--rounds`), drawn from its own. Where step times come from: by default from the grid study with
the chunk budget that is predicted left out (all page sizes and both arms of it); with `--fit others` from the other studies in the
database, as in any search, and never from the grid.

A run ends with the first configuration whose true value is within 2 % of the best. What is true is not known either: which of two
configurations is the better one may be chance in so few windows. So each seed has a truth of its own, the medians of windows that are drawn
anew from those measured (bootstrap), the same one for both searches. Exit code 1: the bar (half the windows, over all seeds) is missed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np

from bench.search_quality import HALF, WITHIN, Run, ratio, trials_of
from storage.base import Storage
from storage.records import Environment, Stage, Study
from storage.upgrade import open_storage
from tuner.core.defaults import DEFAULT_STORAGE
from tuner.core.errors import BadInput
from tuner.foresight.engine_windows import window_table
from tuner.metrics.catalog import Direction
from tuner.search.prior import SimulatedPrior, observations
from tuner.search.proposer import Observation, Proposer, Seconds
from tuner.search.step_model import StepModel, find_step_model, model_of
from tuner.search.study import BATCH
from tuner.setup.config import ORDINAL
from tuner.setup.space import Configuration, SearchSpace
from tuner.setup.stored_study import StoredStudy
from tuner.setup.study_setup import StudySetup, prepare_study


@dataclass(frozen=True)
class Grid:
    """`windows`: configuration -> the objective's value in each of its valid windows. `sign`: 1 where more is better. `rounds`: windows
    that a search measures of a configuration. `seconds`: what a start and a proposal took."""

    space: SearchSpace
    windows: Mapping[Configuration, Sequence[float]]
    sign: int
    rounds: int
    seconds: Seconds

    @property
    def truth(self) -> dict[Configuration, float]:
        return {item: median(values) for item, values in self.windows.items()}

    def resampled(self, seed: int) -> Grid:
        """With as many windows of each configuration, drawn from its own."""
        rng = np.random.default_rng([seed, 1])
        return replace(self, windows={item: rng.choice(values, size=len(values)).tolist() for item, values in self.windows.items()})

    @property
    def good(self) -> frozenset[Configuration]:
        """Those within 2 % of the best."""
        truth = self.truth
        best = max(truth.values(), key=lambda value: self.sign * value)
        return frozenset(item for item, value in truth.items() if abs(value - best) <= WITHIN * abs(best))


@dataclass(frozen=True)
class Played(Run):
    """`seconds`: of engine starts and windows."""

    seconds: float = 0.0


def grid_of(setup: StudySetup, storage: Storage, study: Study, rounds: int | None = None) -> tuple[Grid, Environment]:
    """What a finished study measured, without its cold starts."""
    trials = {trial.id: trial for trial in storage.list_trials(study.id, stage=Stage.SEARCH)}
    windows: dict[Configuration, list[float]] = {}
    for item in storage.list_measurements(study_id=study.id):
        trial = trials.get(item.trial_id)
        if item.valid and trial is not None:
            place = Configuration(trial.block_size, trial.max_num_batched_tokens, trial.arm)
            windows.setdefault(place, []).append(float(item.metrics[setup.objectives[0].metric]))
    fingerprint = next(trial.environment for trial in trials.values() if trial.environment)
    sign = setup.objectives[0].direction.sign
    rounds, count = rounds or setup.config.rounds.min, max(1, sum(map(len, windows.values())))
    start_s = float(study.cost.get("start", 0.0)) / max(1, study.engine_starts)
    measure_s = float(study.cost.get("measure", 0.0)) / count * rounds * len(setup.space.arms)
    return Grid(setup.space, windows, sign, rounds, Seconds(start_s, measure_s)), storage.get_environment(fingerprint)


def played(grid: Grid, direction: Direction, seed: int, predicted: Sequence[Observation]) -> Played:
    """One search, asked as tuner.search.asking does: the baseline first, then the sampler's proposals, each with its other arm."""
    rng = np.random.default_rng(seed)
    proposer = Proposer(ORDINAL, grid.space, [direction], seed, predicted=predicted, costs=lambda: grid.seconds)
    done: list[Configuration] = []
    good = grid.resampled(seed).good
    batch = list(grid.space.with_twins([grid.space.baseline]))

    def ended(*, reached: bool) -> Played:
        starts = 1 + sum(before.engine != after.engine for before, after in pairwise(done))
        seconds = starts * grid.seconds.start_s + len(done) * grid.seconds.measure_s / len(grid.space.arms)
        return Played(len(done) * grid.rounds, reached, seconds=seconds)

    while True:
        for item in batch:
            done.append(item)
            if item in good:
                return ended(reached=True)
            drawn = rng.choice(grid.windows[item], size=grid.rounds) if item in grid.windows else None
            proposer.tell(item, None if drawn is None else [float(np.median(drawn))], {})
        if proposer.exhausted:
            return ended(reached=False)
        proposals = proposer.propose(BATCH // len(grid.space.arms), batch[-1].engine)
        batch = [item for item in grid.space.with_twins(proposals) if item not in done]
        proposer.hold(batch)


def rank_correlation(grid: Grid, predicted: Sequence[Observation]) -> float:
    """Spearman's, over the configurations that were measured and predicted."""
    truth = grid.truth
    pairs = [(truth[item.configuration], item.values[0]) for item in predicted if item.values is not None and item.configuration in truth]
    ranks = [(side[:, None] > side).sum(axis=1) + (side[:, None] == side).sum(axis=1) / 2 for side in np.array(pairs).T]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def window_spread(grid: Grid) -> float:
    """The median, over the configurations, of how far a window lies from their median, as the standard deviation of a normal law."""
    return float(np.median([1.4826 * np.median(np.abs(np.array(values) / np.median(values) - 1)) for values in grid.windows.values()]))


def errors(grid: Grid, predicted: Sequence[Observation]) -> np.ndarray:
    """|predicted / measured - 1|."""
    truth = grid.truth
    known = [item for item in predicted if item.values is not None and item.configuration in truth]
    return np.array([abs(item.values[0] / truth[item.configuration] - 1) for item in known if item.values is not None])


def print_result(grid: Grid, predicted: Sequence[Observation], runs: Mapping[str, Sequence[Played]]) -> bool:
    """Whether the bar is met."""
    print("| search | seeds | windows, median | quartiles | reached | seconds, median |")
    print("|---|---|---|---|---|---|")
    for name, found in runs.items():
        low, middle, high = np.quantile(trials_of(found), [0.25, 0.5, 0.75])
        reached, seconds = sum(run.reached for run in found), median(run.seconds for run in found)
        print(f"| {name} | {len(found)} | {middle:.0f} | {low:.0f} to {high:.0f} | {reached} of {len(found)} | {seconds:.0f} |")
    value, low, high = ratio(runs["with foresight"], runs["without"])
    met = bool(value <= HALF)
    print(f"\nwith / without: {value:.2f} ({low:.2f} to {high:.2f}, 95 %); at most {HALF}: {'met' if met else 'NOT met'}")
    print(f"predicted against measured: Spearman {rank_correlation(grid, predicted):.2f}, ", end="")
    print(f"median absolute error {np.median(errors(grid, predicted)):.1%}")
    return met


def foreseen(grid_study: Study, setup: StudySetup, storage: Storage, environment: Environment, fit: str) -> list[Observation]:
    """What is predicted, with a line for each model of step times. Raises BadInput where there is none."""
    if fit == "others":
        model = find_step_model(setup, storage)
        if not isinstance(model, StepModel):
            raise BadInput(f"no step times: {model}")
        return _predicted(model, setup, storage, environment)
    windows = steps_of(storage, grid_study)
    found: list[Observation] = []
    for budget in setup.space.chunk_budgets:
        table = window_table((f"{place}", metrics) for place, metrics in windows if place.max_num_batched_tokens != budget)
        model = model_of(setup, table, f"fitted on {len(table)} configurations, chunk budget {budget} left out")
        kept = tuple(item for item in setup.space.configurations if item.max_num_batched_tokens == budget)
        part = replace(setup, space=replace(setup.space, configurations=kept))
        found += _predicted(model, part, storage, environment)
    return found


def steps_of(storage: Storage, study: Study) -> list[tuple[Configuration, Mapping[str, float]]]:
    """The study's valid windows, cold starts too."""
    places = {trial.id: Configuration(trial.block_size, trial.max_num_batched_tokens, trial.arm) for trial in storage.list_trials(study.id)}
    return [(places[item.trial_id], item.metrics) for item in storage.list_measurements(study_id=study.id) if item.valid]


def _predicted(model: StepModel, setup: StudySetup, storage: Storage, environment: Environment) -> list[Observation]:
    with tempfile.TemporaryDirectory() as folder:
        prior = SimulatedPrior(model, Path(folder), None)
        rows = prior.predict(setup, storage, environment, lambda line: print(line, file=sys.stderr))
    found = observations(setup, rows)
    print(f"predicted for {len(found)} configurations; {model.error.sentence}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--storage", default=DEFAULT_STORAGE)
    parser.add_argument("--grid", required=True, help="a finished study of the whole grid")
    parser.add_argument("--fit", choices=("budget", "others"), default="budget", help="what step times are fitted on")
    parser.add_argument("--rounds", type=int, help="windows that a search measures of a configuration; as the grid study if not given")
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--first-seed", type=int, default=0)
    arguments = parser.parse_args()
    storage = open_storage(arguments.storage, create=False)
    try:
        study = storage.get_study(arguments.grid)
        setup = prepare_study(StoredStudy.from_record(study).config(storage=arguments.storage))
        setup.model.prepare()
        grid, environment = grid_of(setup, storage, study, arguments.rounds)
        predicted = foreseen(study, setup, storage, environment, arguments.fit)
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    finally:
        storage.close()
    windows, name = sum(map(len, grid.windows.values())), setup.workload.name
    print(
        f"grid: {len(grid.windows)} configurations, {windows} windows, {name}; {len(grid.good)} within {WITHIN:.0%} of the best", end="; "
    )
    print(f"a window varies by {window_spread(grid):.1%}\n")
    direction = setup.objectives[0].direction
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    runs = {
        "with foresight": [played(grid, direction, seed, predicted) for seed in seeds],
        "without": [played(grid, direction, seed, ()) for seed in seeds],
    }
    return 0 if print_result(grid, predicted, runs) else 1


if __name__ == "__main__":
    sys.exit(main())

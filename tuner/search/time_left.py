"""How long a running search may still take, for whoever sees only the database. An estimate, and called one.

The sum is tuner.trials.progress.Progress.seconds_left's: engine starts and windows that are left, each at the mean of what this search has
taken; windows here with their part of the warm-up. What is left comes from the stored settings and trials; like the search's own progress
it counts a cell that is still measured with all its rounds, so most searches are done earlier.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from storage.base import Storage
from storage.records import FINISHED, Stage, Study, Trial, TrialState
from tuner.core.errors import BadInput
from tuner.metrics.objective import parse_objectives
from tuner.search.plan import FINALISTS, LAUNCHERS_WITHOUT_LIVE_SETTINGS, Costs, assumed_costs, known_costs
from tuner.setup.config import StudyConfig
from tuner.setup.space import Configuration, build_space
from tuner.setup.stored_study import StoredStudy
from tuner.setup.vllm_defaults import VllmDefaults
from tuner.trials.budget import CostModel
from tuner.verdict.conclude import default_settings


@dataclass(frozen=True)
class TimeLeft:
    """`trials`: of the whole search, finalists included. `starts` and `windows`: what is left at most, at `start_s` and `window_s` each.
    `source` says where these two come from."""

    trials: int
    starts: int
    windows: int
    start_s: float
    window_s: float
    seconds: float
    source: str


@dataclass(frozen=True)
class _Left:
    trials: int
    starts: int
    windows: int


def time_left(storage: Storage, study: Study, trials: Sequence[Trial], measured: Mapping[int, tuple[int, float]]) -> TimeLeft | None:
    """`measured`: windows and seconds by trial (Storage.measured_by_trial). None where what is stored of the study does not say what it is
    to measure."""
    try:
        config = StoredStudy.from_record(study).config()
        left = _left(study, config, trials, {trial_id: windows for trial_id, (windows, _) in measured.items()})
    except BadInput:
        return None
    if left is None:
        return None
    windows, seconds = (sum(column) for column in zip(*measured.values(), strict=True)) if measured else (0, 0.0)
    started = float(study.cost.get("start", 0.0))
    known = bool(windows and study.engine_starts)
    costs = Costs() if known else known_costs(storage, config) or assumed_costs(config)
    start_s = started / study.engine_starts if study.engine_starts else costs.start_s
    window_s = seconds / windows * (1 + _warm_up_fraction(study)) if windows else costs.window_s
    total = CostModel(start_s, window_s).seconds(starts=left.starts, windows=left.windows)
    return TimeLeft(
        trials=left.trials,
        starts=left.starts,
        windows=left.windows,
        start_s=start_s,
        window_s=window_s,
        seconds=total if config.time_budget is None else min(total, config.time_budget),
        source="the mean of this search so far" if known else costs.source,
    )


def _warm_up_fraction(study: Study) -> float:
    """Of the time measured, as of the last engine start; 0 before the second."""
    measured = float(study.cost.get("measure", 0.0))
    return float(study.cost.get("warm_up", 0.0)) / measured if measured > 0 else 0.0


def _left(study: Study, config: StudyConfig, trials: Sequence[Trial], windows: Mapping[int, int]) -> _Left | None:
    """What tuner.search.study and tuner.search.confirm announce to their progress. Raises BadInput."""
    defaults = default_settings(study)
    if not config.page_sizes or not defaults:
        return None
    rounds = config.rounds
    finalists = [trial for trial in trials if trial.stage is Stage.CONFIRM]
    if finalists:
        open_ones = [trial for trial in finalists if trial.state not in FINISHED]
        missing = sum(max(0, rounds.of_a_finalist - windows.get(trial.id, 0)) for trial in open_ones)
        return _Left(len(trials), sum(trial.state is TrialState.WAITING for trial in open_ones), missing)
    space = build_space(config, VllmDefaults(defaults["block_size"], defaults["max_num_batched_tokens"]))
    whole = len(space.configurations)
    total = max(len(trials), whole if config.trials is None else min(config.trials, whole))
    new = total - len(trials)
    later = min(FINALISTS + len(parse_objectives(study.objective)) - 1, total)
    unfinished = sum(max(0, rounds.max - windows.get(trial.id, 0)) for trial in trials if trial.state not in FINISHED)
    begun = {Configuration.of_trial(trial).engine for trial in trials if trial.state is not TrialState.WAITING}
    if config.launcher in LAUNCHERS_WITHOUT_LIVE_SETTINGS:
        starts = new + sum(trial.state is TrialState.WAITING for trial in trials)
    else:
        starts = min(len(set(space.engines) - begun), new + len(trials))
    return _Left(total + later, starts + later, unfinished + new * rounds.max + later * rounds.of_a_finalist)

"""A configuration from its checks to its outcome: one way for `tuner search` and for a worker of the fleet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from storage import upgrade
from storage.base import Storage
from storage.url import parse_url
from tuner.capacity.loads import kind_of_metrics
from tuner.capacity.objective import CapacityLauncher, capacity_config
from tuner.core.contract import Launcher
from tuner.core.spans import span
from tuner.foresight.judge import judge_for
from tuner.launchers import choice
from tuner.search.plan import SearchPlan, plan_search
from tuner.search.prior import SimulatedPrior
from tuner.search.shared_run import SharedRun
from tuner.search.sharing import Share
from tuner.search.step_model import StepModel
from tuner.search.study import StudyOutcome, StudyRun
from tuner.setup.config import StudyConfig
from tuner.setup.study_setup import StudySetup, check_places, prepare_study
from tuner.trials.context import Retries
from tuner.trials.patience import PATIENCE_S
from tuner.trials.progress import Progress
from tuner.trials.retry import RETRIES
from tuner.trials.spool import default_spool
from tuner.trials.watchdog import FACTOR

type Say = Callable[[str], None]


@contextmanager
def planned(named: StudyConfig, say: Say, *, resume: bool, dry_run: bool = False) -> Iterator[SearchPlan]:
    """The plan of a search on this machine, which may be run until the context ends; with `dry_run` nothing is kept. `say` gets warnings.

    Raises BadInput and storage errors for what cannot be begun.
    """
    config = choice.with_measured_sizes(named)
    choice.check_launcher(config)
    check_places(config)
    limits = choice.device_limits(config)
    if _wants_capacity(config):
        config = capacity_config(config, lambda config: prepare_study(config, limits))
    with ExitStack() as ending:
        judge = None
        if limits is not None if config.foresight is None else config.foresight:
            storage = None if dry_run else ending.enter_context(upgrade.beside(config.storage, say))
            judge = judge_for(config, limits, say, storage)
        if judge is not None:
            ending.callback(judge.rest)
        setup = prepare_study(config, limits, judge)
        if judge is not None:
            judge.rest()  # its processes, while the study runs
        for warning in setup.warnings:
            say(f"warning: {warning}")
        yield _plan(setup, resume=resume)


def space_of(named: StudyConfig) -> StudySetup:
    """What a search on this machine would vary, by the rules that are known without an engine or a compiler. Raises BadInput."""
    config = choice.with_measured_sizes(named)
    choice.check_launcher(config)
    return prepare_study(config, choice.device_limits(config))


@dataclass(frozen=True)
class OnFault:
    """What a run does while the database is away: windows go into files of the folder `spool` (None: into one of the logdir), and what has
    to be stored before it can go on waits for so many seconds. And when an engine counts as hung (tuner.trials.watchdog), and how often a
    trial that failed is tried again at most (tuner.trials.retry)."""

    spool: Path | None = None
    patience_s: float = PATIENCE_S
    hang_factor: float = FACTOR
    retries: int = RETRIES

    def retries_of(self, config: StudyConfig) -> Retries:
        """None where the launcher fails each time that it fails once."""
        return Retries(0 if config.launcher == "table" else self.retries)


def run_plan(
    plan: SearchPlan, progress: Progress, *, may_go_on: Callable[[], None] | None = None, on_fault: OnFault | None = None
) -> StudyOutcome:
    """Measure what the plan says. `may_go_on` is asked before every window and stops the study by raising (tuner.core.errors.Interrupted).
    Raises what StudyRun.run raises."""
    on_fault = on_fault or OnFault()
    with ExitStack() as ending:
        launcher, finalists, storage = _opened(plan, ending)
        study = StudyRun(
            plan,
            storage,
            launcher,
            progress,
            finalists_launcher=finalists,
            prior=_prior(plan),
            may_go_on=may_go_on,
            spool=on_fault.spool or default_spool(plan.setup.config.logdir),
            patience_s=on_fault.patience_s,
            hang_factor=on_fault.hang_factor,
            retries=on_fault.retries_of(plan.setup.config),
        )
        return study.run()


def can_be_shared(plan: SearchPlan) -> bool:
    """Whether several workers can work on it. Where a cold factor is compared every start of an engine is paired with the one before."""
    return not plan.setup.space.contrast.cold


def run_shared(plan: SearchPlan, progress: Progress, share: Share, on_fault: OnFault) -> StudyOutcome | None:
    """This worker's part of what the plan says; the study's outcome where it leads. Raises what SharedRun.run and SharedRun.help raise."""
    with ExitStack() as ending:
        launcher, finalists, storage = _opened(plan, ending)
        part = SharedRun(
            plan,
            storage,
            launcher,
            progress,
            share=share,
            finalists_launcher=finalists,
            prior=_prior(plan),
            spool=on_fault.spool or default_spool(plan.setup.config.logdir),
            patience_s=on_fault.patience_s,
            hang_factor=on_fault.hang_factor,
            retries=on_fault.retries_of(plan.setup.config),
        )
        if share.leads:
            return part.run()
        part.help()
        return None


def _opened(plan: SearchPlan, ending: ExitStack) -> tuple[Launcher, Launcher | None, Storage]:
    """(the launcher, that of the finalists if it is another, the storage), which `ending` closes, and with them the study's span."""
    config = plan.setup.config
    ending.enter_context(span("study", study=config.study, model=config.model, launcher=config.launcher))
    launcher = choice.make_launcher(config)
    ending.callback(launcher.close)
    finalists = choice.make_finalists_launcher(config)
    if finalists is not None:
        ending.callback(finalists.close)
    if _wants_capacity(config):
        launcher = CapacityLauncher(launcher, plan.setup)
        finalists = None if finalists is None else CapacityLauncher(finalists, plan.setup)
    storage = upgrade.open_storage(config.storage, create=plan.existing is None)
    ending.callback(storage.close)
    return launcher, finalists, storage


def _wants_capacity(config: StudyConfig) -> bool:
    """Whether the objective is the highest rate within the SLOs, and not a column of a table."""
    return config.launcher != "table" and kind_of_metrics(item.metric for item in config.objectives) is not None


def _plan(setup: StudySetup, *, resume: bool) -> SearchPlan:
    """The one plan of this search; writes nothing, also no empty database. Raises BadInput and storage errors for what cannot be begun."""
    url = setup.config.storage
    path = parse_url(url).path
    new_file = not resume and path is not None and path.parent.is_dir() and not path.exists()
    if new_file or upgrade.check(url)["revision"] is None:  # the search will create the tables
        return plan_search(setup, resume=resume)
    with closing(upgrade.open_storage(url, create=False, read_only=True)) as storage:
        return plan_search(setup, storage, resume=resume)


def _prior(plan: SearchPlan) -> SimulatedPrior | None:
    """What simulates the sampler's prior; starts nothing yet."""
    config = plan.setup.config
    if not isinstance(plan.step_model, StepModel):
        return None
    return SimulatedPrior(plan.step_model, choice.engine_logs(config), config.python_here)

"""One search from beginning to end: ask, measure, confirm, compare, recommend. No subprocess and no SQL of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from storage.base import LeaseLost, Storage, StorageFault
from storage.records import Recommendation, Stage, Study, StudyState, TrialState
from tuner.core.contract import EngineSettings, Launcher
from tuner.core.errors import Interrupted, StorageError, StudyTaken
from tuner.core.factors import in_order
from tuner.core.spans import span
from tuner.search.asking import Asking, sampler_of
from tuner.search.cold_comparison import ColdComparison
from tuner.search.confirm import Confirmation
from tuner.search.opening import OpenStudy, interrupted, loss, open_study, taken
from tuner.search.plan import SearchPlan, finalists_of
from tuner.search.prior import SimulatedPrior
from tuner.search.twins import Twins
from tuner.serving.numerics import numerics_of
from tuner.setup.space import Configuration, EngineKey
from tuner.trials.budget import CostClock, CostModel, TimeBudget
from tuner.trials.context import Retries, RunContext
from tuner.trials.engines import EnginePool
from tuner.trials.group import GroupRun
from tuner.trials.optuna_record import GOAL_ATTRIBUTE, OptunaRecord
from tuner.trials.patience import Patience
from tuner.trials.profiling import capture_profile
from tuner.trials.progress import Progress
from tuner.trials.rounds import round_policy
from tuner.trials.spool import Spool
from tuner.trials.trial import TrialBook, TrialRun
from tuner.trials.watchdog import FACTOR
from tuner.verdict.cell_claims import sure_level
from tuner.verdict.compare import StudyComparison
from tuner.verdict.conclude import compare_measured, recommend_stored
from tuner.verdict.evidence import TWIN_OF

BATCH = 4  # configurations asked for at once: two cells in both arms


@dataclass(frozen=True)
class StudyOutcome:
    """What a finished run hands back. Counts and seconds are of this run; `study` has those of all runs together."""

    study: Study
    comparison: StudyComparison
    recommendation: Recommendation
    wall_s: float
    engine_starts: int
    windows: int
    completed_trials: int  # of the study


class StudyRun:
    """Runs one study once. `finalists_launcher` confirms the finalists; None: `launcher` does. Both are closed at the end.
    `prior`: what the sampler begins with besides earlier studies. `may_go_on` is asked before every window; it stops the study by raising
    Interrupted. `spool`: the folder for windows that the database cannot take, which is waited for up to `patience_s`.
    `hang_factor`: see tuner.trials.watchdog; `retries`: how what failed is tried again."""

    def __init__(
        self,
        plan: SearchPlan,
        storage: Storage,
        launcher: Launcher,
        progress: Progress | None = None,
        *,
        finalists_launcher: Launcher | None = None,
        prior: SimulatedPrior | None = None,
        may_go_on: Callable[[], None] | None = None,
        spool: Path | None = None,
        patience_s: float = 0.0,
        hang_factor: float = FACTOR,
        retries: Retries | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plan = plan
        self._storage = storage
        self._launcher = launcher
        self._finalists_launcher = finalists_launcher
        self._prior = prior
        self._may_go_on = may_go_on or (lambda: None)
        self._progress = progress or Progress()
        self._spool, self._patience_s = spool, patience_s
        self._hang_factor = hang_factor
        self._retries = retries or Retries()
        self._now = now

    def run(self) -> StudyOutcome:
        """Raises BadInput and storage errors before anything is measured. After that: Interrupted (the study is INTERRUPTED, finished
        measurements are kept), StorageError, and StudyTaken (another process has the study; nothing more is written)."""
        with ExitStack() as ending:  # the last one here is the first to be done
            for launcher in (self._launcher, self._finalists_launcher):
                if launcher is not None:
                    ending.callback(launcher.close)
            self._plan.setup.model.prepare()  # before a study exists: it may find that the cache cannot be written
            opened = self._opened()
            ending.callback(opened.close)
            return self._run_opened(opened)

    def _opened(self) -> OpenStudy:
        return open_study(self._plan.setup, self._storage, self._plan.existing)

    def _run_opened(self, opened: OpenStudy) -> StudyOutcome:
        """Leaves no engine running and the study in the state that says how the run ended."""
        context = self._context(opened)
        pool = self._pool(context, opened.study)
        state: StudyState | None = StudyState.FAIL

        def save_state() -> None:
            if state is not None:
                with suppress(StorageFault):
                    self._save(context, opened.study, pool, state)

        with ExitStack() as ending:
            ending.callback(save_state)
            ending.callback(pool.close)
            try:
                outcome = self._search_and_confirm(context, opened, pool)
                state = StudyState.COMPLETE
            except StudyTaken:
                state = None
                raise
            except LeaseLost as error:
                state = None
                raise taken(self._storage, opened, error) from error
            except StorageFault as error:
                raise StorageError(f"study {opened.study.name!r}: {loss(self._storage, opened.study, error)}") from error
            except (Interrupted, KeyboardInterrupt) as error:
                state = StudyState.INTERRUPTED
                raise interrupted(opened.study) from error
        return outcome

    def _pool(self, context: RunContext, study: Study) -> EnginePool:
        pool = EnginePool(context, self._launcher, lambda: self._save(context, study, pool), earlier_starts=study.engine_starts)
        return pool

    def _context(self, opened: OpenStudy) -> RunContext:
        costs = CostModel(self._plan.costs.start_s, self._plan.costs.window_s)
        self._progress.costs = costs
        fenced = self._fenced(opened)
        patience = Patience(self._patience_s, may_go_on=self._may_go_on, say=self._progress.note)
        return RunContext(
            storage=fenced.patient(patience),
            at_once=fenced,
            hang_factor=self._hang_factor,
            retries=self._retries,
            spool=None if self._spool is None else Spool(self._spool, opened.study),
            setup=self._plan.setup,
            clock=self._clock(opened.study),
            costs=costs,
            progress=self._progress,
            still_ours=lambda: self._check(opened),
        )

    def _clock(self, study: Study) -> CostClock:
        return CostClock(study.cost, self._now)

    def _fenced(self, opened: OpenStudy) -> Storage:
        """Which writes only while the study is this process's."""
        return self._storage if opened.lease is None else opened.lease.fence(self._storage)

    def _check(self, opened: OpenStudy) -> None:
        """Before a window. Raises StudyTaken, and what `may_go_on` raises."""
        opened.check()
        self._may_go_on()

    def _search_and_confirm(self, context: RunContext, opened: OpenStudy, pool: EnginePool) -> StudyOutcome:
        book = TrialBook(context, opened.study, opened.record)
        book.settle_with_optuna()
        budget = TimeBudget(context.clock, context.setup.config.time_budget)
        Search(self._plan, context, opened.record, book, pool, budget=budget, prior=self._prior).run()
        return self._conclude(context, opened, book, pool, budget)

    def _conclude(self, context: RunContext, opened: OpenStudy, book: TrialBook, pool: EnginePool, budget: TimeBudget) -> StudyOutcome:
        """What follows the search: finalists, comparisons, the recommendation."""
        Confirmation(context, opened.study, book, pool, budget, launcher=self._finalists_launcher).run()
        book.check_stored()
        with span("conclude", study=opened.study.name):
            comparison = compare_measured(context.storage, opened.study)
            context.storage.replace_comparisons(opened.study.id, comparison.comparisons)
            recommendation = _store_recommendation(context.storage, opened.study)
        self._save(context, opened.study, pool)
        return StudyOutcome(
            study=context.storage.update_study(opened.study.id, state=StudyState.COMPLETE),
            comparison=comparison,
            recommendation=recommendation,
            wall_s=context.clock.elapsed_s,
            engine_starts=pool.starts,
            windows=context.progress.windows,
            completed_trials=sum(run.trial.state is TrialState.COMPLETE for run in book.runs),
        )

    def _save(self, context: RunContext, study: Study, pool: EnginePool, state: StudyState | None = None) -> None:
        context.storage.update_study(study.id, state=state, engine_starts=pool.total_starts, cost=context.clock.totals())


def _store_recommendation(storage: Storage, study: Study) -> Recommendation:
    """Stored once: taking up a study in which nothing is left to do changes nothing."""
    found = recommend_stored(storage, replace(study, state=StudyState.COMPLETE))  # nothing more will be measured
    latest = next(iter(storage.list_recommendations(study_id=study.id, include_withdrawn=True, limit=1)), None)
    return latest if latest is not None and latest.body == found.body else storage.add_recommendation(found)


class Search:
    """The search stage: what an earlier run left unfinished, then new configurations, until the goal or the time is reached."""

    def __init__(
        self,
        plan: SearchPlan,
        context: RunContext,
        record: OptunaRecord,
        book: TrialBook,
        pool: EnginePool,
        *,
        budget: TimeBudget,
        prior: SimulatedPrior | None,
    ) -> None:
        self._plan = plan
        self._context = context
        self._setup = context.setup
        self._space = context.setup.space
        self._record = record
        self._book = book
        self._pool = pool
        self._budget = budget
        self._prior = prior
        self._sampler = sampler_of(record, plan.sampler)
        self._twins = Twins(context.setup, book)

    def run(self) -> None:
        allowed = self._allowed()
        unfinished = [run for run in self._book.staged(Stage.SEARCH) if not run.finished and TWIN_OF not in run.trial.notes]
        unfinished.sort(key=lambda run: (not run.measurements, run.trial.number))
        pending = unfinished if allowed is None else unfinished[:allowed]
        left = None if allowed is None else allowed - len(pending)
        self._announce(pending, left)
        self._twins.settle()
        if self._space.contrast.cold:
            pending = []  # its starts know themselves what is missing
        for _, runs in groupby(sorted(pending, key=self._batch), key=self._batch):
            if self._out_of_time():
                return
            self._measure(list(runs))
        if self._space.contrast.cold:
            ColdComparison(self._context, self._book, self._pool, self._budget, self._twins).run()
        elif self._sampler == "grid":
            self._run_grid(left)
        else:
            self._run_sampled(left)

    def _allowed(self) -> int | None:
        """Trials that this run may finish; None: no limit.

        `--trials N` means N trials in this run: those that it finishes, whatever comes of them, of an earlier run's unfinished ones too.
        Where the same command resumes a run that did not end (its goal is still there), it means what that run left of its N.
        """
        count, record = self._setup.config.trials, self._record
        goal = record.attribute(GOAL_ATTRIBUTE)
        if count is None:
            if goal:
                record.set_attribute(GOAL_ATTRIBUTE, None)  # what this run leaves is not what the run before had of its N
            return None
        finished = sum(run.finished for run in self._book.staged(Stage.SEARCH))
        if goal and goal["trials"] == count:
            return max(0, int(goal["total"]) - finished)
        record.set_attribute(GOAL_ATTRIBUTE, {"trials": count, "total": finished + count})
        return count

    def _run_grid(self, left: int | None) -> None:
        todo = [item for item in self._numerics_of_the_baseline_first() if self._book.find(item) is None][:left]
        for _, configurations in groupby(todo, key=lambda item: item.engine):
            if self._out_of_time():
                return
            self._measure(self._create(list(configurations)))

    def _numerics_of_the_baseline_first(self) -> list[Configuration]:
        """So that other numerics have answers to be compared with (tuner.trials.guard)."""
        if not self._space.factors:
            return list(self._space.configurations)
        kinds = {key: numerics_of(self._setup.group_engine(*key)) for key in self._space.engines}
        own = kinds[self._space.baseline.engine]
        return sorted(self._space.configurations, key=lambda item: kinds[item.engine] != own)

    def _run_sampled(self, left: int | None) -> None:
        asking = Asking(self._context, self._book, self._pool, self._record, self._sampler, prior=self._prior)
        batch = max(BATCH, self._space.compared_levels)
        while (left is None or left > 0) and not asking.exhausted and not self._out_of_time():
            chosen = asking.choose(batch if left is None else min(batch, left))
            if left is not None:
                left -= len(chosen)
            for _, configurations in groupby(sorted(chosen, key=self._engine_order), key=lambda item: item.engine):
                self._measure(self._create(list(configurations)))

    def _create(self, configurations: Sequence[Configuration]) -> list[TrialRun]:
        """Trials of one engine, sharing their rounds; without those that are the same in effect as another."""
        first_round = self._book.next_round(configurations[0].engine)

        def create(item: Configuration, twin_of: int | None) -> TrialRun:
            return self._book.create(item, self._engine(item), Stage.SEARCH, first_round, twin_of=twin_of)

        return self._twins.runs(configurations, create)

    def _engine(self, configuration: Configuration) -> EngineSettings:
        """The engine that measures this configuration in the search."""
        return self._setup.group_engine(*configuration.engine) if self._pool.all_live else self._setup.cold_engine(configuration)

    def _measure(self, runs: Sequence[TrialRun]) -> None:
        """All of them in one engine; one after the other where the launcher needs an engine for each."""
        if not runs:
            self._settle()
            return
        if not self._pool.all_live and len(runs) > 1:
            for run in runs:
                self._measure([run])
            return
        engine = self._engine(runs[0].configuration)
        baselines = self._baselines(runs)
        name, baseline = self._space.contrast.name, self._space.contrast.baseline
        control = next((run.configuration for run in (*baselines, *runs) if run.configuration.params[name] == baseline), None)
        rounds = self._setup.config.rounds
        policy = round_policy(
            rounds.min,
            rounds.max,
            control,
            seek_best=self._sampler != "grid",
            keep=self._space.baseline.cell,
            sure_level=sure_level(self._plan.comparisons, len(self._setup.objectives)),
        )
        GroupRun(
            self._context, self._book, self._pool, self._budget, engine=engine, runs=runs, policy=policy, baselines=baselines
        ).execute()
        if self._setup.config.profile == "all":
            for run in runs:
                if run.trial.state is TrialState.COMPLETE:
                    capture_profile(self._context, self._pool, run)
        self._settle()
        self._reserve()

    def _settle(self) -> None:
        self._twins.settle()

    def _baselines(self, runs: Iterable[TrialRun]) -> list[TrialRun]:
        """Finished trials whose other arm, or other level of the compared factor, is measured only now. They are measured again beside it,
        because only rounds that both share make pairs."""
        configurations = {run.configuration: run for run in runs}
        found: list[TrialRun] = []
        if not self._pool.all_live:
            return found
        for configuration, run in configurations.items():
            if any(item.valid for item in run.measurements):
                continue
            known = [self._book.find(item) for item in self._space.beside(configuration) if item not in configurations]
            found += [item for item in known if item is not None and item not in found and _measured(item)]
        return found

    def _reserve(self) -> None:
        """Keep back what the finalists will cost, by the mean of what was seen."""
        count, rounds = finalists_of(self._setup), self._setup.config.rounds
        self._budget.reserve_s = self._context.costs.seconds(starts=count, windows=count * rounds.of_a_finalist)

    def _out_of_time(self) -> bool:
        """Never before anything was measured: a study without a result helps nobody."""
        return self._budget.spent and any(run.trial.state is TrialState.COMPLETE for run in self._book.runs)

    def _batch(self, run: TrialRun) -> tuple[Any, ...]:
        return *_order(run.configuration.engine), run.first_round

    def _engine_order(self, configuration: Configuration) -> tuple[Any, ...]:
        """The engine that runs now comes first."""
        return configuration.engine != self._pool.running_engine, *_order(configuration.engine)

    def _announce(self, pending: Sequence[TrialRun], left: int | None) -> None:
        book, progress, plan = self._book, self._context.progress, self._plan
        unseen = len(self._space.configurations) - len(book.staged(Stage.SEARCH))
        new = unseen if left is None else min(left, unseen)
        rounds = self._setup.config.rounds
        missing = sum(max(0, rounds.max - len(run.measurements)) for run in pending)
        progress.planned_trials = len(pending) + new + plan.finalists
        progress.planned_windows = missing + new * rounds.max + plan.finalists * rounds.of_a_finalist
        progress.planned_starts = min(len(plan.groups), len(pending) + new) + plan.finalists
        objective = self._setup.objectives[0]
        for run in book.staged(Stage.SEARCH):
            value = (run.trial.values or {}).get(objective.name)
            if value is not None and (progress.best is None or objective.is_better(value, progress.best[1])):
                progress.best = (str(run.configuration), value)


def _measured(run: TrialRun) -> bool:
    return run.trial.state is TrialState.COMPLETE and TWIN_OF not in run.trial.notes


def _order(engine: EngineKey) -> tuple[Any, ...]:
    return engine[0], in_order(engine[1])

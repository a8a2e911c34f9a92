"""A study that several workers run together, as one of them does its part. The one that leads also opens and ends the study."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import override

from storage.base import ClaimLost, Storage, StorageFault
from storage.records import Study, StudyState
from tuner.core.contract import Launcher
from tuner.core.errors import StorageError, StudyBusy, StudyTaken
from tuner.search.lease import is_alive, is_shared
from tuner.search.opening import OpenStudy, loss, open_study, record_of
from tuner.search.plan import SearchPlan
from tuner.search.prior import SimulatedPrior
from tuner.search.shared_book import SharedBook
from tuner.search.shared_search import SharedSearch
from tuner.search.sharing import ANSWERING, CONCLUDING, Share
from tuner.search.study import StudyOutcome, StudyRun
from tuner.trials.budget import CostClock, TimeBudget
from tuner.trials.context import Retries, RunContext
from tuner.trials.engines import EnginePool
from tuner.trials.optuna_record import GOAL_ATTRIBUTE, SAMPLER_ATTRIBUTE, OptunaRecord
from tuner.trials.progress import Progress
from tuner.trials.spool import Spool, told
from tuner.trials.trial import TrialBook
from tuner.trials.watchdog import FACTOR

SINCE_ATTRIBUTE = "tuner_shared_since"  # when the worker that leads began: the time budget counts from there for all


class SharedRun(StudyRun):
    """`share` says whether this worker leads (`run`) or helps (`help`)."""

    def __init__(
        self,
        plan: SearchPlan,
        storage: Storage,
        launcher: Launcher,
        progress: Progress,
        *,
        share: Share,
        finalists_launcher: Launcher | None = None,
        prior: SimulatedPrior | None = None,
        spool: Path | None = None,
        patience_s: float = 0.0,
        hang_factor: float = FACTOR,
        retries: Retries | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(
            plan,
            storage,
            launcher,
            progress,
            finalists_launcher=finalists_launcher,
            prior=prior,
            may_go_on=share.may_go_on,
            spool=spool,
            patience_s=patience_s,
            hang_factor=hang_factor,
            retries=replace(retries or Retries(), host=share.host, elsewhere=share.elsewhere),
            now=now,
        )
        self._share = share
        self._kept: Spool | None = None
        self._spent: dict[str, float] = {}  # of what this worker has taken, how much the study knows

    def help(self) -> None:
        """Measure what there is to measure, until nothing is left for this worker or nobody leads. Raises StudyBusy where the study cannot
        be joined, and otherwise what `run` raises."""
        with ExitStack() as ending:
            for launcher in (self._launcher, self._finalists_launcher):
                if launcher is not None:
                    ending.callback(launcher.close)
            self._plan.setup.model.prepare()
            opened = self._joined()
            ending.callback(opened.close)
            ending.callback(self._give_back)
            context = self._context(opened)
            pool = self._pool(context, opened.study)
            ending.callback(lambda: self._save(context, opened.study, pool))
            ending.callback(pool.close)
            try:
                self._search(context, opened, pool)
            except StorageFault as error:
                raise StorageError(f"study {opened.study.name!r}: {loss(self._storage, opened.study, error)}") from error

    @override
    def _opened(self) -> OpenStudy:
        opened = open_study(self._plan.setup, self._storage, self._plan.existing, shared=True)
        opened.to_undo.callback(self._give_back)
        with ExitStack() as on_error:
            on_error.callback(opened.close)
            self._begin(opened)
            opened.record.set_attribute(SINCE_ATTRIBUTE, self._share.now())
            on_error.pop_all()
        return opened

    def _joined(self) -> OpenStudy:
        """A study that another worker leads. Raises StudyBusy where it is not ready, or somebody has it alone."""
        study = self._plan.existing
        if study is None:
            raise StudyBusy("is not begun yet", setting="study", value=repr(self._plan.setup.config.study))
        lease = self._storage.get_lease(study.id)
        if lease is None or not is_shared(lease) or not is_alive(lease, self._storage.database_now()):
            raise StudyBusy("is not shared just now", setting="study", value=repr(study.name))
        ending = ExitStack()
        record = record_of(self._plan.setup, study.name)
        ending.callback(record.close)
        opened = OpenStudy(study, record, None, ending)
        self._begin(opened)
        if not self._is_ready(record):
            opened.close()
            raise StudyBusy("is not begun yet", setting="study", value=repr(study.name))
        return opened

    def _is_ready(self, record: OptunaRecord) -> bool:
        """Whether what holds for all workers has been put down by the one that leads."""
        trials, goal = self._plan.setup.config.trials, record.attribute(GOAL_ATTRIBUTE)
        known = record.attribute(SAMPLER_ATTRIBUTE) is not None and record.attribute(SINCE_ATTRIBUTE) is not None
        return known and (trials is None or (goal is not None and goal["trials"] == trials))

    @override
    def _context(self, opened: OpenStudy) -> RunContext:
        context = super()._context(opened)
        if self._spool is not None:
            self._kept = Spool(self._spool, opened.study, worker=self._share.token, claim=self._share.fence)
        return replace(context, spool=self._kept)

    def _give_back(self) -> None:
        """What was kept holds under claims: it is stored first. Where the database is away they are left to run out, and until somebody
        else takes them who works on this machine next stores it."""
        kept = self._kept
        try:
            if kept is not None and not kept.empty:
                self._progress.note(told([now for _, now in kept.flush(self._storage)]))
        except StorageFault:
            return
        finally:
            if kept is not None:
                kept.let_go()
        self._share.give_back()

    def _begin(self, opened: OpenStudy) -> None:
        self._share.begin(self._storage, opened.study.id)
        opened.record.lock = lambda: self._share.locked(ANSWERING)

    @override
    def _pool(self, context: RunContext, study: Study) -> EnginePool:
        """Engine starts get their numbers from the database: a pair is one round of one start, and no two starts may look like one."""
        starts = lambda: self._storage.spend(study.id, engine_starts=1).engine_starts  # noqa: E731
        pool = EnginePool(context, self._launcher, lambda: self._save(context, study, pool), number=starts)
        return pool

    @override
    def _clock(self, study: Study) -> CostClock:
        return CostClock(now=self._now)

    def _search(self, context: RunContext, opened: OpenStudy, pool: EnginePool) -> TimeBudget:
        budget = TimeBudget(context.clock, self._time_left(opened.record))
        book = SharedBook(context, opened.study, opened.record)
        SharedSearch(self._plan, context, opened.record, book, pool, budget=budget, prior=self._prior, share=self._share).run()
        return budget

    def _time_left(self, record: OptunaRecord) -> float | None:
        """Of the time budget, which began with the worker that leads. Seconds."""
        budget = self._plan.setup.config.time_budget
        since = record.attribute(SINCE_ATTRIBUTE)
        return None if budget is None else max(0.0, budget - (self._share.now() - float(since)))

    @override
    def _search_and_confirm(self, context: RunContext, opened: OpenStudy, pool: EnginePool) -> StudyOutcome:
        budget = self._search(context, opened, pool)
        try:
            with self._share.within(CONCLUDING):
                book = TrialBook(context, opened.study, opened.record)
                book.settle_with_optuna()
                return self._conclude(context, opened, book, pool, budget)
        except ClaimLost as error:
            raise StudyTaken(
                f"study {opened.study.name!r} is ended by another worker, which heard nothing of this one for too long"
            ) from error

    @override
    def _fenced(self, opened: OpenStudy) -> Storage:
        """Within what this worker has claimed, whoever holds the study's lease."""
        return self._share.fenced(self._storage)

    @override
    def _save(self, context: RunContext, study: Study, pool: EnginePool, state: StudyState | None = None) -> None:
        """What this worker took since it last said so is added to what others took."""
        totals = context.clock.totals()
        since = {name: max(0.0, seconds - self._spent.get(name, 0.0)) for name, seconds in totals.items()}
        self._spent = totals
        self._storage.spend(study.id, cost=since)
        if state is not None:
            context.storage.update_study(study.id, state=state)

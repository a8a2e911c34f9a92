"""The search stage of a study that several workers work on: one batch after the other, until nothing is left for this worker.

Which batch comes next is decided by one worker at a time, with all that the others began and finished in view: first what a dead worker
left, then new configurations, by the grid or by the sampler, to whom trials that run elsewhere are pending.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import groupby
from typing import override

from storage.base import ClaimLost
from storage.records import Stage
from tuner.core.errors import FailureClass, TrialFailed
from tuner.search.asking import Asking
from tuner.search.plan import SearchPlan
from tuner.search.prior import SimulatedPrior
from tuner.search.shared_book import SharedBook
from tuner.search.sharing import ASKING, CONCLUDING, MOST_DEATHS, Key, Share, key_of, key_text
from tuner.search.study import BATCH, Search
from tuner.serving.numerics import numerics_of
from tuner.setup.space import Configuration, EngineKey
from tuner.trials.budget import TimeBudget
from tuner.trials.context import RunContext
from tuner.trials.engines import EnginePool
from tuner.trials.optuna_record import GOAL_ATTRIBUTE, OptunaRecord
from tuner.trials.retry import attempts_of, is_left_by
from tuner.trials.trial import FIRST_ROUND, TrialRun
from tuner.verdict.evidence import TWIN_OF


@dataclass(frozen=True)
class Batch:
    """Claimed by this worker. `poisoned`: too many workers died of it. `to_make`: configurations whose trials are not there yet and begin
    with `first_round`."""

    key: str
    runs: Sequence[TrialRun] = ()
    poisoned: bool = False
    to_make: Sequence[Configuration] = ()
    first_round: int = 0


class SharedSearch(Search):
    """`run` returns where nothing is left. For the worker that leads this means that nobody measures any more; it then holds CONCLUDING."""

    def __init__(
        self,
        plan: SearchPlan,
        context: RunContext,
        record: OptunaRecord,
        book: SharedBook,
        pool: EnginePool,
        *,
        budget: TimeBudget,
        prior: SimulatedPrior | None,
        share: Share,
    ) -> None:
        super().__init__(plan, context, record, book, pool, budget=budget, prior=prior)
        self._shared_book = book
        self._share = share
        self._asking: Asking | None = None
        if self._sampler != "grid":
            self._asking = Asking(context, book, pool, record, self._sampler, prior=prior)
        self._grid = self._numerics_of_the_baseline_first() if self._asking is None else []
        self._own_numerics = numerics_of(self._setup.group_engine(*self._space.baseline.engine))
        # Trials are made outside the lock, where it does not matter for others which ones there are: Optuna takes its time.
        one_of_each = self._asking is None and not self._twins.among([item for item in self._grid if book.find(item) is None])
        self._made_apart = one_of_each and self._setup.config.trials is None
        self._left_open: set[int] = set()  # trials that this worker had its turn with and that time did not let end
        if share.leads:
            self._allowed()  # sets the goal, which those who join read

    def run(self) -> None:
        self._announce([], self._new_allowed())
        idle = 0
        while not self._share.lead_is_free():
            self._share.may_go_on()
            try:
                batches = self._next()
            except ClaimLost as error:  # of the right to choose: this worker was silent for too long
                self._context.progress.note(str(error))
                continue
            if batches is None:
                return
            for batch in batches:
                self._work_off(batch)
            if not batches:
                self._share.pause(idle)
            idle = 0 if batches else idle + 1

    def _work_off(self, batch: Batch) -> None:
        """Whatever another worker took over is its own from then on."""
        try:
            with self._share.within(batch.key):
                runs = self._made(batch.to_make, batch.first_round) if batch.to_make else batch.runs
                if batch.poisoned:
                    self._give_up(runs)
                else:
                    self._measure(runs)
                self._shared_book.store_what_was_kept()
                self._open_to_others(runs)
            self._left_open |= {run.trial.id for run in runs if not run.finished and not self._is_left(run)}
        except ClaimLost as error:
            self._context.progress.note(f"{error}; this worker goes on with something else")
            self._pool.drop()
        self._share.end(batch.key)

    def _is_left(self, run: TrialRun) -> bool:
        """By a worker on this host, to one on another."""
        return not run.finished and is_left_by(run.trial.notes, self._context.retries.host)

    def _open_to_others(self, runs: Sequence[TrialRun]) -> None:
        """What this host left, where its pairs have ended here: it gets rounds of its own, in which these are measured along."""
        left = [run for run in runs if self._is_left(run)]
        if not left or len(left) == len(runs):
            return
        first_round = self._book.next_round(left[0].configuration.engine)
        for run in left:
            run.trial = replace(run.trial, notes={**run.trial.notes, FIRST_ROUND: first_round})
            self._book.store_notes(run)

    def _give_up(self, runs: Sequence[TrialRun]) -> None:
        why = f"{MOST_DEATHS} workers died while they measured it; look at their logs"
        for run in runs:
            self._book.fail(run, TrialFailed(FailureClass.ENGINE_CRASH, why))

    def _next(self) -> list[Batch] | None:
        """Batches to measure; [] where there may be some later, None where there will be none."""
        share = self._share
        with share.locked(ASKING), share.within(ASKING):
            share.check_alone()
            self._twins.see(self._shared_book.refresh())
            self._twins.settle()
            others = [claim.group_key for claim in share.others()]
            if CONCLUDING in others:
                return None
            left_behind = None if self._out_of_time() else self._left_behind(others)
            if left_behind is not None:
                return [left_behind]
            new = [] if self._out_of_time() else self._chosen(others)
            if new:
                return self._begun(new)
            if new is None:
                return []
            if not share.leads:
                return None
            others_come = not self._out_of_time() and self._left_to_others()
            return None if not others and not others_come and share.claim(CONCLUDING) else []

    def _left_to_others(self) -> set[int]:
        """Ids of trials that this host left, while another is there to take them up."""
        left = {run.trial.id: attempts_of(run.trial.notes)[-1].at for run in self._book.unfinished() if self._is_left(run)}
        return set(left) if left and self._context.retries.elsewhere(time.time() - max(left.values())) else set()

    def _left_behind(self, others: Sequence[str]) -> Batch | None:
        """What a worker that is gone, or an earlier run, began and did not finish."""
        mine = self._left_open | self._left_to_others()
        waiting = [run for run in self._book.unfinished() if run.trial.id not in mine and TWIN_OF not in run.trial.notes]
        theirs = [run for run in waiting if key_text(_key(run)) in others]
        allowed = self._allowed()
        free = sorted(
            (run for run in waiting if key_text(_key(run)) not in others), key=lambda run: (not run.measurements, run.trial.number)
        )
        free = free if allowed is None else free[: max(0, allowed - len(theirs))]
        for key in dict.fromkeys(map(_key, free)):
            text = key_text(key)
            if self._share.claim(text):
                runs = [run for run in free if _key(run) == key]
                self._shared_book.reload(runs)
                return Batch(text, runs, poisoned=self._share.deaths(text) >= MOST_DEATHS)
        return None

    def _chosen(self, others: Sequence[str]) -> list[list[Configuration]] | None:
        """New configurations of each engine; None where they have to wait for what is measured elsewhere."""
        left = self._new_allowed()
        if left == 0:
            return []
        return self._of_the_grid(others, left) if self._asking is None else self._of_the_sampler(self._asking, left)

    def _of_the_grid(self, others: Sequence[str], left: int | None) -> list[list[Configuration]] | None:
        self._grid = [item for item in self._grid if self._book.find(item) is None]
        taken = {key[0] for key in map(key_of, others) if key is not None}  # their trials may not be there yet
        for engine in dict.fromkeys(item.engine for item in self._grid):
            if engine not in taken and self._may_begin(engine):
                return [[item for item in self._grid if item.engine == engine][:left]]
        return None if self._grid else []

    def _may_begin(self, engine: EngineKey) -> bool:
        """Engines of other numerics than the baseline's have to have its answers to be compared with (tuner.trials.guard)."""
        if not self._setup.config.guard or numerics_of(self._setup.group_engine(*engine)) == self._own_numerics:
            return True
        kinds = {key: numerics_of(self._setup.group_engine(*key)) for key in self._space.engines}
        own = [run for run in self._book.staged(Stage.SEARCH) if kinds.get(run.configuration.engine) == self._own_numerics]
        return any(run.finished or run.measurements for run in own) or not any(kind == self._own_numerics for kind in kinds.values())

    def _of_the_sampler(self, asking: Asking, left: int | None) -> list[list[Configuration]] | None:
        if asking.exhausted:
            return []
        if not asking.knows_the_accelerator:
            return None
        batch = max(BATCH, self._space.compared_levels)
        chosen = sorted(asking.choose(batch if left is None else min(batch, left)), key=self._engine_order)
        return [list(group) for _, group in groupby(chosen, key=lambda item: item.engine)]

    def _begun(self, groups: Sequence[Sequence[Configuration]]) -> list[Batch]:
        """Claimed and stored. Raises ClaimLost where ASKING was lost, and with it the right to begin anything."""
        batches: list[Batch] = []
        with ExitStack() as on_error:
            for configurations in groups:
                first_round = self._book.next_round(configurations[0].engine)
                text = key_text((configurations[0].engine, first_round))
                if self._share.claim(text):  # else a worker died between its claim and its trials: its claim has to run out first
                    on_error.callback(self._share.end, text)
                    runs = [] if self._made_apart else self._made(configurations, first_round)
                    to_make = configurations if self._made_apart else ()
                    batches.append(Batch(text, runs, to_make=to_make, first_round=first_round))
            on_error.pop_all()
        return batches

    def _made(self, configurations: Sequence[Configuration], first_round: int) -> list[TrialRun]:
        """Those of them that have to be measured."""
        if self._twins.among(configurations):
            return self._create(configurations)
        runs = self._shared_book.create_all(configurations, self._engine, first_round)
        self._twins.see(runs)
        return runs

    @override
    def _settle(self) -> None:
        """Not while something is measured: others could give the same twin its result (see `_next`)."""

    def _new_allowed(self) -> int | None:
        """How many new trials this run of the study may still begin; None: any number."""
        goal = self._record.attribute(GOAL_ATTRIBUTE) if self._setup.config.trials is not None else None
        return None if goal is None else max(0, int(goal["total"]) - len(self._book.staged(Stage.SEARCH)))


def _key(run: TrialRun) -> Key:
    return run.configuration.engine, run.first_round

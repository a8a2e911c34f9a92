"""All configurations of one engine, measured in randomised interleaved rounds. Failures end one configuration, never the group.

The order within a round (tuner.trials.rounds.round_order) is drawn from the study's seed, the engine and the round alone, so that a resumed
study measures what is missing in the very order in which it would have.
"""

from __future__ import annotations

import contextlib
import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property

from storage.records import Stage, TrialState
from tuner.core.contract import ARM_DEFAULT, EngineSession, EngineSettings
from tuner.core.errors import EngineLost, FailureClass, TrialFailed
from tuner.core.spans import span
from tuner.metrics.objective import is_feasible, median_metrics
from tuner.setup.space import Configuration
from tuner.stats.drift import detect_drift
from tuner.trials.budget import TimeBudget
from tuner.trials.context import RunContext
from tuner.trials.engines import EnginePool, environment_of, launcher_errors
from tuner.trials.guard import Guard
from tuner.trials.idle import wait_until_idle
from tuner.trials.learned import attempt_of, dominated_by_oom, known_out_of_memory
from tuner.trials.retry import Next
from tuner.trials.retrying import Retrying
from tuner.trials.rounds import RoundHistory, RoundPolicy, configurations_in_order
from tuner.trials.trial import BUSY, REPEATED, TrialBook, TrialRun
from tuner.verdict.evidence import DRIFTED, Origin
from tuner.verdict.guard_words import NOT_CHECKED

MAX_REPEATS = 2  # of a window in which something was compiled, or that others disturbed
LOSSES_IN_A_ROW = 3  # engines lost without a window in between: then it is not one configuration's fault any more
SATURATED_AT_MOST = 2  # windows that the engine cannot keep up with: one may be a wrong alarm, a third tells nothing new


class _GroupOver(Exception):  # not an error: the way out of the rounds
    """Raised inside a group when no engine can be had any more."""


class GroupRun:
    """One engine's worth of work. `baselines` are finished trials that are measured along, so that new ones have pairs in their rounds."""

    def __init__(
        self,
        context: RunContext,
        book: TrialBook,
        pool: EnginePool,
        budget: TimeBudget,
        *,
        engine: EngineSettings,
        runs: Sequence[TrialRun],
        policy: RoundPolicy,
        baselines: Sequence[TrialRun] = (),
        stage: Stage = Stage.SEARCH,
        first_round: int | None = None,
    ) -> None:
        """`first_round`: of rounds that are only a part of those of `runs`, which `measure` measures."""
        self._context = context
        self._setup = context.setup
        self._book = book
        self._pool = pool
        self._budget = budget
        self._engine = engine
        self._runs = {run.configuration: run for run in (*baselines, *runs)}
        self._policy = policy
        self._stage = stage
        self._first_round = min((run.first_round for run in runs), default=0) if first_round is None else first_round
        self._losses = 0
        self._warm: set[Configuration] = set()
        self._ready = False
        self._round_s: float | None = None
        self._alive = set(self._runs)
        self._left: set[Configuration] = set()  # to another host, which goes on with them
        self._retrying = Retrying(context.retries, store=book.store_notes, say=context.progress.note, still_ours=context.still_ours)

    def execute(self) -> None:
        """Measure what is missing and finish every trial that could be measured, but for those that are left to another host. Only the
        storage's own errors and Interrupted pass."""
        self.measure()
        mine = [run for configuration, run in self._runs.items() if configuration not in self._left]
        unfinished = [run for run in mine if not run.finished and run.measurements]
        if unfinished:
            mark_drift(self._book, list(self._runs.values()), self._first_round, self._setup.objectives[0].metric)
        for run in unfinished:
            self._book.complete(run)

    def measure(self) -> None:
        """Measure what is missing; trials that can go on stay unfinished."""
        self._skip_impossible()
        with contextlib.suppress(_GroupOver):
            self._rounds()

    def _skip_impossible(self) -> None:
        """Record, and do not try, what the limits of the accelerator or an earlier out-of-memory rule out.

        What was warmed up has shown that it fits, whatever happened to another configuration.
        """
        ruled_out = next(iter(map(str, self._setup.infeasible(self._engine))), None)
        known = known_out_of_memory([run.trial for run in self._book.runs])
        for configuration in sorted(self._alive - self._warm):
            run = self._runs[configuration]
            reason = ruled_out or (dominated_by_oom(attempt_of(run.trial), known) if known else None)
            if reason is not None and not run.finished and not run.valid:
                self._book.skip(run, reason)
                self._alive.discard(configuration)

    def _rounds(self) -> None:
        done = 0
        while True:
            wanted = list(self._policy.next_round(self._history(done)))
            nothing_new = all(self._runs[configuration].finished for configuration in self._alive)
            if not wanted or nothing_new or (self._budget.spent and self._stage is Stage.SEARCH and self._has_values()):
                return
            begun = self._context.clock.now()
            if self._round(self._first_round + done, wanted):
                self._round_s = self._context.clock.now() - begun
            done += 1

    def _round(self, number: int, wanted: Sequence[Configuration]) -> bool:
        """Measure the windows of this round that are missing; True if there were any and no engine was lost."""
        order = self._order(number, wanted)
        missing = [configuration for configuration in order if not self._runs[configuration].tried(number)]
        lost = False
        for configuration in missing:
            if configuration not in self._alive:  # failed while warming up
                continue
            lost |= self._guarded(configuration, number, order.index(configuration), missing)
        return bool(missing) and not lost

    def _guarded(self, configuration: Configuration, number: int, position: int, wanted: Sequence[Configuration]) -> bool:
        """One window, again where its failure allows that; True if it cost an engine. `wanted`: what has to be warm."""
        lost = False
        while True:
            session = self._session(wanted)
            if configuration not in self._alive:  # failed while warming up
                return lost
            try:
                self._window(configuration, number, position, session)
                return lost
            except TrialFailed as error:
                lost |= self._failed(configuration, error)
                if configuration not in self._alive:
                    return lost

    def _window(self, configuration: Configuration, number: int, position: int, session: EngineSession) -> None:
        context, run = self._context, self._runs[configuration]
        context.still_ours()
        context.progress.doing(f"round {number - self._first_round + 1}: {configuration}")
        for repeat in range(1 + MAX_REPEATS):
            begun = context.clock.now()
            watchdog = self._pool.watchdog
            traced = self._traced(configuration, number)
            with context.clock.phase("measure"), watchdog.explained(), launcher_errors(f"measuring {configuration}"), traced:
                result = session.measure(configuration.live, self._setup.plan, watchdog.patience_s)
            watchdog.measured(context.clock.now() - begun)
            last = repeat == MAX_REPEATS  # a load that stays, although it was waited for, is how this machine is
            measurement = self._book.add_window(run, result, number, position, self._pool.origin, accept_busy=last)
            self._losses = 0
            if measurement.invalid_reason not in REPEATED:
                break
            if measurement.invalid_reason == BUSY:
                wait_until_idle(self._book.contentions)
        context.costs.window_measured(context.clock.now() - begun)
        context.progress.window_measured()
        if not run.finished and run.saturated_windows >= SATURATED_AT_MOST and run.saturated_windows > len(run.valid):
            self._book.give_up_saturated(run)
            self._alive.discard(configuration)

    def _traced(self, configuration: Configuration, number: int) -> contextlib.AbstractContextManager[None]:
        trial = self._runs[configuration].trial.number
        return span("window", trial=trial, configuration=str(configuration), round=number, stage=self._stage.value)

    def _session(self, wanted: Sequence[Configuration]) -> EngineSession:
        """A running engine in which all configurations of the round are warm. Raises _GroupOver where it cannot be had."""
        while True:
            try:
                session, fresh = self._pool.session(self._engine, next(iter(self._runs)).engine[1])
            except TrialFailed as error:
                self._pool.drop()
                if self._start_again(error):
                    continue
                self._fail_rest(error)
                raise _GroupOver from error
            if fresh:
                self._warm.clear()
            cold = [item for item in wanted if item in self._alive and item not in self._warm]
            if all(self._warm_up(item, session) for item in cold):
                return session

    def _warm_up(self, configuration: Configuration, session: EngineSession) -> bool:
        """False where the engine was lost and the caller has to begin again with a new one."""
        self._context.progress.doing(f"warming up: {configuration}")
        try:
            with self._context.clock.phase("warm_up"), launcher_errors(f"warming up {configuration}"):
                session.warm_up(configuration.live, self._setup.plan, self._setup.config.trial_timeout)
            self._warm.add(configuration)
            self._book.start(self._runs[configuration], environment_of(session), session.report)
            self._check_answers(configuration, session)
        except TrialFailed as error:
            return not self._failed(configuration, error)
        return True

    def _check_answers(self, configuration: Configuration, session: EngineSession) -> None:
        """Raises TrialFailed where this engine does not answer as the study's first one did."""
        setup = self._setup
        if not setup.config.guard:
            return
        run = self._runs[configuration]
        if not session.generates:
            self._book.answered(run, NOT_CHECKED)
            return
        guard = Guard(
            setup.canaries,
            setup.guard_limits,
            setup.engine.with_factors(setup.space.baseline.factors),
            self._book.record,
            setup.config.trial_timeout,
            arms_live=self._pool.all_live,
        )
        self._context.progress.doing(f"checking answers: {configuration}")
        with self._context.clock.phase("warm_up"), launcher_errors(f"checking the answers of {configuration}"):
            note = guard.check(session, self._engine, configuration.live, str(configuration))
        self._book.answered(run, note)

    def _start_again(self, error: TrialFailed) -> bool:
        """Whether an engine that did not start is started once more."""
        following = self._after([item for item in self._alive if not self._runs[item].finished], error)
        if following is Next.ELSEWHERE:
            self._alive.clear()
            raise _GroupOver from error
        return following is Next.HERE

    def _after(self, failed: Sequence[Configuration], error: TrialFailed) -> Next:
        """What becomes of those that failed together: in time that is left, and as long as no engine was lost for good without a window
        since. What has windows stays here, where the other sides of its pairs are."""
        searching = self._stage is Stage.SEARCH
        may = self._losses == 0 and not (self._budget.spent if searching else self._budget.over)
        runs = [self._runs[item] for item in sorted(failed)]
        may_leave = searching and not any(run.measurements for run in runs)
        following = self._retrying.after(runs, error, self._pool.origin[1] or 0, may=may, may_leave=may_leave)
        if following is Next.ELSEWHERE:
            self._left.update(failed)
        return following

    def _failed(self, configuration: Configuration, error: TrialFailed) -> bool:
        """This configuration is over, unless it stays alive for another attempt. True if the engine is lost too; raises _GroupOver where it
        may not be started again."""
        run = self._runs[configuration]
        following = Next.GIVE_UP if run.finished else self._after([configuration], error)
        if following is Next.HERE:
            self._pool.drop()
            return True
        self._alive.discard(configuration)
        if not run.finished and following is Next.GIVE_UP:
            self._book.fail(run, error)
        elif error.failure is FailureClass.WRONG_OUTPUT:
            self._book.answered_wrong(run, self._engine, error)
        if error.failure is FailureClass.OUT_OF_MEMORY:
            self._skip_impossible()
        if not isinstance(error, EngineLost):
            return False
        self._pool.drop()
        self._losses += 1
        if self._losses == LOSSES_IN_A_ROW:
            # Not with the class of the loss: nobody knows that these would have run out of memory too, and it would be learned from.
            message = f"not measured: {self._losses} engines were lost in a row, the last one by another configuration: {error}"
            self._fail_rest(TrialFailed(FailureClass.ENGINE_CRASH, message, error.log_excerpt))
            raise _GroupOver from error
        return True

    def _fail_rest(self, error: TrialFailed) -> None:
        """Trials without a valid window fail with the engine; those that have one keep what was measured."""
        for configuration in list(self._alive):
            run = self._runs[configuration]
            if not run.finished and not run.valid:
                self._book.fail(run, error)
        self._alive.clear()

    def _history(self, done: int) -> RoundHistory:
        """What the policy may see after `done` rounds. Of a round that spans two engines (one was lost), only the windows of one."""
        objective = self._setup.objectives[0]
        rounds = range(self._first_round, self._first_round + done)
        engine = {number: self._engine_of_round(number) for number in rounds}
        values = {
            configuration: {
                number: value
                for number, value in run.values_by_round(objective.metric).items()
                if number in engine and run.origins_by_round()[number] == engine[number]
            }
            for configuration, run in self._runs.items()
        }
        alive = tuple(configuration for configuration in self._runs if configuration in self._alive)
        return RoundHistory(
            candidates=alive,
            values=values,
            rounds_done=done,
            direction=objective.direction,
            seconds_left=self._budget.search_left_s(),
            round_s=self._round_s,
            may_lead=self._leaders(values),
            incumbent=self._incumbent,
            rivals=len(self._setup.space.configurations),
            positions={item: run.positions_by_round() for item, run in self._runs.items()},
            contrast=self._setup.space.contrast,
        )

    def _leaders(self, values: Mapping[Configuration, Mapping[int, float]]) -> frozenset[Configuration] | None:
        """The configurations that may count as the best so far: None for all; with SLOs those that meet them in the rounds of `values`;
        none with several objectives, where there is no single best."""
        setup = self._setup
        if len(setup.objectives) > 1:
            return frozenset()
        if not setup.slos:
            return None
        found = set()
        for configuration, run in self._runs.items():
            seen = [item for item in run.valid if item.round in values[configuration]]
            if seen and is_feasible(setup.slos, median_metrics(seen)):
                found.add(configuration)
        return frozenset(found)

    @cached_property
    def _incumbent(self) -> tuple[float, ...]:
        """The windows of the best finished trial outside this group that meets every SLO; empty where there is none, or no single best.

        Looked for once: while a group is measured nothing else changes. The best come first, so that few medians are needed.
        """
        setup = self._setup
        if len(setup.objectives) > 1:
            return ()
        (objective,) = setup.objectives
        done = [
            run
            for run in self._book.staged(Stage.SEARCH)
            if run.trial.state is TrialState.COMPLETE and run.measurements and run.configuration not in self._runs
        ]
        ranked = [(-objective.direction.sign * (run.trial.values or {})[objective.name], run.trial.number, run) for run in done]
        heapq.heapify(ranked)  # the first one or two are all that is looked at
        while ranked:
            run = heapq.heappop(ranked)[-1]
            if is_feasible(setup.slos, median_metrics(run.measurements)):
                return tuple(run.values_by_round(objective.metric).values())
        return ()

    def _engine_of_round(self, number: int) -> Origin | None:
        """The engine that most windows of this round come from."""
        found = Counter(origin for run in self._runs.values() if (origin := run.origins_by_round().get(number)) is not None)
        return found.most_common(1)[0][0] if found else None

    def _has_values(self) -> bool:
        """Whether every trial of the group has something to be judged by: a spent budget must not leave half a comparison behind."""
        return all(self._runs[configuration].valid for configuration in self._alive)

    def _order(self, number: int, wanted: Sequence[Configuration]) -> list[Configuration]:
        seed = f"{self._setup.config.seed}/{self._stage}/{self._engine.block_size}"
        return configurations_in_order(wanted, seed, number, self._setup.space.contrast)


def mark_drift(book: TrialBook, runs: Sequence[TrialRun], first_round: int, metric: str) -> None:
    """Take the rounds in which the machine was not what it was (tuner.stats.drift) out of the values of all configurations alike.

    Seen in the group's first default-arm trial, which is in every round. Pairs keep these rounds (tuner.verdict.compare): what both arms
    share cancels in their ratio.
    """
    control = next((run for run in sorted(runs, key=lambda run: run.configuration.arm != ARM_DEFAULT) if run.valid), None)
    if control is None:
        return
    series = {number: value for number, value in control.values_by_round(metric).items() if number >= first_round}
    drifted = frozenset(detect_drift(series).drifted_rounds)
    for run in runs:
        if not run.finished and any(item.round not in drifted for item in run.valid):
            book.invalidate(run, drifted, DRIFTED)

"""Measures a study whose compared factor is cold: engine starts of its levels in turn, A B B A, many of each.

Two starts of the same engine differ by themselves (memory layout, compiled programs), and everything that is measured in one start shares
that. So the unit of the comparison is the start, and windows within it only make it exact. All levels of what is otherwise one engine are
started one right after the other, a *block*, so that the machine's slow changes are nearly the same for them; the order within a block is
drawn, and each odd block turns the order of the one before it round. Block k has the rounds k * windows to (k + 1) * windows - 1 of every
trial: tuner.verdict.cold_pairs reads the pairs off these numbers.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import replace

from storage.records import Stage
from tuner.search.twins import Twins
from tuner.setup.space import Configuration, EngineKey
from tuner.trials.budget import TimeBudget
from tuner.trials.context import RunContext
from tuner.trials.engines import EnginePool
from tuner.trials.group import GroupRun
from tuner.trials.rounds import FixedRounds, round_order
from tuner.trials.trial import TrialBook, TrialRun


class ColdComparison:
    """Takes up what is missing; ends early only between blocks. A trial is finished when its last block is over."""

    def __init__(self, context: RunContext, book: TrialBook, pool: EnginePool, budget: TimeBudget, twins: Twins) -> None:
        self._twins = twins
        self._context = context
        self._setup = context.setup
        self._space = context.setup.space
        self._book = book
        self._pool = pool
        self._budget = budget
        self._windows = context.setup.config.rounds.min

    def run(self) -> None:
        for engines in self._families():
            if self._budget.spent and any(run.finished and run.valid for run in self._book.staged(Stage.SEARCH)):
                return
            self._compare(engines)

    def _families(self) -> list[list[EngineKey]]:
        """Engines that differ in the compared factor alone, the baseline level first."""
        contrast = self._space.contrast
        found: dict[Hashable, dict[EngineKey, bool]] = {}
        for item in self._space.configurations:
            plain = replace(item, max_num_batched_tokens=0, arm="", factors=item.engine[1])
            found.setdefault(contrast.rest(plain), {})[item.engine] = contrast.level(item) != contrast.baseline
        return [sorted(engines, key=engines.__getitem__) for engines in found.values()]

    def _compare(self, engines: list[EngineKey]) -> None:
        runs = {engine: self._twins.runs(self._space.group(engine), self._create) for engine in engines}
        names = {str(engine): engine for engine in engines}
        seed = f"{self._setup.config.seed}/cold/{engines[0]}"
        for block in range(self._setup.config.starts):
            if block and self._budget.spent:
                break
            for name in round_order({"": list(names)}, seed, block):
                self._start(names[name], [run for run in runs[names[name]] if not run.finished], block * self._windows)
            if sum(any(not run.finished for run in found) for found in runs.values()) < 2:
                break  # nothing is left to compare with
        for run in (run for found in runs.values() for run in found):
            if not run.finished and run.measurements:
                self._book.complete(run)
        self._twins.settle()

    def _create(self, configuration: Configuration, twin_of: int | None) -> TrialRun:
        return self._book.create(configuration, self._setup.group_engine(*configuration.engine), Stage.SEARCH, 0, twin_of=twin_of)

    def _start(self, engine: EngineKey, runs: Iterable[TrialRun], first_round: int) -> None:
        """One engine start with its windows; none where they are known. The engine that runs is never used again, whatever it is."""
        rounds = range(first_round, first_round + self._windows)
        missing = [run for run in runs if not all(run.tried(number) for number in rounds)]
        if not missing:
            return
        self._pool.drop()
        GroupRun(
            self._context,
            self._book,
            self._pool,
            self._budget,
            engine=self._setup.group_engine(*engine),
            runs=missing,
            policy=FixedRounds(self._windows),
            first_round=first_round,
        ).measure()

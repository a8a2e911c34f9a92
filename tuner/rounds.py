"""How many rounds, and of which configurations: the policies that a search asks after every round. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tuner.adaptive import decide_rounds
from tuner.launchers.base import ARM_DEFAULT, ARM_PAGE_ALIGNED
from tuner.metric_catalog import Direction
from tuner.racing import race
from tuner.sequential import LookPlan
from tuner.space import Configuration
from tuner.statistics import paired_log_ratios

type Cell = tuple[int, int]


@dataclass(frozen=True)
class RoundHistory:
    """What a policy sees: the valid values of the objective's metric by configuration and round, of rounds that are over.

    `candidates` are the configurations that can still be measured (those that failed are gone); `rounds_done` counts rounds, also where
    a window was invalid. `seconds_left` is None without a time budget; `round_s` is what the last round took.
    """

    candidates: tuple[Configuration, ...]
    values: Mapping[Configuration, Mapping[int, float]]
    rounds_done: int
    direction: Direction
    seconds_left: float | None = None
    round_s: float | None = None

    def pairs(self) -> dict[Cell, Sequence[float]]:
        """Log-ratios page_aligned / default of each cell whose two arms are candidates."""
        found: dict[Cell, Sequence[float]] = {}
        for configuration in self.candidates:
            if configuration.arm == ARM_PAGE_ALIGNED and configuration.twin in self.candidates:
                baseline, candidate = self.values.get(configuration.twin, {}), self.values.get(configuration, {})
                found[configuration.cell] = list(paired_log_ratios(baseline, candidate).values())
        return found


class RoundPolicy(Protocol):
    def next_round(self, history: RoundHistory) -> Sequence[Configuration]:
        """The candidates worth another round; empty means stop. Must depend on nothing but `history`, so that a resumed study goes on as it
        would have."""
        ...


@dataclass(frozen=True)
class FixedRounds:
    """Every candidate, the same number of times: one look at the data, at the end."""

    rounds: int

    def next_round(self, history: RoundHistory) -> Sequence[Configuration]:
        return history.candidates if history.rounds_done < self.rounds else ()


@dataclass(frozen=True)
class AdaptiveRounds:
    """Between `plan.first` and `plan.last` rounds: cells until they are decided (tuner.adaptive), single arms until they have lost
    (tuner.racing). `baseline` stays in every round as long as there is one, so that drift can be seen."""

    plan: LookPlan
    baseline: Configuration | None = None

    def next_round(self, history: RoundHistory) -> Sequence[Configuration]:
        if history.rounds_done < self.plan.first:
            return history.candidates
        if history.rounds_done >= self.plan.last:
            return ()
        wanted = self._undecided(history) | self._in_the_race(history)
        if not wanted:
            return ()
        if self.baseline is not None:
            wanted.add(self.baseline)
        return [candidate for candidate in history.candidates if candidate in wanted]

    def _undecided(self, history: RoundHistory) -> set[Configuration]:
        pairs = history.pairs()
        if not pairs:
            return set()
        decision = decide_rounds(
            pairs,
            history.direction,
            self.plan,
            rounds_done=history.rounds_done,
            budget_left_s=history.seconds_left,
            round_s=history.round_s,
        )
        if decision.stop:
            return set()
        return {Configuration(*cell, arm) for cell in decision.open_cells for arm in (ARM_DEFAULT, ARM_PAGE_ALIGNED)}

    def _in_the_race(self, history: RoundHistory) -> set[Configuration]:
        """Configurations without a twin to be compared with: those that can still be best, as long as that is more than one."""
        paired = history.pairs()
        alone = {str(item): item for item in history.candidates if item.cell not in paired}
        if len(alone) < 2:
            return set()
        result = race({name: history.values.get(item, {}) for name, item in alone.items()}, history.direction, plan=self.plan)
        return {alone[name] for name in result.active} if len(result.active) > 1 else set()


def round_policy(first: int, last: int, baseline: Configuration | None = None) -> RoundPolicy:
    """Fixed where the two numbers are equal."""
    return FixedRounds(last) if first == last else AdaptiveRounds(LookPlan(first, last), baseline)

"""How many rounds, of which configurations, and in which order. Pure.

The policies are asked by a search after every round. Within a round the arms of a cell come one right after the other, so that whatever
drifts within a round (clock speed, temperature, other processes) is nearly the same for both and cancels in their ratio, which is what a
verdict is made of. The cells of a round are in random order; so are the arms of a cell, and every odd round turns the order of the even one
before it round: what being second costs or gains cancels in the mean, and a lasting order effect only widens the interval. What that is
worth under noise that is correlated in time is printed by bench/null_and_power.py.
"""

from __future__ import annotations

import random
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Protocol

from tuner.core.contrast import ALIGNMENT, Contrast
from tuner.core.factors import Cell
from tuner.metrics.catalog import Direction
from tuner.setup.space import Configuration
from tuner.stats.adaptive import decide_rounds
from tuner.stats.drift import outlier_rounds, without_disturbed
from tuner.stats.intervals import ERROR_RATE, paired_log_ratios
from tuner.stats.order_effect import order_effect, order_of_rounds, without_order
from tuner.stats.racing import cannot_win, race
from tuner.stats.samples import ROBUST_FROM
from tuner.stats.sequential import InterimPlan

LEAST_PART = 1 / 8  # of a study's cells in one engine: more would cost rounds that few verdicts of a large study need


@dataclass(frozen=True)
class RoundHistory:
    """What a policy sees: the valid values of the objective's metric by configuration and round, of rounds that are over.

    `candidates` are the configurations that can still be measured (those that failed are gone); `rounds_done` counts rounds, also where
    a window was invalid. `seconds_left` is None without a time budget; `round_s` is what the last round took. `may_lead`: those that meet
    every SLO so far (None: all; empty where several objectives leave no single best). `incumbent`: the windows of the best feasible trial
    of other engines; `rivals`: how many configurations the study has. `positions`: which place in its round each of the windows had.
    `contrast`: what is compared in pairs.
    """

    candidates: tuple[Configuration, ...]
    values: Mapping[Configuration, Mapping[int, float]]
    rounds_done: int
    direction: Direction
    seconds_left: float | None = None
    round_s: float | None = None
    may_lead: frozenset[Configuration] | None = None
    incumbent: tuple[float, ...] = ()
    rivals: int = 1
    positions: Mapping[Configuration, Mapping[int, int]] = field(default_factory=dict)
    contrast: Contrast = ALIGNMENT

    def pairs(self) -> dict[Cell, Sequence[float]]:
        """Log-ratios page_aligned / default, or of each level of the compared factor over the baseline level, of each place whose two
        sides are candidates: those that it will be judged by (tuner.verdict.compare)."""
        paired = self.paired()
        found = {
            cell: paired_log_ratios(self.values.get(baseline, {}), self.values.get(candidate, {}))
            for cell, (baseline, candidate) in paired.items()
        }
        few = any(len(ratios) < ROBUST_FROM for ratios in found.values())
        disturbed = outlier_rounds({str(item): series for item, series in self.values.items()}) if few else frozenset()
        kept = {cell: without_disturbed(ratios, disturbed) for cell, ratios in found.items()}
        orders = {cell: self._orders(paired[cell], ratios) for cell, ratios in kept.items()}
        effect = order_effect((list(ratios.values()), orders[cell]) for cell, ratios in kept.items())
        return {cell: without_order(list(ratios.values()), orders[cell], effect) for cell, ratios in kept.items()}

    def _orders(self, pair: tuple[Configuration, Configuration], rounds: Iterable[int]) -> list[int]:
        baseline, candidate = (self.positions.get(item, {}) for item in pair)
        found = order_of_rounds(baseline, candidate)
        return [found.get(number, 0) for number in rounds]

    def paired(self) -> dict[Cell, tuple[Configuration, Configuration]]:
        """Place -> (baseline level, other level), for those whose two sides are candidates."""
        contrast = self.contrast
        first = {contrast.rest(item): item for item in self.candidates if contrast.level(item) == contrast.baseline}
        others = (item for item in self.candidates if contrast.level(item) != contrast.baseline)
        return {contrast.place(item): (first[rest], item) for item in others if (rest := contrast.rest(item)) in first}


def level_of_part(here: int, everywhere: int) -> float:
    """The level at which the cells of one engine are decided, `here` and `everywhere` being numbers of cells or of configurations.

    So that what is decided here is still decided when all cells of the study are judged together: R of 3 cells at R / 3 of this level are
    R of 12 at R / 12 of the study's.
    """
    return ERROR_RATE * min(1.0, max(LEAST_PART, here / everywhere))


class RoundPolicy(Protocol):
    def next_round(self, history: RoundHistory) -> Sequence[Configuration]:
        """The candidates worth another round; empty means stop. Must depend on nothing but `history`, so that a resumed study goes on as it
        would have."""
        ...


@dataclass(frozen=True)
class FixedRounds:
    """Every candidate, the same number of times: analysed once, at the end."""

    rounds: int

    def next_round(self, history: RoundHistory) -> Sequence[Configuration]:
        return history.candidates if history.rounds_done < self.rounds else ()


@dataclass(frozen=True)
class AdaptiveRounds:
    """Between `plan.first` and `plan.last` rounds: cells until they are decided (tuner.stats.adaptive), single arms until they have lost
    (tuner.stats.racing). `control`, a default arm, stays in every round as long as there is one, so that drift can be seen.

    `seek_best`: a cell without a verdict is given up as well when neither arm can win any more: it is worse by more than the tie band
    than the leader here or the best elsewhere. `keep`, the baseline's cell, is measured to its verdict in any case. `sure_level`: see
    tuner.stats.adaptive.decide_rounds.
    """

    plan: InterimPlan
    control: Configuration | None = None
    seek_best: bool = False
    keep: Cell | None = None
    sure_level: float | None = None

    def next_round(self, history: RoundHistory) -> Sequence[Configuration]:
        if history.rounds_done < self.plan.first:
            return history.candidates
        if history.rounds_done >= self.plan.last:
            return ()
        wanted, unsure = self._undecided(history)
        wanted |= self._in_the_race(history)
        if self.seek_best:
            wanted -= self.futile(history) - unsure
        if not wanted:
            return ()
        if self.control is not None:
            wanted.add(self.control)
        return [candidate for candidate in history.candidates if candidate in wanted]

    def futile(self, history: RoundHistory) -> set[Configuration]:
        """Those whose whole cell cannot win any more; never of the cell to keep."""
        named = {str(item): history.values.get(item, {}) for item in history.candidates}
        leaders = None if history.may_lead is None else {str(item) for item in history.may_lead}
        dropped = race(named, history.direction, may_lead=leaders, plan=self.plan).dropped
        lost = {item for item in history.candidates if str(item) in dropped or self._lost_elsewhere(item, history)}
        cells: dict[Hashable, set[Configuration]] = {}
        for item in history.candidates:
            cells.setdefault(history.contrast.rest(item), set()).add(item)
        kept = [levels for levels in cells.values() if not any(item.cell == self.keep for item in levels)]
        return {item for levels in kept if levels <= lost for item in levels}

    def _lost_elsewhere(self, item: Configuration, history: RoundHistory) -> bool:
        values = list(history.values.get(item, {}).values())
        return bool(history.incumbent) and cannot_win(history.incumbent, values, history.direction, rivals=history.rivals, plan=self.plan)

    def _undecided(self, history: RoundHistory) -> tuple[set[Configuration], set[Configuration]]:
        """(both sides of the places that are open, those of them that have a verdict which is not yet sure)."""
        pairs, paired = history.pairs(), history.paired()
        if not pairs:
            return set(), set()
        decision = decide_rounds(
            pairs,
            history.direction,
            self.plan,
            level=level_of_part(len({item for pair in paired.values() for item in pair}), history.rivals),
            rounds_done=history.rounds_done,
            budget_left_s=history.seconds_left,
            round_s=history.round_s,
            sure_level=self.sure_level,
        )
        if decision.stop:
            return set(), set()
        return _both_sides(decision.open_cells, paired), _both_sides(decision.unsure, paired)

    def _in_the_race(self, history: RoundHistory) -> set[Configuration]:
        """Configurations without a twin to be compared with: those that can still be best, as long as that is more than one."""
        paired = {item for pair in history.paired().values() for item in pair}
        alone = {str(item): item for item in history.candidates if item not in paired}
        if len(alone) < 2:
            return set()
        leaders = None if history.may_lead is None else {str(item) for item in history.may_lead}
        series = {name: history.values.get(item, {}) for name, item in alone.items()}
        result = race(series, history.direction, may_lead=leaders, plan=self.plan)
        return {alone[name] for name in result.active} if len(result.active) > 1 else set()


def _both_sides(places: Sequence[Cell], paired: Mapping[Cell, tuple[Configuration, Configuration]]) -> set[Configuration]:
    return {item for place in places for item in paired[place]}


def round_policy(
    first: int,
    last: int,
    control: Configuration | None = None,
    *,
    seek_best: bool = False,
    keep: Cell | None = None,
    sure_level: float | None = None,
) -> RoundPolicy:
    """Fixed where the two numbers are equal."""
    return FixedRounds(last) if first == last else AdaptiveRounds(InterimPlan(first, last), control, seek_best, keep, sure_level)


def round_order[Item](cells: Mapping[str, Sequence[Item]], seed: str, number: int) -> list[Item]:
    """Every item of `cells` (name -> its arms) once, for round `number` (from 0).

    A function of its arguments alone, whatever order the mapping has; the order of a cell's arms does not depend on which other cells
    there are. The arms of a cell must be given in the same order every time.
    """
    names = _shuffled(sorted(cells), f"{seed}/{number}")
    return list(chain.from_iterable(_arms(cells[name], f"{seed}/{name}/{number // 2}", turned=number % 2 == 1) for name in names))


def configurations_in_order(wanted: Iterable[Configuration], seed: str, number: int, contrast: Contrast = ALIGNMENT) -> list[Configuration]:
    """The configurations of a round of one engine, in the order in which they are measured. `contrast`: whose levels come one right after
    the other, as the arms do."""
    cells: dict[str, list[Configuration]] = {}
    for configuration in sorted(wanted):
        rest = configuration.cell if contrast.of_arms else contrast.rest(configuration)
        cells.setdefault(str(rest), []).append(configuration)
    return round_order(cells, seed, number)


def _arms[Item](arms: Sequence[Item], seed: str, *, turned: bool) -> list[Item]:
    order = _shuffled(arms, seed)
    return order[::-1] if turned else order


def _shuffled[Item](items: Sequence[Item], seed: str) -> list[Item]:
    return random.Random(seed).sample(items, len(items))  # noqa: S311  # no secret: an order that can be repeated

"""What may be said of single cells in a sentence about the whole study, and of all cells together. Pure.

A cell's own verdict (tuner.stats.intervals) is for the table: of the cells it calls decided, 5 % may be wrong on average. A sentence that
names cells ("loses in 4 of 12, worst ...") is wrong as soon as one of them is, and people act on it. So its claims hold together: with
probability 95 % or more, whatever the true effects are, none of them is false. There are two kinds of claim.

*About all cells* ("no cell loses more than 1 %", "all are within +-1 %"): an intersection-union test (Berger 1982, "Multiparameter
hypothesis testing and acceptance sampling", Technometrics 24). It is false only if some cell is outside, and that very cell would have to
pass its own one-sided test at 2.5 %; so the claim needs no correction for the number of cells or objectives. (`within`: both ends, two
one-sided tests, Schuirmann 1987.)

*About single cells* ("wins", "loses", and "does not lose more than 1 %", which a rule in the settings needs of each cell inside): Holm's
step-down (1979) over the m cells (of all objectives) at level a. As long as u cells are not settled, each is tested at a / u: no effect
two-sided, a loss of more than 1 % one-sided. Of these two null hypotheses a cell has at most one that is true, for an effect cannot be 0
and below -1 %; so u counts cells and not hypotheses (Shaffer 1986, JASA 81). A cell is settled once both are rejected, as by a win: a gain
is no loss. A cell that loses stays in the count, because more than 1 % may still be true of it. Rejecting "no effect" tells the direction
too; a wrong one has half of the level, and for an effect far from 0 nearly nothing (Shaffer 1980, Annals of Statistics 8; Finner 1999,
Annals of Statistics 27).

Both together: a false claim about all cells needs a cell outside, whose own test passes with at most 2.5 %, and that event holds every
false claim about that single cell too; the other m - 1 cells are wrong with at most a (m - 1) / m. So a is 5 %, but no more than
2.5 % m / (m - 1), and the sum stays within 5 %. For one cell the answer is then the cell's own verdict.

Nothing here assumes that cells are independent, except for the errors of direction, which are small. p-values are those of the interval
over all interim analyses (tuner.stats.intervals.p_value), so that a study may stop when it likes. `python -m bench.study_answers` counts
wrong answers of simulated studies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tuner.core.factors import Cell
from tuner.metrics.catalog import Direction
from tuner.stats.intervals import EQUIVALENCE_RATIO, ERROR_RATE, Effect, Verdict, p_value
from tuner.stats.pooling import PooledEffect
from tuner.stats.sequential import InterimPlan

ALL_CELLS_LEVEL = ERROR_RATE / 2  # one-sided, of each cell
MARGIN = math.log(EQUIVALENCE_RATIO)

type Place = Cell


@dataclass(frozen=True)
class CellEvidence:
    """One compared cell in one metric: its pairs' log-ratios page_aligned / default and its own verdict. `floor`: the least noise
    that its family is taken to have (tuner.stats.intervals.floor_of). `reason`: why it has no pair."""

    place: Place
    log_ratios: Sequence[float]
    effect: Effect
    floor: float = 0.0
    reason: str | None = None


@dataclass(frozen=True)
class CellClaims:
    """What is shown of a cell. `wins`, `loses` (by more than can be neglected) and `safe` (does not lose more than 1 %) hold together over
    the study; `harmless` (the same as safe) and `within` (+-1 %) are the cell's own, for claims about all cells."""

    place: Place
    effect: Effect
    wins: bool = False
    loses: bool = False
    safe: bool = False
    harmless: bool = False
    within: bool = False
    reason: str | None = None

    @property
    def tested(self) -> bool:
        """Whether it has an interval, so that anything could have been shown."""
        return self.effect.low is not None

    @property
    def looks(self) -> Verdict | None:
        """Its own verdict, better or worse, where that is not sure over the study; None where it is, or there is none."""
        own = self.effect.verdict
        sure = (own is Verdict.BETTER and self.wins) or (own is Verdict.WORSE and self.loses)
        return own if own in (Verdict.BETTER, Verdict.WORSE) and not sure else None


@dataclass(frozen=True)
class MetricCells:
    """A metric's claims of all compared cells, and their average, for what it is."""

    metric: str
    cells: tuple[CellClaims, ...]
    pooled: PooledEffect | None = None


@dataclass(frozen=True)
class _Tests:
    """p-values of one cell, oriented: a gain is positive. Two-sided for no effect, one-sided against the ends of +-1 %."""

    gains: bool
    no_effect: float
    loses_more: float
    gains_more: float


def cell_claims(
    cells: Sequence[CellEvidence], direction: Direction, *, plan: InterimPlan | None = None, objectives: int = 1
) -> tuple[CellClaims, ...]:
    """In the order of `cells`, which are all of the study. `objectives`: how many metrics share the error of the single cells."""
    tests = [_tests(cell, direction, plan) for cell in cells]
    tested = [index for index, cell in enumerate(cells) if cell.effect.low is not None]
    changed, safe = _step_down(tests, tested, len(tested) * sure_level(len(tested), objectives))
    found = []
    for index, (cell, test) in enumerate(zip(cells, tests, strict=True)):
        harmless = index in tested and test.loses_more <= ALL_CELLS_LEVEL
        within = harmless and test.gains_more <= ALL_CELLS_LEVEL
        found.append(
            CellClaims(
                place=cell.place,
                effect=cell.effect,
                wins=index in changed and test.gains and not within,
                loses=index in changed and not test.gains and not harmless,
                safe=index in safe,
                harmless=harmless,
                within=within,
                reason=cell.reason,
            )
        )
    return tuple(found)


def sure_level(cells: int, objectives: int = 1) -> float:
    """The two-sided level at which a claim about a single cell holds over a study of so many cells, whatever becomes of the others."""
    count = max(1, cells * objectives)
    return ERROR_RATE / count if count == 1 else min(ERROR_RATE / count, (ERROR_RATE - ALL_CELLS_LEVEL) / (count - 1))


def _step_down(tests: Sequence[_Tests], tested: Sequence[int], level: float) -> tuple[set[int], set[int]]:
    """(cells with an effect, cells that do not lose more than 1 %), both at `level` together."""
    changed: set[int] = set()
    safe: set[int] = set()
    while True:
        unsettled = [index for index in tested if not (index in changed and index in safe)]
        each = level / max(1, len(unsettled))
        new_changed = {index for index in unsettled if tests[index].no_effect <= each}
        safe_at = min(each, ALL_CELLS_LEVEL)
        new_safe = {index for index in unsettled if tests[index].loses_more <= safe_at or (index in new_changed and tests[index].gains)}
        if new_changed <= changed and new_safe <= safe:
            return changed, safe
        changed |= new_changed
        safe |= new_safe


def _tests(cell: CellEvidence, direction: Direction, plan: InterimPlan | None) -> _Tests:
    if cell.effect.low is None or cell.effect.ratio is None:
        return _Tests(False, 1.0, 1.0, 1.0)
    sign = direction.sign
    gain = sign * math.log(cell.effect.ratio)
    two_sided = {at: p_value(cell.log_ratios, sign * at, plan=plan, floor=cell.floor) for at in (0.0, -MARGIN, MARGIN)}
    return _Tests(
        gains=gain > 0,
        no_effect=two_sided[0.0],
        loses_more=two_sided[-MARGIN] / 2 if gain > -MARGIN else 1.0,
        gains_more=two_sided[MARGIN] / 2 if gain < MARGIN else 1.0,
    )

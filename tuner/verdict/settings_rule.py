"""A rule in the settings that separates the cells in which page-aligned scheduling may be on from those in which it loses. Pure.

Rules are half-planes that a person can say: page size, chunk budget, the one over the other, or a further factor whose levels are numbers,
at most or at least a measured value.
Choosing one from the data costs nothing, because all that it says of its cells is shown of each of them over the whole study
(tuner.verdict.cell_claims); it says nothing of cells that were not measured.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from typing import NamedTuple

from tuner.core.factors import Level, factors_in
from tuner.verdict.cell_claims import Place

FEW_CELLS = 2  # a side with fewer is thin: rules with more are preferred

_QUANTITIES: dict[str, Callable[[Place], Fraction]] = {  # the simplest first
    "page size": lambda place: Fraction(place[0]),
    "chunk budget": lambda place: Fraction(place[1]),
    "page size / chunk budget": lambda place: Fraction(place[0], place[1]),
}
_PARTS = {2: "half of", 3: "a third of", 4: "a quarter of", 5: "a fifth of", 6: "a sixth of", 8: "an eighth of", 16: "a sixteenth of"}


@dataclass(frozen=True)
class SettingsRule:
    """`quantity` at most, or at least, `limit`."""

    quantity: str
    at_most: bool
    limit: Fraction

    def holds(self, place: Place) -> bool:
        value = _value(self.quantity, place)
        return value <= self.limit if self.at_most else value >= self.limit

    @property
    def words(self) -> str:
        """For instance "page size at most a quarter of the chunk budget"."""
        bound = "at most" if self.at_most else "at least"
        if self.quantity != "page size / chunk budget":
            limit = self.limit if self.limit.denominator == 1 else float(self.limit)
            return f"{self.quantity} {bound} {limit}"
        return f"page size {bound} {_part(self.limit)}the chunk budget"


def find_rule(
    cells: Collection[Place], *, wins: Collection[Place], loses: Collection[Place], safe: Collection[Place]
) -> SettingsRule | None:
    """The rule that leaves every cell that loses outside, holds none but `safe` cells, and at least as many of those that win as it leaves
    out; None where there is none, and where a single cell would be set apart from others that win as well.

    Of several, the one that leaves out the fewest wins, has two cells on each side, is simplest, and holds most cells, in this order.
    """
    places = set(cells)
    bad = {*loses, *(places - set(safe))}
    if not bad <= places:
        return None
    found = []
    for order, quantity in enumerate([*_QUANTITIES, *_numbers(places)]):
        for at_most in (True, False):
            for limit, inside in _good_sides({place: _value(quantity, place) for place in places}, bad, set(wins), at_most=at_most):
                missed, outside = len(places.intersection(wins)) - inside.wins, len(places) - inside.cells
                if outside and inside.wins >= max(1, missed) and (not missed or inside.cells >= FEW_CELLS):
                    thin = min(inside.cells, outside) < FEW_CELLS
                    found.append(((missed, thin, order, -inside.cells, not at_most, limit), SettingsRule(quantity, at_most, limit)))
    return min(found, key=lambda item: item[0])[1] if found else None


def _numbers(places: Collection[Place]) -> list[str]:
    """Factors that every place has, with numbers for levels."""
    known: dict[str, list[Level]] = {}
    for place in places:
        for name, level in factors_in(place):
            known.setdefault(name, []).append(level)
    return [
        name
        for name, levels in sorted(known.items())
        if all(isinstance(level, int | float) and not isinstance(level, bool) for level in levels)
    ]


def _value(quantity: str, place: Place) -> Fraction:
    if quantity in _QUANTITIES:
        return _QUANTITIES[quantity](place)
    return Fraction(str(dict(factors_in(place))[quantity]))


class _Side(NamedTuple):
    """How many cells are inside a limit, and how many of them win."""

    cells: int
    wins: int


def _good_sides(
    values: Mapping[Place, Fraction], bad: Collection[Place], wins: Collection[Place], *, at_most: bool
) -> Iterator[tuple[Fraction, _Side]]:
    """(limit, what is inside it) for each value as a limit, the tightest first, as long as nothing bad is inside."""
    cells = won = 0
    for limit, same in groupby(sorted(values, key=values.__getitem__, reverse=not at_most), key=values.__getitem__):
        level = set(same)
        if level.intersection(bad):
            return
        cells, won = cells + len(level), won + len(level.intersection(wins))
        yield limit, _Side(cells, won)


def _part(limit: Fraction) -> str:
    """ "a quarter of ", "3/8 of ", "twice ", or "" for the whole."""
    if limit == 1:
        return ""
    if limit.denominator == 1:
        return "twice " if limit == 2 else f"{limit} times "
    return f"{_PARTS[limit.denominator]} " if limit.numerator == 1 and limit.denominator in _PARTS else f"{limit} of "

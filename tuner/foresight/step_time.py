"""Seconds of operations and steps on one chip, fitted on a table of measured operations, with intervals from held-out folds. Pure.

A kind that was measured in the very shape that is asked for has its own curve; any other is predicted by its family, from the kinds of
that family that were measured. A family of which nothing was measured has no prediction.

Intervals are cross-conformal (Vovk, "Cross-conformal predictors", 2015): each point of the table is predicted by a fit that did not see
its fold, and quantiles of measured / predicted are the interval's ends. Points of one fold err together, so every fold counts the same,
however many points it has, and the quantiles lie further out than many independent points would need (TAIL).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tuner.foresight.curve import Curve, Floats, fit
from tuner.foresight.operations import FORM_OF, Operation

LEVEL = 0.90
TAIL = 0.008  # of held-out points on either side; 0.05 would do for independent ones, and covers 83 to 87 % of these (bench/step_time.py)
MOST_POINTS = 400  # of one kind that a fit looks at, evenly over the table's order
RANGES = (1, 32, 128, 512, 1024, 1 << 30)  # tokens (of attention: chunk, or decoding requests): the folds beside the kinds

Words = NDArray[np.str_]


@dataclass(frozen=True)
class Measured:
    """A table of operations. Arrays are [points]; `terms` is [points x terms], those of one family."""

    kind: str
    family: str
    shape: tuple[int, ...]
    tokens: Floats
    terms: Floats
    seconds: Floats

    def where(self, mask: NDArray[np.bool_]) -> Measured:
        return Measured(self.kind, self.family, self.shape, self.tokens[mask], self.terms[mask], self.seconds[mask])

    def thinned(self) -> Measured:
        count = len(self.seconds)
        return self if count <= MOST_POINTS else self.where(np.isin(np.arange(count), np.linspace(0, count - 1, MOST_POINTS).astype(int)))


@dataclass(frozen=True)
class Band:
    """measured / predicted lies between `low` and `high` in LEVEL of held-out points."""

    low: float
    high: float


@dataclass(frozen=True)
class Fitted:
    """One curve and its band. `held_out`: what its band comes from, in words."""

    curve: Curve
    band: Band
    held_out: str


@dataclass(frozen=True)
class Predicted:
    """Seconds, with an interval of LEVEL. `missing`: kinds of operations that have no prediction and are not in it."""

    seconds: float
    low: float
    high: float
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class StepTimes:
    """`kinds`: kind -> (shape, its own fit); `families`: family -> the fit over its kinds. `chip`: tuner.setup.hardware.Limits.name."""

    chip: str
    source: str
    kinds: Mapping[str, tuple[tuple[int, ...], Fitted]]
    families: Mapping[str, Fitted]

    def of(self, operation: Operation) -> Fitted | None:
        own = self.kinds.get(operation.kind)
        return own[1] if own is not None and own[0] == operation.shape else self.families.get(operation.family)

    def step(self, operations: Iterable[Operation]) -> Predicted:
        """Of all of them, one after the other. Kinds err independently of each other, all operations of one kind alike."""
        total = 0.0
        below: dict[str, float] = {}
        above: dict[str, float] = {}
        missing: dict[str, None] = {}
        for operation in operations:
            found = self.of(operation)
            if found is None:
                missing.setdefault(operation.kind)
                continue
            seconds = operation.times * float(found.curve.seconds(np.array([operation.terms]))[0])
            total += seconds
            below[operation.kind] = below.get(operation.kind, 0.0) + seconds * (1 - found.band.low)
            above[operation.kind] = above.get(operation.kind, 0.0) + seconds * (found.band.high - 1)
        return Predicted(total, total - math.hypot(*below.values()), total + math.hypot(*above.values()), tuple(missing))


@dataclass(frozen=True)
class HeldOut:
    """One fold: what was left out, and what the rest says of it. `ratios`: measured / predicted, [points]; None: no prediction."""

    what: str
    kind: str
    ratios: Floats | None
    band: Band | None
    points: int

    @property
    def median_error(self) -> float:
        assert self.ratios is not None
        return float(np.median(np.abs(1 / self.ratios - 1)))

    @property
    def inside(self) -> Floats:
        """1 for points within the band, else 0: [points]."""
        assert self.ratios is not None and self.band is not None
        return np.asarray((self.ratios >= self.band.low) & (self.ratios <= self.band.high), dtype=np.float64)


def fit_step_times(chip: str, source: str, table: Sequence[Measured]) -> StepTimes:
    """Fits every kind, and every family that has two kinds or only one form to choose from."""
    kinds: dict[str, tuple[tuple[int, ...], Fitted]] = {}
    for item in table:
        curve = _curve([item])
        folds = [ratio for _, part, rest in _ranges(item) if (ratio := _ratios([rest], part)) is not None]
        kinds[item.kind] = item.shape, Fitted(curve, _band(folds or [item.seconds / curve.seconds(item.terms)]), "ranges of tokens")
    families: dict[str, Fitted] = {}
    for family in dict.fromkeys(item.family for item in table):
        members = [item for item in table if item.family == family]
        if len(members) > 1:
            folds = [_needed(_ratios(_without(members, item), item)) for item in members]
            families[family] = Fitted(_curve(members), _band(folds), "kinds of operations")
        else:
            families[family] = kinds[members[0].kind][1]
    return StepTimes(chip, source, kinds, families)


def kinds_left_out(table: Sequence[Measured]) -> list[HeldOut]:
    """Each kind in turn is predicted by its family without it; the band comes from leaving each of the others out as well."""
    found = []
    for item in table:
        others = _without([other for other in table if other.family == item.family], item)
        ratios = _ratios(others, item)
        band = None
        if len(others) > 1:
            band = _band([_needed(_ratios(_without(others, inner), inner)) for inner in others])
        found.append(HeldOut(item.kind, item.kind, ratios, band, len(item.seconds)))
    return found


def ranges_left_out(table: Sequence[Measured]) -> list[HeldOut]:
    """Each range of tokens of each kind in turn, predicted by the rest of that kind; the band from the rest's own ranges."""
    found = []
    for item in table:
        for (low, high), part, rest in _ranges(item):
            inner = [ratio for _, hidden, seen in _ranges(rest) if (ratio := _ratios([seen], hidden)) is not None]
            name = f"{low} to {high - 1}" if high < RANGES[-1] else f"{low} and more"
            found.append(HeldOut(name, item.kind, _ratios([rest], part), _band(inner) if inner else None, len(part.seconds)))
    return found


def _ranges(item: Measured) -> list[tuple[tuple[int, int], Measured, Measured]]:
    """(range, its points, all others) for each range of RANGES that has points, where others have some, too."""
    found = []
    for low, high in pairwise(RANGES):
        mask = (item.tokens >= low) & (item.tokens < high)
        if mask.any() and not mask.all():
            found.append(((low, high), item.where(mask), item.where(~mask)))
    return found


def _without(items: Sequence[Measured], left_out: Measured) -> list[Measured]:
    return [item for item in items if item is not left_out]


def _curve(items: Sequence[Measured]) -> Curve:
    """Every kind weighs the same, however many points it has."""
    thin = [item.thinned() for item in items]
    importance = np.concatenate([np.full(len(item.seconds), 1 / len(item.seconds)) for item in thin])
    terms, seconds = np.concatenate([item.terms for item in thin]), np.concatenate([item.seconds for item in thin])
    return fit(FORM_OF[items[0].family], terms, seconds, importance)


def _ratios(seen: Sequence[Measured], hidden: Measured) -> Floats | None:
    """measured / predicted of points that the fit did not see; None where there is nothing to fit."""
    if not seen:
        return None
    return np.asarray(hidden.seconds / _curve(seen).seconds(hidden.terms), dtype=np.float64)


def _needed(ratios: Floats | None) -> Floats:
    assert ratios is not None
    return ratios


def _band(folds: Sequence[Floats]) -> Band:
    """The quantiles of measured / predicted, each fold weighing the same; 1 is always inside."""
    ratios = np.concatenate(folds)
    weights = np.concatenate([np.full(len(fold), 1 / len(fold)) for fold in folds])
    order = np.argsort(ratios)
    reached = np.cumsum(weights[order]) / weights.sum()
    low, high = (float(ratios[order][min(len(ratios) - 1, int(np.searchsorted(reached, at)))]) for at in (TAIL, 1 - TAIL))
    return Band(min(low, 1.0), max(high, 1.0))

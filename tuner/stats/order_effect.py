"""What a window pays for coming second in its pair, taken out of the pairs of an engine. Pure.

The arms of a cell are measured one right after the other, in turn AB and BA (tuner.trials.rounds.round_order), so what being second costs
cancels in the mean of the pairs: it is no error. But it is noise: the pairs of a cell stand around two middles, and a trimmed mean knows
such values badly. Half the difference between an AB and a BA pair of the same cell is the order's effect and nothing else (a two-period
crossover: Hills and Armitage 1979, "The two-period cross-over clinical trial"). All cells of an engine are asked together, and only an
effect that is hardly chance is taken out: where there is none, nothing changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tuner.stats.samples import ROBUST_FROM, typical_of

ORDER_LEVEL = 0.001  # chance of seeing an effect of the order where there is none


def order_of_rounds(baseline: Mapping[int, int], candidate: Mapping[int, int]) -> dict[int, int]:
    """Round -> +1 where the candidate's window came right after the baseline's, -1 where right before it, else 0. Given are the positions
    of their windows by round."""
    apart = {number: candidate[number] - baseline[number] for number in baseline.keys() & candidate.keys()}
    return {number: steps if abs(steps) == 1 else 0 for number, steps in apart.items()}


def order_effect(cells: Iterable[tuple[Sequence[float], Sequence[int]]]) -> float:
    """Log of what being second multiplies a value by; 0.0 where that is not distinguishable from nothing.

    `cells`: of each cell of one engine the log-ratios of its pairs in order of rounds and, for each, what order_of_rounds says. Cells of
    fewer than ROBUST_FROM pairs are not asked: the order is then hardly known.
    """
    halves = [half for ratios, orders in cells if len(ratios) >= ROBUST_FROM for half in _half_differences(ratios, orders)]
    if len(halves) < ROBUST_FROM // 2:
        return 0.0
    sample = typical_of(halves)
    return sample.mean if sample.p_at(0.0) <= ORDER_LEVEL else 0.0


def without_order(ratios: Sequence[float], orders: Sequence[int], effect: float) -> list[float]:
    """The log-ratios as they would be if being second cost nothing; those of fewer than ROBUST_FROM pairs as they are."""
    if not effect or len(ratios) < ROBUST_FROM:
        return list(ratios)
    return [ratio - order * effect for ratio, order in zip(ratios, orders, strict=True)]


def _half_differences(ratios: Sequence[float], orders: Sequence[int]) -> list[float]:
    """Each AB pair with the nearest BA pair that is still free, so that what drifts from round to round hardly enters."""
    waiting: list[tuple[float, int]] = []
    halves: list[float] = []
    for ratio, order in zip(ratios, orders, strict=True):
        if waiting and order and waiting[-1][1] == -order:
            halves.append(order * (ratio - waiting.pop()[0]) / 2)
        elif order:
            waiting.append((ratio, order))
    return halves

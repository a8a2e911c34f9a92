"""What a step costs, as a table that a simulated engine looks its seconds up in. Pure.

    seconds = padded(tokens the step is padded to) + logits(requests of the step)
            + sum over prefill segments of  p0 + p1 chunk + p2 context + p3 chunk context + p4 chunk^2
            + d0 + d1 requests + d2 context                              (d: of all decoding requests together, if there are any)

`context`: tokens that are in the KV cache before the step. Between the sizes that `padded` and `logits` name, seconds are interpolated, and
beyond the last in proportion to it. The first step of a window takes `first` times as long (it finds cold caches).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
PREFILL_TERMS, DECODE_TERMS = 5, 3
_DRAWN = 4096  # factors at once


@dataclass(frozen=True)
class Point:
    """`size`: tokens or requests."""

    size: float
    seconds: float


@dataclass(frozen=True)
class StepCosts:
    """`about`: where the numbers come from, in words. `low`, `high`: true / predicted seconds lie between them in 90 % of cases.
    `step_noise`, `window_noise`: ratios to the typical step and window that noise is resampled from; empty: none."""

    about: str
    padded: tuple[Point, ...]
    logits: tuple[Point, ...] = ()
    prefill: tuple[float, ...] = (0.0,) * PREFILL_TERMS
    decode: tuple[float, ...] = (0.0,) * DECODE_TERMS
    first: float = 1.0
    low: float = 1.0
    high: float = 1.0
    step_noise: tuple[float, ...] = ()
    window_noise: tuple[float, ...] = ()

    def scaled(self, factor: float) -> StepCosts:
        """Every step takes `factor` times as long; without an interval, which `factor` stands for."""
        return StepCosts(
            self.about,
            tuple(Point(point.size, point.seconds * factor) for point in self.padded),
            tuple(Point(point.size, point.seconds * factor) for point in self.logits),
            tuple(weight * factor for weight in self.prefill),
            tuple(weight * factor for weight in self.decode),
            self.first,
            step_noise=self.step_noise,
            window_noise=self.window_noise,
        )


class StepClock:
    """Seconds of the steps of one window. `seed` fixes its noise: the same steps take the same time again."""

    def __init__(self, costs: StepCosts, seed: Sequence[int]) -> None:
        self._costs = costs
        self._known: dict[tuple[int, int], float] = {}
        self._random = np.random.default_rng(list(seed))
        self._window = float(self._random.choice(costs.window_noise)) if costs.window_noise else 1.0
        self._drawn: Floats = np.empty(0)
        self._first = costs.first  # of the next step

    def step(self, padded_tokens: int, prefills: Sequence[tuple[int, int]], decodes: int, context: int) -> float:
        """`prefills`: (chunk, context) of each segment; `context`: of all decodes together."""
        seconds = self._fixed(padded_tokens, len(prefills) + decodes)
        if prefills:
            p0, p1, p2, p3, p4 = self._costs.prefill
            for chunk, before in prefills:
                seconds += p0 + p1 * chunk + p2 * before + (p3 * before + p4 * chunk) * chunk
        if decodes:
            d0, d1, d2 = self._costs.decode
            seconds += d0 + d1 * decodes + d2 * context
        first, self._first = self._first, 1.0
        return seconds * first * self._factor()

    def repeated(self, padded_tokens: int, decodes: int, context: int, most: int, within_s: float) -> list[float]:
        """[steps]: of at most `most` steps in which all requests decode, one after the other, as far as they begin before `within_s` from
        now. `context` is the first step's."""
        d0, d1, d2 = self._costs.decode
        fixed = self._fixed(padded_tokens, decodes) + d0 + d1 * decodes
        factors = self._next_factors(most).tolist() if self._costs.step_noise else repeat(self._window, most)
        first, self._first = self._first, 1.0
        found, begin = [], 0.0
        for factor in factors:
            if begin >= within_s:
                break
            seconds = (fixed + d2 * context) * factor
            if first != 1:
                seconds, first = seconds * first, 1.0
            found.append(seconds)
            begin += seconds
            context += decodes
        if self._costs.step_noise:
            self._drawn = self._drawn[len(found) :]
        return found

    def _fixed(self, padded_tokens: int, requests: int) -> float:
        key = padded_tokens, requests
        if key not in self._known:
            self._known[key] = _looked_up(self._costs.padded, padded_tokens) + _looked_up(self._costs.logits, requests)
        return self._known[key]

    def _factor(self) -> float:
        """The noise of the next step, which is then past."""
        if not self._costs.step_noise:
            return self._window
        factor = float(self._next_factors(1)[0])
        self._drawn = self._drawn[1:]
        return factor

    def _next_factors(self, count: int) -> Floats:
        """[count]: the noise of the next steps, of costs that have any."""
        if len(self._drawn) < count:
            self._drawn = np.concatenate([self._drawn, self._random.choice(self._costs.step_noise, max(count, _DRAWN))])
        return np.asarray(self._window * self._drawn[:count], dtype=np.float64)


def _looked_up(points: Sequence[Point], size: float) -> float:
    if not points:
        return 0.0
    if size > points[-1].size:
        return points[-1].seconds * size / points[-1].size
    return float(np.interp(size, [point.size for point in points], [point.seconds for point in points]))

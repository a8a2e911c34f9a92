"""In which order a round measures its configurations. Pure.

The arms of a cell come one right after the other, so that whatever drifts within a round (clock speed, temperature, other processes) is
nearly the same for both and cancels in their ratio, which is what a verdict is made of. The cells of a round are in random order; so are
the arms of a cell, and every odd round turns the order of the even one before it round: what being second costs or gains cancels
in the mean, and a lasting order effect only widens the interval. What that is worth under noise that is correlated in
time is printed by bench/null_and_power.py.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from tuner.core.contrast import ALIGNMENT, Contrast
from tuner.setup.space import Configuration


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

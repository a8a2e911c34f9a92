"""The average effect of each setting in words and rows, as CLI, report and pages give them. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from tuner.core.factors import level_text
from tuner.core.numbers import change
from tuner.verdict.main_effects import MainEffect

HEADING = "By setting"
HEADERS = ("setting", "level", "against", "average", "95 % interval", "from", "cells", "single cells")


def by_setting_text(effects: Sequence[MainEffect], metric: str) -> str:
    """How to read the rows, and what they do not say."""
    text = (
        f"Average change of {metric} over the cells that have both levels; for comparison, and not the answer. Each interval by itself, "
        "from the differences between cells, or, of cold settings, between pairs of engines; none from one of them. Single cells that "
        "lie far apart: what the level is worth depends on other settings."
    )
    if apart := list(dict.fromkeys(item.noun for item in effects if not item.balanced)):
        text += f" Not every cell has every level of {', '.join(apart)}: there these are differences between what was tried, not effects."
    return text


def by_setting_rows(effects: Sequence[MainEffect]) -> list[tuple[str, ...]]:
    return [
        (
            f"{item.noun} ({item.kind})",
            level_text(item.level),
            level_text(item.baseline),
            _signed(item.change),
            "" if item.low is None or item.high is None else f"{_signed(item.low)} to {_signed(item.high)}",
            _counted(item),
            f"{len(item.cells)} of {item.of_cells}",
            f"{_signed(item.cells[0])} to {_signed(item.cells[-1])}",
        )
        for item in effects
    ]


def _counted(item: MainEffect) -> str:
    """ "2 pairs of engines"."""
    several = "" if item.values == 1 else "s"
    return f"{item.values} pair{several} of engines" if item.kind == "cold" else f"{item.values} cell{several}"


def _signed(percent: float) -> str:
    return change(1 + percent / 100)

"""Which cells a forest plot shows."""

from __future__ import annotations

import pytest

from storage.records import Comparison
from tests.tuner.evidence_builder import answered
from tests.tuner.report.charts.drawings import METRIC, label, row, texts
from tuner.report.charts.forest import forest
from tuner.report.charts.render import Renderer
from tuner.report.charts.theme import Look
from tuner.report.effects import MOST_FOREST_ROWS, NOT_COMPARED, POOLED, Effects, effects_of

STAR = "\N{BLACK STAR} "
MANY = [row(16, 128 + 16 * number, "better", 1.02 + number / 1000) for number in range(MOST_FOREST_ROWS + 5)]


def effects(cells: list[Comparison]) -> Effects:
    return effects_of(answered(cells), METRIC)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cells", "recommended"),
    [
        (MANY, (16, 128)),  # the smallest effect of too many to draw
        (MANY, (16, 128 + 16 * (MOST_FOREST_ROWS + 4))),  # the largest
        ([*MANY[:3], row(64, 256, "inconclusive", None)], (64, 256)),  # measured without a pair
        ([*MANY, row(64, 256, "inconclusive", None)], (64, 256)),
        (MANY[:3], (128, 1024)),  # in one arm only
        ([*MANY[:3], row(64, 256, "inconclusive", 1.001, half=0.4)], (64, 256)),  # undecided
    ],
)
def test_the_recommended_cell_was_not_in_the_forest_plot(cells: list[Comparison], recommended: tuple[int, int]) -> None:
    found = effects(cells)
    shown = found.forest(recommended)
    assert [each.place for each in shown].count(recommended) == 1 and shown[-1].label == POOLED
    drawable = sum(cell.ratio is not None for cell in cells)
    assert sum(each.change is not None for each in shown[:-1]) + found.left_out(recommended) == drawable
    spec = forest(shown, METRIC, found.less_is_better, Look(), recommended)
    said = texts(Renderer().picture(spec, "title", "description"))
    assert said.count(STAR + label(*recommended)) == 1
    has_effect = any((cell.block_size, cell.max_num_batched_tokens) == recommended and cell.ratio is not None for cell in cells)
    assert ("no pair" in said) is not has_effect


def test_nothing_recommended_adds_nothing_and_no_effect_is_no_picture() -> None:
    found = effects(MANY)
    assert len(found.forest()) == MOST_FOREST_ROWS + 1 and found.left_out() == 5
    (alone,) = [each for each in found.forest((1, 1)) if each.place == (1, 1)]
    assert (alone.reason, alone.pairs, alone.change) == (NOT_COMPARED, 0, None)
    without = effects_of([row(16, 128, "inconclusive", None)], METRIC)
    assert without.forest((16, 128)) == []

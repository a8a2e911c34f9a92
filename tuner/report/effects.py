"""The effects of what a study compares, by default page alignment, as charts and tables show them. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from storage.records import Comparison, Json
from tuner.core.contrast import ALIGNMENT, Contrast
from tuner.core.factors import Factors, cell_in_order, cell_label, cell_of, factors_in, factors_of, further
from tuner.metrics.catalog import Direction, metric_info
from tuner.stats.intervals import Verdict
from tuner.stats.pooling import PooledEffect
from tuner.verdict.cell_cause import CAUSE
from tuner.verdict.cell_claims import Place
from tuner.verdict.compared import stored_contrast
from tuner.verdict.evidence import place_of
from tuner.verdict.study_answer import StudyAnswer, stored_answer

MOST_FOREST_ROWS = 30
POOLED = "average"
NOT_COMPARED = "not measured in both arms"


@dataclass(frozen=True)
class HeatCell:
    """`label` is what the map says in the cell: its value, or why there is none. `arm` is the map's own title. `misses`: the SLOs that it
    does not meet."""

    arm: str
    block_size: int
    max_num_batched_tokens: int
    value: float | None
    label: str
    trial_id: int = 0
    winner: bool = False
    misses: tuple[str, ...] = ()
    factors: Factors = ()

    @property
    def title(self) -> str:
        """Of the map that it is in: one for each arm and combination of further factors."""
        return f"{self.arm}{further(self.factors)}"


ARMS_TITLE = "page_aligned against default"


@dataclass(frozen=True)
class EffectRow:
    """page_aligned / default, or a level / the baseline level, as changes in percent. Page size and chunk budget are 0 for all cells
    together."""

    label: str
    block_size: int
    max_num_batched_tokens: int
    change: float | None
    low: float | None
    high: float | None
    verdict: str
    pairs: int
    reason: str = ""
    baseline_id: int | None = None
    candidate_id: int | None = None
    cause: Json = field(default_factory=dict)  # tuner.verdict.cell_cause
    factors: Factors = ()

    @property
    def place(self) -> Place:
        return cell_of(self.block_size, self.max_num_batched_tokens, self.factors)


@dataclass(frozen=True)
class Effects:
    """The cells of one metric and what they say together. `answer` is None where no cell has both arms."""

    metric: str
    unit: str
    less_is_better: bool
    rows: tuple[EffectRow, ...]
    answer: StudyAnswer | None
    contrast: Contrast = ALIGNMENT

    @property
    def title(self) -> str:
        """What is compared with what."""
        return ARMS_TITLE if self.contrast.of_arms else self.contrast.title

    @property
    def pooled(self) -> EffectRow | None:
        """The average over the cells, which is not the answer."""
        return _pooled_row(self.answer.pooled) if self.answer is not None and self.answer.pooled is not None else None

    def forest(self, recommended: Place | None = None) -> list[EffectRow]:
        """What the picture shows: the largest effects where there are too many, and their average as the last line; [] without any effect.
        The `recommended` page size and chunk budget are always among them, also where that cell has no pair or was not compared."""
        drawable = [row for row in self.rows if row.change is not None]
        if not drawable:
            return []
        largest = sorted(drawable, key=lambda row: -abs(row.change or 0.0))[:MOST_FOREST_ROWS]
        kept = [row for row in self.rows if row in largest or row.place == recommended]
        if recommended is not None and all(row.place != recommended for row in kept):
            missing: Json = {
                "change": None,
                "low": None,
                "high": None,
                "verdict": Verdict.INCONCLUSIVE.value,
                "pairs": 0,
                "reason": NOT_COMPARED,
            }
            kept.append(EffectRow(cell_label(recommended), *recommended[:2], **missing, factors=factors_in(recommended)))
        return [*kept, *([self.pooled] if self.pooled is not None else [])]

    def left_out(self, recommended: Place | None = None) -> int:
        """How many cells with an effect are in the table only."""
        shown = [row for row in self.forest(recommended) if row.change is not None and row.label != POOLED]
        return sum(row.change is not None for row in self.rows) - len(shown)


def effects_of(comparisons: Sequence[Comparison], metric: str) -> Effects:
    """Raises BadInput for an unknown metric."""
    info = metric_info(metric)
    chosen = sorted((item for item in comparisons if item.metric == metric), key=lambda item: cell_in_order(place_of(item)))
    rows = tuple(_effect_row(item) for item in chosen)
    less = info.direction is Direction.MINIMIZE
    contrast = next((stored_contrast(item) for item in chosen), ALIGNMENT)
    return Effects(metric, info.unit, less, rows, stored_answer(comparisons, metric), contrast)


def effect_cells(effects: Effects) -> list[HeatCell]:
    """A map of the effects in percent; where a cell was judged twice (another environment), the one with more pairs."""
    most = {row.place: row for row in sorted(effects.rows, key=lambda row: row.pairs)}
    return [
        HeatCell(
            effects.title,
            *place[:2],
            row.change,
            "no pair" if row.change is None else f"{row.change:+.2f} %",
            factors=row.factors,
        )
        for place, row in sorted(most.items(), key=lambda item: cell_in_order(item[0]))
    ]


def in_words(effects: Effects) -> str:
    """Every cell's effect, for those who do not see the chart."""
    rows = [*effects.rows, *([effects.pooled] if effects.pooled is not None else [])]
    return "; ".join(f"{row.label}: {'no pair' if row.change is None else f'{row.change:+.2f} %'}, {row.verdict}" for row in rows)


def _effect_row(item: Comparison) -> EffectRow:
    return EffectRow(
        label=cell_label(place_of(item)),
        block_size=item.block_size,
        max_num_batched_tokens=item.max_num_batched_tokens,
        change=_percent(item.ratio),
        low=_percent(item.low),
        high=_percent(item.high),
        verdict=item.verdict,
        pairs=item.pairs,
        reason=str(item.details.get("reason") or ""),
        baseline_id=item.baseline_trial_id,
        candidate_id=item.candidate_trial_id,
        cause=item.details.get(CAUSE) or {},
        factors=factors_of(item.factors),
    )


def _pooled_row(pooled: PooledEffect) -> EffectRow:
    return EffectRow(
        label=POOLED,
        block_size=0,
        max_num_batched_tokens=0,
        change=_percent(pooled.ratio),
        low=_percent(pooled.low),
        high=_percent(pooled.high),
        verdict=pooled.verdict.value,
        pairs=pooled.pairs,
    )


def _percent(ratio: float | None) -> float | None:
    return None if ratio is None or not math.isfinite(ratio) else 100 * (ratio - 1)

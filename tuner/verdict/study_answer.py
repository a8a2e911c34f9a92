"""A study's answer to "can page-aligned scheduling be on by default?", one for each metric. Pure.

It is made once, where the cells are judged (`study_answer`), and stored with the study's comparisons, in the details of the metric's first
one; everybody who shows it reads it from there (`stored_answer`). Studies that an older version ended have none: they are judged again
(tuner.verdict.conclude.compare_stored).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from storage.records import Comparison, Json
from tuner.metrics.catalog import Direction, metric_info
from tuner.stats.intervals import Verdict
from tuner.stats.pooling import PooledEffect, pool
from tuner.stats.samples import Sample
from tuner.stats.sequential import InterimPlan

ANSWER_ON = "on"
ANSWER_OFF = "off"
ANSWER_NO_EVIDENCE = "no_evidence"
_DETAIL = "study_answer"


@dataclass(frozen=True)
class StudyAnswer:
    """`answer` is "on", "off" or "no_evidence"; `sentence` says it with its numbers, `caveats` say what it does not mean.

    "on": better on the whole and worse nowhere. "off": worse on the whole and better nowhere, or no practical difference anywhere.
    """

    metric: str
    answer: str
    sentence: str
    pooled: PooledEffect | None
    counts: dict[str, int]  # verdict -> cells
    caveats: tuple[str, ...] = ()

    @property
    def in_short(self) -> str:
        """The sentence without its numbers."""
        return self.sentence.removesuffix(f" ({_effect_text(self.metric, self.pooled)})")

    def to_json(self) -> Json:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Json) -> StudyAnswer:
        pooled = stored["pooled"]
        effect = PooledEffect(**{**pooled, "verdict": Verdict(pooled["verdict"])}) if pooled is not None else None
        return cls(**{**stored, "pooled": effect, "caveats": tuple(stored["caveats"])})


def study_answer(metric: str, samples: Sequence[Sample], verdicts: Iterable[str], *, plan: InterimPlan | None = None) -> StudyAnswer:
    """`samples`: log-ratios of the cells with two pairs or more; `verdicts`: of all cells. `plan`: the interim analyses that the rounds
    were measured under; None: looked at once. Raises BadInput for an unknown metric."""
    found = Counter(verdicts)
    counts = {verdict.value: found[verdict.value] for verdict in Verdict}
    pooled = pool(samples, metric_info(metric).direction, plan=plan)
    answer, words = decide(pooled, counts)
    return StudyAnswer(metric, answer, f"{words} ({_effect_text(metric, pooled)})", pooled, counts)


def decide(pooled: PooledEffect | None, counts: Mapping[str, int]) -> tuple[str, str]:
    """(answer, sentence) from the pooled effect and the number of cells of each verdict."""
    some_better, some_worse = counts[Verdict.BETTER] > 0, counts[Verdict.WORSE] > 0
    overall = pooled.verdict if pooled is not None else Verdict.INCONCLUSIVE
    if overall is Verdict.BETTER and not some_worse:
        return ANSWER_ON, "turn page-aligned scheduling on"
    if overall is Verdict.WORSE and not some_better:
        return ANSWER_OFF, "turn page-aligned scheduling off"
    if overall is Verdict.EQUIVALENT and not (some_better or some_worse):
        return ANSWER_OFF, "page-aligned scheduling makes no practical difference: leave it off"
    if some_better and some_worse:
        return ANSWER_NO_EVIDENCE, "no evidence for one default: page-aligned scheduling is better in some cells, worse in others"
    return ANSWER_NO_EVIDENCE, "no evidence: the measurements decide neither for nor against page-aligned scheduling"


def with_answer(comparisons: Sequence[Comparison], answer: StudyAnswer) -> list[Comparison]:
    """The comparisons of one metric, of which the first carries the answer into storage."""
    return [
        replace(item, details=item.details | {_DETAIL: answer.to_json()}) if place == 0 else item for place, item in enumerate(comparisons)
    ]


def stored_answer(comparisons: Sequence[Comparison], metric: str) -> StudyAnswer | None:
    """The answer that is stored with a study's comparisons; None where they carry none for this metric."""
    found = (item.details[_DETAIL] for item in comparisons if item.metric == metric and _DETAIL in item.details)
    return next(map(StudyAnswer.from_json, found), None)


def _effect_text(metric: str, pooled: PooledEffect | None) -> str:
    if pooled is None:
        return f"{metric}: no cell has enough valid pairs"
    better_when = "more" if metric_info(metric).direction is Direction.MAXIMIZE else "less"
    return (
        f"{metric}, {better_when} is better: {_percent(pooled.ratio)}, {100 * (1 - pooled.level):.0f} % interval "
        f"{_percent(pooled.low)} to {_percent(pooled.high)}, {pooled.cells} cells, {pooled.pairs} pairs"
    )


def _percent(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.2f} %"

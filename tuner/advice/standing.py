"""How an answer stands to the SLOs that are asked for. Pure.

What its study was asked to keep counts as met. Any other SLO counts as met only where the measured interval meets it on both ends; so an
answer that was chosen without SLOs answers a question with one only by its measurements.
"""

from __future__ import annotations

from collections.abc import Sequence

from tuner.core.errors import BadInput
from tuner.core.numbers import number
from tuner.metrics.objective import Slo, parse_slo
from tuner.verdict.answer import Answer, Standing


def slo_standing(answer: Answer, slos: Sequence[Slo]) -> Standing:
    """How `answer`, which must have settings, stands to the SLOs of a question."""
    kept = [slo for slo in slos_kept(answer) if slo is not None]
    notes, failing = [], []
    for slo in slos:
        measured = answer.expected.get(slo.metric, {})
        low, high = measured.get("low"), measured.get("high")
        by_interval = low is not None and high is not None and slo.is_met(low) and slo.is_met(high)
        span = "was not measured" if low is None or high is None else f"was {number(low)} to {number(high)} (95 %)"
        if any(implies(other, slo) for other in kept):
            if low is not None and high is not None and not by_interval:
                notes.append(f"{slo} was kept by the median; {slo.metric} {span}")
        elif by_interval:
            notes.append(f"{slo} was not asked of the study; its measurements meet it: {slo.metric} {span}")
        else:
            failing.append(f"{slo} is not shown to be met: {slo.metric} {span}")
    extra = [str(slo) for slo in kept if not any(implies(asked, slo) for asked in slos)]
    if extra:
        notes.append(f"chosen under {', '.join(extra)}, which was not asked for; without it other settings may be better")
    return Standing(set(kept) == set(slos), tuple(notes), tuple(failing))


def slos_kept(answer: Answer) -> list[Slo | None]:
    """What the study kept to; None for an SLO that an older version took and this one refuses: nobody can ask for it."""
    found: list[Slo | None] = []
    for text in answer.slos:
        try:
            found.append(parse_slo(text))
        except BadInput:
            found.append(None)
    return found


def implies(kept: Slo, asked: Slo) -> bool:
    """Whether keeping the one means keeping the other."""
    if kept.metric != asked.metric or kept.operator[0] != asked.operator[0]:
        return False
    if kept.limit == asked.limit:
        return kept.operator == asked.operator or len(asked.operator) > 1
    return kept.limit < asked.limit if asked.operator.startswith("<") else kept.limit > asked.limit

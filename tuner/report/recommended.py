"""What is recommended, as lines for a report: the reason, the settings against vLLM's defaults, what to expect of them, caveats. Pure."""

from __future__ import annotations

from tuner.core.contrast import Contrast
from tuner.core.factors import ArmCell
from tuner.core.numbers import number
from tuner.setup.space import Configuration
from tuner.verdict.answer import STATUS_NONE, Answer, Expected, answer_of
from tuner.verdict.cell_claims import Place
from tuner.verdict.changes import change_lines, with_changes
from tuner.verdict.evidence import Evidence

RECOMMENDED_HEADING = "Recommended settings"


def recommended_lines(evidence: Evidence) -> list[str]:
    """Of the stored recommendation, its reason first; [] where none is stored."""
    if evidence.recommendation is None:
        return []
    answer = with_changes(answer_of(evidence.recommendation), evidence.defaults)
    if answer.status == STATUS_NONE:
        return [f"nothing: {answer.reason}"]
    return [answer.reason, *change_lines(answer.changes), *expected_lines(answer), *(f"note: {caveat}" for caveat in answer.caveats)]


def recommended_cell(evidence: Evidence) -> Place | None:
    """Where the comparisons have the stored recommendation; see `compared_place`."""
    place = None if evidence.recommendation is None else answer_of(evidence.recommendation).place
    return compared_place(place, evidence.contrast)


def compared_place(place: ArmCell | None, contrast: Contrast) -> Place | None:
    """What the comparison of the recommended configuration is stored under: the cell that both arms share. Of another compared factor None
    where its baseline level is recommended, of which each other level has a comparison."""
    if place is None:
        return None
    found = Configuration.in_cell(place[1:], place[0])
    return None if not contrast.of_arms and contrast.level(found) == contrast.baseline else contrast.place(found)


def expected_lines(answer: Answer) -> list[str]:
    """The objectives' metrics and throughputs, each with its interval and the stage that it was measured in."""
    return [
        f"expected {expected_text(metric, expected, answer.stage_in_words)}"
        for metric, expected in answer.expected.items()
        if metric in (answer.objective or "") or metric.endswith("throughput")
    ]


def expected_text(metric: str, expected: Expected, stage: str) -> str:
    """For instance "ttft_p99_ms 412 ms (398.1 to 430.7), after a cold start"."""
    low, high = expected.get("low"), expected.get("high")
    span = "" if low is None or high is None else f" ({number(low)} to {number(high)})"
    return f"{metric} {number(expected['value'])} {expected['unit']}{span}" + (f", {stage}" if stage else "")

"""What a verdict looks like and means, the same in every chart, page, report and on the command line. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from tuner.stats.intervals import EQUIVALENCE_RATIO, Verdict

_BAND = f"+-{100 * (EQUIVALENCE_RATIO - 1):.0f} %"


@dataclass(frozen=True)
class Mark:
    """`shape`: Vega's name for the mark in a chart; `sign`: the same in text; `meaning`: in words. Its colour: charts.theme.Colours."""

    shape: str
    sign: str
    meaning: str


MARKS = {
    Verdict.BETTER: Mark("triangle-up", "\N{BLACK UP-POINTING TRIANGLE}", "the whole interval is a gain"),
    Verdict.WORSE: Mark("triangle-down", "\N{BLACK DOWN-POINTING TRIANGLE}", "the whole interval is a loss"),
    Verdict.EQUIVALENT: Mark("square", "\N{BLACK SQUARE}", f"the whole interval is within {_BAND}, too small to matter"),
    Verdict.INCONCLUSIVE: Mark(
        "circle", "\N{WHITE CIRCLE}", f"no change is possible, and so is one beyond {_BAND}; more rounds or a quieter machine may tell"
    ),
}


def legend_text() -> str:
    """For a caption."""
    return " ".join(f"{mark.sign} {verdict}: {mark.meaning}." for verdict, mark in MARKS.items())

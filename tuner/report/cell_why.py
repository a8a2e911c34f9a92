"""Why each cell is what it is, as the rows of a table: steps and tokens of both arms, and one sentence. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from storage.records import Comparison, Json
from tuner.core.factors import further
from tuner.verdict.cell_cause import CAUSE

WHY_HEADING = "Why each cell is what it is"
WHY_HEADERS = ("page size", "chunk budget", "steps", "scheduled tokens", "padded tokens", "why")
_UNKNOWN = "unknown"


def cause_of(item: Comparison) -> Json:
    """{} where none is stored."""
    return item.details.get(CAUSE) or {}


def why_lines(rows: Sequence[Comparison]) -> list[str]:
    """One line a cell, for a terminal: "16 x 128  the same 49 steps ..."; a single one where all are alike. `rows`: of one metric."""
    told = [(f"{item.block_size} x {item.max_num_batched_tokens}{further(item.factors)}", cause_of(item).get("sentence")) for item in rows]
    if len(told) > 1 and len({sentence for _, sentence in told}) == 1 and told[0][1]:
        return [f"all cells: {told[0][1]}"]
    width = max((len(place) for place, _ in told), default=0)
    return [f"{place:>{width}}  {sentence}" for place, sentence in told if sentence]


def why_rows(rows: Sequence[Comparison]) -> list[tuple[str, ...]]:
    """In the order of WHY_HEADERS; numbers are default / page_aligned, medians a window. `rows`: of one metric."""
    return [
        (
            str(item.block_size),
            f"{item.max_num_batched_tokens}{further(item.factors)}",
            *(both_arms(cause_of(item), name) for name in ("steps", "scheduled_tokens", "padded_tokens")),
            cause_of(item).get("sentence", _UNKNOWN),
        )
        for item in rows
    ]


def both_arms(cause: Json, name: str) -> str:
    """ "2,448 / 2,624"."""
    if "default" not in cause or "page_aligned" not in cause:
        return _UNKNOWN
    return " / ".join(f"{cause[arm][name]:,.10g}" for arm in ("default", "page_aligned"))


def cost_line(causes: Sequence[Json]) -> str | None:
    """Where the sizes in the sentences come from; None where no cell saw its steps."""
    fractions = [found for cause in causes if (found := cause.get("padded_fraction")) is not None]
    if not fractions:
        return None
    first = fractions[0]
    if first["value"] is None:
        return "What a padded token costs cannot be told from this study (budgets too alike, or too much noise); sizes are bounds."
    return (
        f"About {100 * first['value']:.0f} % of the engine time goes with padded tokens ({100 * first['low']:.0f} to "
        f"{100 * first['high']:.0f} %), the rest with steps: from {first['differences']} differences between chunk budgets within an arm."
    )

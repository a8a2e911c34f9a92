"""The goodput curve of a configuration in a study whose objective is the highest load: what its windows, each a search, tried. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from storage.records import Json, Measurement
from tuner.capacity.answer import CurvePoint
from tuner.capacity.loads import RATE, LoadKind
from tuner.verdict.answer import Answer

_ONE_RATE = 1.02  # rates within 2 % of one another are one point, as in tuner.capacity.answer


@dataclass(frozen=True)
class EdgeCurve:
    """`edge`: the recommended configuration's highest load as expected, with its interval."""

    points: Sequence[CurvePoint]
    kind: LoadKind = RATE
    edge: float | None = None
    low: float | None = None
    high: float | None = None


def edge_curve(measurements: Iterable[Measurement], answer: Answer | None, kind: LoadKind = RATE) -> EdgeCurve | None:
    """None where no window has a curve."""
    tried = [
        point for item in measurements if item.valid for point in item.details.get("curve") or () if point.get("invalid_reason") is None
    ]
    groups: list[list[Json]] = []
    for point in sorted(tried, key=lambda item: item["rate"]):
        if groups and point["rate"] <= _ONE_RATE * groups[-1][0]["rate"]:
            groups[-1].append(point)
        else:
            groups.append([point])
    if not groups:
        return None
    expected = answer.expected.get(kind.metric) if answer is not None else None
    ends = {} if expected is None else {"edge": expected["value"], "low": expected.get("low"), "high": expected.get("high")}
    return EdgeCurve([_point(group) for group in groups], kind, **ends)


def _point(group: Sequence[Json]) -> CurvePoint:
    known = [point["goodput"] for point in group if point["goodput"] is not None]
    held = sum(bool(point["held"]) for point in group)
    return CurvePoint(median(point["rate"] for point in group), len(group), held, median(known) if known else None, {})

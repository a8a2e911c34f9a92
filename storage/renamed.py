"""Names that rows from before a renaming still have, and what they are called now. Pure.

Rows are never rewritten for a name: they are read under the new one. New rows are written under the new name only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from storage.records import Comparison, Json, Measurement, Recommendation

RENAMED_METRICS: Mapping[str, str] = {"cached_token_share": "prefix_cache_hit_rate"}  # up to version 0.1.0 -> now


def current_metric(name: str) -> str:
    """Today's name of a metric; other names are returned as they are."""
    return RENAMED_METRICS.get(name, name)


def with_current_names(kind: type[Any], values: dict[str, Any]) -> dict[str, Any]:
    """The fields of a record of this kind, metrics under today's names."""
    if kind is Measurement:
        return values | {"metrics": _renamed(values["metrics"])}
    if kind is Comparison:
        return values | {"metric": current_metric(values["metric"])}
    if kind is Recommendation and isinstance(values["body"].get("expected"), dict):
        return values | {"body": values["body"] | {"expected": _renamed(values["body"]["expected"])}}
    return values


def _renamed(by_metric: Json) -> Json:
    if not any(name in by_metric for name in RENAMED_METRICS):  # few look-ups: a study has thousands of windows, each with many metrics
        return by_metric
    return {current_metric(name): value for name, value in by_metric.items()}

"""What the page of a trial shows, made from its records. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from storage.records import Json, Measurement, Trial
from tuner.core.factors import factor_words
from tuner.metrics.catalog import CATALOG
from tuner.stats.intervals import log_mean_interval

KEY_METRICS = (
    "total_token_throughput",
    "output_token_throughput",
    "request_throughput",
    "goodput",
    "ttft_p50_ms",
    "ttft_p99_ms",
    "tpot_p50_ms",
    "tpot_p99_ms",
    "itl_p99_ms",
    "e2el_p99_ms",
    "mean_step_ms",
    "padding_share",
)


@dataclass(frozen=True)
class MetricRow:
    """Median over the valid windows, with a 95 % interval of their geometric mean, widened to hold the median; None below two windows."""

    name: str
    unit: str
    formula: str
    value: float
    low: float | None
    high: float | None
    windows: int
    key: bool


@dataclass(frozen=True)
class ConfigRow:
    """`different`: the engine took something else than what was asked for."""

    name: str
    requested: str
    effective: str
    different: bool


def metric_rows(measurements: Sequence[Measurement], first: Sequence[str] = ()) -> list[MetricRow]:
    """Those of `first`, the key metrics, and then the rest by name. Invalid windows never enter."""
    valid = [item for item in measurements if item.valid]
    values: dict[str, list[float]] = {}
    for item in valid:
        for name, value in item.metrics.items():
            if isinstance(value, int | float):
                values.setdefault(name, []).append(float(value))
    leading = [*dict.fromkeys([*first, *KEY_METRICS])]
    order = [*(name for name in leading if name in values), *sorted(values.keys() - set(leading))]
    return [_metric_row(name, values[name], name in leading) for name in order]


def _metric_row(name: str, values: Sequence[float], key: bool) -> MetricRow:
    info, middle, interval = CATALOG.get(name), median(values), log_mean_interval(values)
    low, high = (min(interval[0], middle), max(interval[1], middle)) if interval is not None else (None, None)
    return MetricRow(
        name=name,
        unit=info.unit if info else "",
        formula=info.formula if info else "",
        value=middle,
        low=low,
        high=high,
        windows=len(values),
        key=key,
    )


def config_rows(requested: Json, effective: Json) -> list[ConfigRow]:
    """Settings that the engine changed come first, then those that were asked for, then what only the engine knows."""
    rows = []
    for name in [*requested, *(name for name in effective if name not in requested)]:
        asked, taken = _text(requested, name), _text(effective, name)
        different = name in requested and name in effective and not _same(requested[name], effective[name])
        rows.append(ConfigRow(name, asked, taken, different))
    return sorted(rows, key=lambda row: not row.different)


def _same(asked: Any, taken: Any) -> bool:
    """`auto` and None leave the choice to the engine: whatever it took is what was asked for."""
    return asked in (None, "auto") or asked == taken


def _text(settings: Json, name: str) -> str:
    if name not in settings:
        return ""
    value = settings[name]
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def environment_rows(details: Json) -> list[tuple[str, str]]:
    """Name and value, nested objects flattened with dots."""
    rows: list[tuple[str, str]] = []
    for name, value in details.items():
        if isinstance(value, dict):
            rows += [(f"{name}.{inner}", text) for inner, text in environment_rows(value)]
        else:
            rows.append((name, value if isinstance(value, str) else json.dumps(value)))
    return rows


def title_of(trial: Trial) -> str:
    """What tells it from the others of its study."""
    words = [trial.arm, f"page size {trial.block_size}", f"chunk budget {trial.max_num_batched_tokens}"]
    return " · ".join([*words, *([factor_words(trial.factors.items())] if trial.factors else [])])

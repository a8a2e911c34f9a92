"""Tables as other programs write them, put into the words of table_files.py: our own export, vLLM's benchmark, pandas. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from tuner.core.errors import FailureClass
from tuner.metrics.catalog import CATALOG

type NumberedLine = tuple[int, list[str]]
"""A line's number in its file, and its cells."""

_INDEX = re.compile(r"|Unnamed: \d+(\.\d+)?")  # pandas' row labels: without a name as written, "Unnamed: 0" once read and written again
_VLLM_LATENCY = re.compile(r"(mean|median|std|p\d+)_(ttft|tpot|itl|e2el)_ms")
_VLLM_NAMES = {"output_throughput": "output_token_throughput", "request_goodput": "goodput", "duration": "measure_s"}
# What `vllm bench serve` 0.32 notes about a run beside its metrics (vllm/benchmarks/serve.py).
_VLLM_NOTES = frozenset(
    {
        *("date", "endpoint_type", "backend", "label", "model_id", "tokenizer_id", "run_number"),
        *("num_prompts", "request_rate", "burstiness", "max_concurrency", "ramp_up_strategy", "ramp_up_start_rps", "ramp_up_end_rps"),
        *("total_input_tokens", "total_output_tokens", "max_output_tokens_per_s", "max_concurrent_requests", "rtfx"),
    }
)
# Of tuner.report.study_export: what tells a configuration, and what there is beside it and the metrics.
_EXPORT_SETTINGS = ("arm", "block_size", "max_num_batched_tokens")
_EXPORT_NOTES = ("trial", "stage", "state", "error_class", "round", "position", "started_at", "duration_s", "valid", "invalid_reason")
_SEARCH, _UNFINISHED = "search", ("WAITING", "RUNNING")


def in_our_words(header: list[str], lines: list[NumberedLine]) -> tuple[list[str], list[NumberedLine]]:
    """Header and lines with the columns of table_files.py; those of any other table come back as they are."""
    header, lines = _without_index(header, lines)
    if {*_EXPORT_SETTINGS, *_EXPORT_NOTES} <= {*header}:
        return _from_export(header, lines)
    if "output_throughput" in header or any(_VLLM_LATENCY.fullmatch(name) for name in header):
        return _from_vllm(header, lines)
    return header, lines


def _without_index(header: list[str], lines: list[NumberedLine]) -> tuple[list[str], list[NumberedLine]]:
    """Without pandas' row labels: a first column that has no name of its own and a different whole number in every line."""
    labels = [line[0] for _number, line in lines] if header else []
    if not header or not _INDEX.fullmatch(header[0]) or not all(map(str.isdecimal, labels)) or len({*labels}) < len(labels):
        return header, lines
    return _without_index(header[1:], [(number, line[1:]) for number, line in lines])


def _from_vllm(header: list[str], lines: list[NumberedLine]) -> tuple[list[str], list[NumberedLine]]:
    """Metrics under our names, settings with underscores. A column of only zeros is left out where 0 is no measurement: the benchmark
    fills it for want of values (TPOT of answers of one token)."""
    renamed = [_vllm_name(name) for name in header]
    kept = [
        index
        for index, name in enumerate(renamed)
        if name not in _VLLM_NOTES and not (name in CATALOG and CATALOG[name].positive and _only_zeros(lines, index))
    ]
    return [renamed[index] for index in kept], [(number, [line[index] for index in kept]) for number, line in lines]


def _vllm_name(name: str) -> str:
    if match := _VLLM_LATENCY.fullmatch(name):
        return f"{match[2]}_{'p50' if match[1] == 'median' else match[1]}_ms"
    return _VLLM_NAMES.get(name, name.replace("-", "_"))


def _only_zeros(lines: Sequence[NumberedLine], index: int) -> bool:
    return all(re.fullmatch(r"0*\.?0*", line[index]) for _number, line in lines)


def _from_export(header: list[str], lines: list[NumberedLine]) -> tuple[list[str], list[NumberedLine]]:
    """Settings are page size, budget, arm and the study's further factors, whose columns stand before the round.

    The valid windows of the search's trials as repeated lines (of the finalists' where there are no others), with the metrics that all
    of them have. A configuration without one fails as its trial did. What was never measured is left out."""
    rows = [(number, dict(zip(header, line, strict=True))) for number, line in lines]
    rows = [row for row in rows if row[1]["stage"] == _SEARCH] or rows
    windows = [(number, row) for number, row in rows if row["valid"] == "1"]
    metrics = [name for name in header if name in CATALOG and all(row[name] for _number, row in windows)]
    settings = [*_EXPORT_SETTINGS, *(name for name in header[: header.index("round")] if name not in (*_EXPORT_SETTINGS, *_EXPORT_NOTES))]
    columns = [*settings, "measure_s", "error_class", *metrics]
    measured = [(number, [*_key(row, settings), row["duration_s"], "", *(row[name] for name in metrics)]) for number, row in windows]
    known = {_key(row, settings) for _number, row in windows}
    failed = [(number, [*key, "", failure, *[""] * len(metrics)]) for number, key, failure in _failures(rows, known, settings)]
    return columns, [*measured, *failed]


def _key(row: dict[str, str], settings: Sequence[str]) -> tuple[str, ...]:
    return tuple(row[name] for name in settings)


def _failures(
    rows: Sequence[tuple[int, dict[str, str]]], known: set[tuple[str, ...]], settings: Sequence[str]
) -> Iterator[tuple[int, tuple[str, ...], str]]:
    """Line number, settings and error class of each configuration that ended without a valid window; a pruned one says no class."""
    seen = set(known)
    for number, row in rows:
        if row["state"] not in _UNFINISHED and (key := _key(row, settings)) not in seen:
            seen.add(key)
            yield number, key, row["error_class"] or FailureClass.INVALID_MEASUREMENT

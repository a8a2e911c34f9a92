"""Recorded requests: reading the files and choosing what is replayed. Bad files are BadInput, naming the file, the line and the key."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tuner.core.errors import BadInput
from tuner.core.yaml_file import parse_json
from tuner.workload.sources import AzureSource, FileSource, LengthsSource, MooncakeSource, TraceSource

MOONCAKE_BLOCK_TOKENS = 512

Json = dict[str, Any]


@dataclass(frozen=True)
class RecordedRequest:
    """Lengths in tokens. `arrival_s` counts from the first request (0 where the file has no times); `block_ids` only for Mooncake."""

    arrival_s: float
    input_tokens: int
    output_tokens: int
    block_ids: tuple[int, ...] = ()


def read_source(source: FileSource) -> list[RecordedRequest]:
    """All requests of the file in order of arrival. Raises BadInput."""
    path = Path(source.path)
    if isinstance(source, AzureSource):
        return _in_order([_azure(row, where) for row, where in _csv_rows(path)])
    if isinstance(source, MooncakeSource):
        return _in_order([_mooncake(row, where) for row, where in _json_rows(path)])
    if isinstance(source, LengthsSource):
        rows = _csv_rows(path) if path.suffix == ".csv" else _json_rows(path)
        return [_lengths(row, where) for row, where in rows]
    raise TypeError(f"no reader for {type(source).__name__}")


def candidates(requests: list[RecordedRequest], source: FileSource) -> list[RecordedRequest]:
    """The stretch of the trace to replay: `max_duration_s`, `time_scale`, `max_requests`, in this order; no length is looked at yet.

    So the chosen stretch does not depend on the engine, and its length minus the plan's is how many were skipped.
    """
    chosen = requests
    if isinstance(source, TraceSource):
        limit_s = source.max_duration_s
        chosen = [
            replace(request, arrival_s=request.arrival_s * source.time_scale)
            for request in requests
            if limit_s is None or request.arrival_s <= limit_s
        ]
    return chosen[: source.max_requests]


def fitting(requests: list[RecordedRequest], source: FileSource, max_model_len: int) -> list[RecordedRequest]:
    """Clip or skip what is over the source's length limits.

    What then does not fit `max_model_len` (input + output) is skipped, whatever `too_long` says.
    """
    shortened = [(request, _shortened(request, source)) for request in requests]
    allowed = [short for request, short in shortened if source.too_long == "clip" or short == request]
    return [request for request in allowed if request.input_tokens + request.output_tokens <= max_model_len]


def _shortened(request: RecordedRequest, source: FileSource) -> RecordedRequest:
    return replace(
        request,
        input_tokens=min(request.input_tokens, source.max_input_tokens or request.input_tokens),
        output_tokens=min(request.output_tokens, source.max_output_tokens or request.output_tokens),
    )


def _in_order(requests: list[RecordedRequest]) -> list[RecordedRequest]:
    """Sorted by arrival (stable), counted from the first."""
    if not requests:
        return requests
    first = min(request.arrival_s for request in requests)
    return sorted((replace(request, arrival_s=request.arrival_s - first) for request in requests), key=lambda request: request.arrival_s)


def _azure(row: Json, where: str) -> RecordedRequest:
    stamp = str(_value(row, "TIMESTAMP", where)).strip()
    try:  # the traces have seven decimals: fromisoformat reads six and drops the rest
        arrival_s = datetime.fromisoformat(stamp).replace(tzinfo=UTC).timestamp()
    except ValueError as error:
        raise BadInput(
            "is not a time", setting="TIMESTAMP", value=repr(stamp), where=where, fix="write it as 2023-11-16 18:17:03.9799600"
        ) from error
    return RecordedRequest(arrival_s, _tokens(row, "ContextTokens", where), _tokens(row, "GeneratedTokens", where))


def _mooncake(row: Json, where: str) -> RecordedRequest:
    timestamp_ms = _value(row, "timestamp", where)
    if isinstance(timestamp_ms, bool) or not isinstance(timestamp_ms, int | float) or not math.isfinite(timestamp_ms):
        raise BadInput("is no number of milliseconds", setting="timestamp", value=repr(timestamp_ms), where=where)
    ids = row.get("hash_ids")
    if not isinstance(ids, list) or not all(type(item) is int and item >= 0 for item in ids):
        raise BadInput("is no list of whole numbers, 0 or more", setting="hash_ids", where=where)
    input_tokens = _tokens(row, "input_length", where)
    needed = -(-input_tokens // MOONCAKE_BLOCK_TOKENS)
    if len(ids) < needed:
        raise BadInput(
            f"{len(ids)} ids, but input_length {input_tokens} needs {needed} of {MOONCAKE_BLOCK_TOKENS} tokens each",
            setting="hash_ids",
            where=where,
        )
    return RecordedRequest(timestamp_ms / 1000, input_tokens, _tokens(row, "output_length", where), tuple(ids))


def _lengths(row: Json, where: str) -> RecordedRequest:
    return RecordedRequest(0.0, _tokens(row, "input_length", where), _tokens(row, "output_length", where))


def _tokens(row: Json, key: str, where: str) -> int:
    """A whole number, 1 or more: digits in a CSV, a number in JSON."""
    value = _value(row, key, where)
    text = str(value).strip()
    if not (isinstance(value, int | str) and text.isascii() and text.isdigit() and len(text) < 10 and int(text) >= 1):
        raise BadInput("is no whole number of tokens, 1 or more", setting=key, value=repr(value), where=where)
    return int(text)


def _value(row: Json, key: str, where: str) -> Any:
    if row.get(key) is None:
        raise BadInput("is missing", setting=key, where=where, fix="add it to the row")
    return row[key]


def _csv_rows(path: Path) -> Iterator[tuple[Json, str]]:
    reader = csv.DictReader(_lines(path))
    names = list(reader.fieldnames or ())
    if twice := [name for name in names if name and names.count(name) > 1]:
        raise BadInput(f"{path}:1: the column {twice[0]} is there twice; keep one")
    for number, row in enumerate(reader, start=2):
        yield row, f"{path}:{number}"


def _json_rows(path: Path) -> Iterator[tuple[Json, str]]:
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except (ValueError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            raise BadInput(f"{path}:{number}: not a JSON object per line ({reason})") from error
        if not isinstance(row, dict):
            raise BadInput(f"{path}:{number}: expected a JSON object, found {type(row).__name__}")
        yield row, f"{path}:{number}"


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"workload file {path} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8 text'}") from error

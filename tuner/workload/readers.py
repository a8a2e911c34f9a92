"""Rows of a file -> recorded requests, one reader a format; the file is streamed once. Bad rows are BadInput: file, line, key and fix."""

from __future__ import annotations

import csv
import heapq
import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache, partial
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

from tuner.core.errors import BadInput
from tuner.core.yaml_file import parse_json
from tuner.workload.sources import (
    AzureSource,
    BlockSource,
    BurstGptSource,
    ColumnsSource,
    ConversationsSource,
    FileSource,
    LengthsSource,
    MooncakeSource,
    TraceSource,
)
from tuner.workload.trace import RecordedRequest

Json = dict[str, Any]
type Where = str
"""FILE:LINE, for messages."""

_IN_S = {"s": 1.0, "ms": 1e-3}
# Faster than this on average, over more than so many requests, milliseconds are seconds in truth: no recorded trace comes near.
_IMPLAUSIBLE_RATE, _TOO_FEW_TO_TELL = 200.0, 20


@dataclass(frozen=True)
class Recording:
    """`requests`: those that can be replayed, in order of arrival, at most `max_requests`. `bad_rows`: left out because they were asked to
    be; `failed`: requests that had failed when they were recorded."""

    requests: tuple[RecordedRequest, ...]
    bad_rows: int = 0
    failed: int = 0


class _Failed(Exception):  # not an error: the row says so itself
    """The row records a request that got no answer."""


def read_recording(source: FileSource) -> Recording:
    """The file's requests; read once for several questions as long as the file stays what it is. Raises BadInput."""
    path = Path(source.path)
    try:
        state = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    return _read(source, (state.st_mtime_ns, state.st_size))


@lru_cache(maxsize=2)
def _read(source: FileSource, _state: tuple[int, int]) -> Recording:
    read, counts = _reader(source), {"bad": 0, "failed": 0}

    def good() -> Iterator[RecordedRequest]:
        for parse, where in _rows(source):
            try:
                yield read(parse(), where)
            except _Failed:
                counts["failed"] += 1
            except BadInput:
                if source.bad_rows == "refuse":
                    raise
                counts["bad"] += 1

    requests = _first(good(), source)
    _refuse_seconds(requests, source)
    if requests and source.bad_rows == "skip" and counts["bad"] > len(requests):
        raise BadInput(
            f"workload file {source.path}: {counts['bad']} of {counts['bad'] + len(requests)} rows are bad; is it of another kind?"
        )
    return Recording(tuple(requests), counts["bad"], counts["failed"])


def _first(requests: Iterable[RecordedRequest], source: FileSource) -> list[RecordedRequest]:
    """The first `max_requests` by arrival (stable), counted from the first; without times those that come first in the file."""
    if not isinstance(source, TraceSource) or not source.has_times:
        return list(islice(requests, source.max_requests))
    numbered = enumerate(requests)

    def order(item: tuple[int, RecordedRequest]) -> tuple[float, int]:
        return item[1].arrival_s, item[0]

    limit = source.max_requests
    chosen = sorted(numbered, key=order) if limit is None else heapq.nsmallest(limit, numbered, key=order)
    first_s = chosen[0][1].arrival_s if chosen else 0.0
    return [
        RecordedRequest(request.arrival_s - first_s, request.input_tokens, request.output_tokens, request.block_ids)
        for _, request in chosen
    ]


def _refuse_seconds(requests: list[RecordedRequest], source: FileSource) -> None:
    """Of a trace whose times are milliseconds unless it says otherwise."""
    if not isinstance(source, MooncakeSource) or source.time_unit is not None or len(requests) <= _TOO_FEW_TO_TELL:
        return
    span_s = requests[-1].arrival_s
    if span_s > 0 and len(requests) / span_s > _IMPLAUSIBLE_RATE:
        raise BadInput(
            f"{len(requests)} requests within {span_s:g} s, if they are milliseconds as in Mooncake's traces; they look like seconds",
            setting="timestamp",
            where=f"workload file {source.path}",
            fix="set time_unit: s, or time_unit: ms if they are not",
        )


type _Reader = Callable[[Json, Where], RecordedRequest]


def _reader(source: FileSource) -> _Reader:
    match source:
        case AzureSource():
            return _azure
        case BurstGptSource():
            return _burstgpt
        case ConversationsSource():
            return lambda row, where: _conversation(row, where, source)
        case BlockSource():
            return lambda row, where: _blocks(row, where, source)
        case ColumnsSource():
            return lambda row, where: _columns(row, where, source)
        case LengthsSource():
            return lambda row, where: RecordedRequest(0.0, _tokens(row, "input_length", where), _tokens(row, "output_length", where))
    raise TypeError(f"no reader for {type(source).__name__}")


def _azure(row: Json, where: Where) -> RecordedRequest:
    return RecordedRequest(_stamp(row, "TIMESTAMP", where), _tokens(row, "ContextTokens", where), _tokens(row, "GeneratedTokens", where))


def _burstgpt(row: Json, where: Where) -> RecordedRequest:
    """HPMLL/BurstGPT: seconds; a request that failed has 0 response tokens."""
    output = _value(row, "Response tokens", where)
    if str(output).strip() in ("0", "0.0"):
        raise _Failed
    return RecordedRequest(
        _number(row, "Timestamp", where, "seconds"), _tokens(row, "Request tokens", where), _tokens(row, "Response tokens", where)
    )


def _conversation(row: Json, where: Where, source: ConversationsSource) -> RecordedRequest:
    """The first question and answer, as in `vllm bench serve`, and up to `source.turns` of them while both have text; there is no tokenizer
    here, so lengths are estimated from characters."""
    turns = row.get("conversations", row.get("conversation", row.get("messages")))
    texts = [_turn(turn) for turn in turns] if isinstance(turns, list) else []
    if len(texts) < 2 or not texts[0] or not texts[1]:
        raise BadInput("has no two turns with text", setting="conversations", where=where, fix="write a question and an answer")
    lengths = [max(1, round(len(text) / source.chars_per_token)) if text else 0 for text in texts]
    (prompt, answer), *further = zip(lengths[0 : 2 * source.turns : 2], lengths[1 : 2 * source.turns : 2], strict=False)
    return RecordedRequest(0.0, prompt, answer, later=tuple(takewhile(all, further)))


def _turn(turn: object) -> str:
    """ShareGPT says `value`, OpenAI `content`."""
    text = turn.get("value", turn.get("content")) if isinstance(turn, dict) else None
    return text if isinstance(text, str) else ""


def _blocks(row: Json, where: Where, source: BlockSource) -> RecordedRequest:
    arrival_s = _number(row, "timestamp", where, "milliseconds" if source.unit == "ms" else "seconds") * _IN_S[source.unit]
    ids = row.get("hash_ids")
    if not isinstance(ids, list) or not all(type(item) is int and item >= 0 for item in ids):
        raise BadInput("is no list of whole numbers, 0 or more", setting="hash_ids", where=where)
    input_tokens = _tokens(row, "input_length", where)
    needed = -(-input_tokens // source.block_tokens)
    if len(ids) != needed:
        likely = next((size for size in (16, 32, 64, 128, 256, 512, 1024) if -(-input_tokens // size) == len(ids)), None)
        raise BadInput(
            f"{len(ids)} ids, but input_length {input_tokens} needs {needed} of {source.block_tokens} tokens each",
            setting="hash_ids",
            where=where,
            fix="set block_tokens to the tokens of one id"
            if likely is None
            else f"set block_tokens: {likely} if that is what one id stands for",
        )
    return RecordedRequest(arrival_s, input_tokens, _tokens(row, "output_length", where), tuple(ids))


def _columns(row: Json, where: Where, source: ColumnsSource) -> RecordedRequest:
    arrival_s = 0.0
    if source.time is not None:
        if source.time_unit == "iso":
            arrival_s = _stamp(row, source.time, where)
        else:
            arrival_s = _number(row, source.time, where, source.time_unit) * _IN_S[source.time_unit]
    return RecordedRequest(arrival_s, _tokens(row, source.input, where), _tokens(row, source.output, where))


def _stamp(row: Json, key: str, where: Where) -> float:
    """Unix seconds; a time without an offset is UTC."""
    text = str(_value(row, key, where)).strip()
    try:  # the traces have seven decimals: fromisoformat reads six and drops the rest
        found = datetime.fromisoformat(text)
    except ValueError as error:
        fix = "write it as 2023-11-16 18:17:03.9799600"
        raise BadInput("is not a time", setting=key, value=repr(text), where=where, fix=fix) from error
    return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()


def _number(row: Json, key: str, where: Where, unit: str) -> float:
    value = _value(row, key, where)
    try:
        number = math.nan if isinstance(value, bool) or not isinstance(value, int | float | str) else float(value)
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise BadInput(f"is no number of {unit}", setting=key, value=repr(value), where=where)
    return number


def _tokens(row: Json, key: str, where: Where) -> int:
    """A whole number, 1 or more: digits in a CSV, a number in JSON."""
    value = _value(row, key, where)
    text = str(value).strip()
    if not (isinstance(value, int | str) and text.isascii() and text.isdigit() and len(text) < 10 and int(text) >= 1):
        raise BadInput("is no whole number of tokens, 1 or more", setting=key, value=repr(value), where=where)
    return int(text)


def _value(row: Json, key: str, where: Where) -> Any:
    if row.get(key) is None:
        raise BadInput("is missing", setting=key, where=where, fix="add it to the row")
    return row[key]


def _rows(source: FileSource) -> Iterator[tuple[Callable[[], Json], Where]]:
    """Each row of the file as a function that reads it, so that a bad one can be left out. Raises BadInput for what is no such file."""
    path = Path(source.path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if isinstance(source, AzureSource | BurstGptSource) or path.suffix in (".csv", ".tsv"):
                yield from _csv_rows(file, path)
            elif isinstance(source, ConversationsSource | ColumnsSource) and path.suffix == ".json":
                yield from _list_rows(file.read(), path)
            else:
                yield from _json_rows(file, path)
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error
    except csv.Error as error:
        raise BadInput(f"workload file {path} cannot be read: {error}") from error


def _csv_rows(file: Iterable[str], path: Path) -> Iterator[tuple[Callable[[], Json], Where]]:
    reader = csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",")
    names = list(reader.fieldnames or ())
    if twice := [name for name in names if name and names.count(name) > 1]:
        raise BadInput(f"{path}:1: the column {twice[0]} is there twice; keep one")
    for row in reader:
        where = f"{path}:{reader.line_num}"
        yield partial(_checked, row, where), where


def _json_rows(file: Iterable[str], path: Path) -> Iterator[tuple[Callable[[], Json], Where]]:
    for number, line in enumerate(file, start=1):
        if line.strip():
            where = f"{path}:{number}"
            yield partial(_object, line, where), where


def _list_rows(text: str, path: Path) -> Iterator[tuple[Callable[[], Json], Where]]:
    """A JSON list of objects, as ShareGPT's file is one."""
    try:
        items = parse_json(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"workload file {path} is not JSON ({error})") from error
    if not isinstance(items, list):
        raise BadInput(f"workload file {path} must hold a list, found {type(items).__name__}; name a file of one object a line .jsonl")
    for number, item in enumerate(items, start=1):
        where = f"{path}: entry {number}"
        yield partial(_checked, item, where), where


def _object(line: str, where: Where) -> Json:
    try:
        return _checked(parse_json(line), where)
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise BadInput(f"{where}: not a JSON object per line ({reason})") from error


def _checked(row: object, where: Where) -> Json:
    if not isinstance(row, dict):
        raise BadInput(f"{where}: expected a JSON object, found {type(row).__name__}")
    return row


def _unreadable(path: Path, error: OSError | UnicodeDecodeError) -> BadInput:
    return BadInput(f"workload file {path} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8 text'}")

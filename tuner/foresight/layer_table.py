"""Reads tables of measured layers: layers.csv and attention.csv as LLMServingSim (casys-kaist) has them for a chip and a model.

layers.csv: layer_name, input (tokens), kv_cache, tp_size, latency(ns). attention.csv: prefill_chunk_size, kv_cache_size (tokens; of decodes
each request's), batch_size, is_prefill, p50_ns. The table names no model; its widths are Llama-3.1-8B's.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from tuner.core.errors import BadInput
from tuner.foresight.operations import Operation, decode, elementwise, gather, matmul, prefill
from tuner.foresight.step_time import Measured

HIDDEN, INNER, VOCABULARY, HEADS = 4096, 14336, 128256, (32, 8, 128)
_QUERIES, _HEAD = HEADS[0] * HEADS[2], HEADS[2]
_MATRICES = {
    "q_proj": (HIDDEN, _QUERIES),
    "o_proj": (_QUERIES, HIDDEN),
    "gate_proj": (HIDDEN, INNER),
    "up_proj": (HIDDEN, INNER),
    "down_proj": (INNER, HIDDEN),
    "lm_head": (HIDDEN, VOCABULARY),
}
_WIDTHS = {"input_layernorm": HIDDEN, "post_layernorm": HIDDEN, "final_layernorm": HIDDEN, "rope": (HEADS[0] + HEADS[1]) * _HEAD}
FEWEST = 100  # points of a kind: with fewer it is no kind that anything could be held out of


def read_layer_table(folder: Path) -> tuple[list[Measured], list[str]]:
    """The kinds that have FEWEST points or more, and what was left out and why, one line each. Raises BadInput."""
    points: dict[str, list[tuple[Operation, int, float]]] = {}
    for operation, tokens, seconds in (*_layers(folder / "layers.csv"), *_attention(folder / "attention.csv")):
        points.setdefault(operation.kind, []).append((operation, tokens, seconds))
    left_out = [f"{kind}: {len(found)} point(s), too few for a fit" for kind, found in points.items() if len(found) < FEWEST]
    return [_measured(found) for found in points.values() if len(found) >= FEWEST], left_out


def _measured(points: list[tuple[Operation, int, float]]) -> Measured:
    points = sorted(points, key=lambda point: (point[1], point[0].terms))
    first = points[0][0]
    return Measured(
        kind=first.kind,
        family=first.family,
        shape=first.shape,
        tokens=np.array([tokens for _, tokens, _ in points], dtype=np.float64),
        terms=np.array([operation.terms for operation, _, _ in points], dtype=np.float64),
        seconds=np.array([seconds for _, _, seconds in points]),
    )


def _layers(path: Path) -> Iterator[tuple[Operation, int, float]]:
    for row in _rows(path, ("layer_name", "input", "tp_size", "latency(ns)")):
        kind, tokens = row["layer_name"], int(row["input"])
        if int(row["tp_size"]) != 1:
            continue
        if kind in _MATRICES:
            yield matmul(kind, tokens, *_MATRICES[kind]), tokens, float(row["latency(ns)"]) * 1e-9
        elif kind == "embedding":
            yield gather(kind, tokens, HIDDEN), tokens, float(row["latency(ns)"]) * 1e-9
        else:
            yield elementwise(kind, tokens, _WIDTHS.get(kind, INNER)), tokens, float(row["latency(ns)"]) * 1e-9


def _attention(path: Path) -> Iterator[tuple[Operation, int, float]]:
    for row in _rows(path, ("prefill_chunk_size", "kv_cache_size", "batch_size", "is_prefill", "p50_ns")):
        context, requests, seconds = int(row["kv_cache_size"]), int(row["batch_size"]), float(row["p50_ns"]) * 1e-9
        if row["is_prefill"] == "True":
            chunk = int(row["prefill_chunk_size"])
            yield prefill(HEADS, chunk, context), chunk, seconds
        else:
            yield decode(HEADS, requests, requests * context), requests, seconds


def _rows(path: Path, columns: Iterable[str]) -> Iterator[Mapping[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            if missing := [name for name in columns if name not in (rows.fieldnames or ())]:
                raise BadInput(f"{path} has no column {missing[0]}; it needs {', '.join(columns)}")
            try:
                yield from rows
            except (csv.Error, UnicodeDecodeError) as error:
                raise BadInput(f"{path}, line {rows.line_num}: {error}") from error
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from error


def anomalies(table: Iterable[Measured]) -> list[str]:
    """What no smooth curve should follow, one line each: jumps between neighbouring numbers of tokens, and kinds that are faster than
    their own bytes or flops allow."""
    found: list[str] = []
    for item in table:
        if item.family in ("prefill_attention", "decode_attention"):
            continue
        order = np.argsort(item.tokens)
        tokens, seconds = item.tokens[order], item.seconds[order]
        steps = np.log(seconds[1:] / seconds[:-1])
        jumps = np.flatnonzero((np.abs(steps) > _JUMP) & (seconds[1:] > _SMALLEST_S))
        if len(jumps):
            worst = jumps[np.argsort(-np.abs(steps[jumps]))[:_NAMED]]
            named = ", ".join(f"{tokens[i]:.0f} -> {tokens[i + 1]:.0f}: x {np.exp(steps[i]):.2f}" for i in sorted(worst))
            found.append(f"{item.kind}: {len(jumps)} jumps of more than {np.expm1(_JUMP):.0%} from one size to the next ({named})")
        if item.family == "matmul":
            bound = np.maximum(item.terms[:, 0] / PEAK_FLOPS, item.terms[:, 1] / PEAK_BYTES)
            fast = item.seconds < _IMPOSSIBLE * bound
            if fast.any():
                some = item.tokens[fast]
                found.append(
                    f"{item.kind}: {fast.sum()} points below {_IMPOSSIBLE:.0%} of the roofline, at {some.min():.0f} to {some.max():.0f} "
                    "tokens: weights that lie in VMEM already, or not all of the work"
                )
    return found


PEAK_FLOPS, PEAK_BYTES = 918e12, 1.64e12  # one v6e chip, bf16; cloud.google.com/tpu/docs/v6e
_JUMP, _SMALLEST_S, _NAMED, _IMPOSSIBLE = 0.3, 2e-6, 4, 0.9

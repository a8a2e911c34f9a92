"""Which implementation of the KV write is fastest on this device: measured, because it depends on the device, the dtype and the page size.

On XLA:CPU a scatter of tokens beat a loop in float32 and lost in bfloat16. Each write mode gets its own best implementation, so that
comparing the modes is fair. The result is remembered beside the XLA compilation cache (VLLM_XLA_CACHE_PATH), since it only depends on what
its file name spells out.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from pathlib import Path
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp

from tuner.vllm_plugin.kv_write import WRITES_VERSION, Batch, interleave_kv, write_pages, write_tokens
from tuner.vllm_plugin.settings import IMPLEMENTATIONS

ROUNDS = 7
WRITES_PER_ROUND = 8
WRITERS = {"token": write_tokens, "page": write_pages}


def fastest_implementations(
    cache_shape: tuple[int, ...], dtype: Any, max_tokens: int, max_requests: int
) -> tuple[str, str, dict[str, float]]:
    """(token implementation, page implementation, median microseconds by "token_scatter", "token_loop", "page_scatter", "page_loop")."""
    memo = _memo_path(cache_shape, dtype, max_tokens, max_requests)
    times = _read(memo)
    if times is None:
        times = measure_implementations(cache_shape, dtype, max_tokens, max_requests)
        _write(memo, times)
    best = {mode: min(IMPLEMENTATIONS, key=lambda implementation: times[f"{mode}_{implementation}"]) for mode in WRITERS}
    return best["token"], best["page"], times


def measure_implementations(cache_shape: tuple[int, ...], dtype: Any, max_tokens: int, max_requests: int) -> dict[str, float]:
    """Microseconds per write, median over rounds."""
    times = time_implementations(cache_shape, dtype, max_tokens, max_requests)
    return {name: round(median(values), 3) for name, values in times.items()}


def time_implementations(
    cache_shape: tuple[int, ...], dtype: Any, max_tokens: int, max_requests: int, rounds: int = ROUNDS
) -> dict[str, list[float]]:
    """Interleaved rounds over a half-full prefill batch of two requests: microseconds per write (median of each round), by implementation.

    Each write is waited for: of writes sent in a row XLA:CPU starts one while another runs, and no step does that.
    """
    pages, page_size, heads, dim = cache_shape
    table_width = max(1, min(pages // 2, -(-max_tokens // page_size)))
    tokens = max(2, min(max_tokens, table_width * page_size))
    batch = prefill_batch(tokens, table_width, max_requests)
    new = jnp.ones((tokens, heads // 2, dim), dtype)
    programs = {
        f"{mode}_{implementation}": _compiled(write, implementation)
        for mode, write in WRITERS.items()
        for implementation in IMPLEMENTATIONS
    }
    cache = jnp.zeros((min(pages, 2 * table_width + 1), page_size, heads, dim), dtype)
    times: dict[str, list[float]] = {name: [] for name in programs}
    for round_ in range(rounds + 1):  # round 0 compiles
        for name, program in programs.items():
            seconds = []
            for _ in range(WRITES_PER_ROUND):
                start = time.perf_counter()
                cache = program(cache, new, new, batch).block_until_ready()
                seconds.append(time.perf_counter() - start)
            if round_:
                times[name].append(median(seconds) * 1e6)
    return times


def prefill_batch(tokens: int, table_width: int, max_requests: int) -> Batch:
    """Two prefills that start on page 1 and behind it; the rest of the request slots is empty."""
    requests = max(2, max_requests)
    first = tokens // 2
    lens = jnp.zeros(requests, jnp.int32).at[0].set(first).at[1].set(tokens - first)
    tables = jnp.zeros((requests, table_width), jnp.int32)
    tables = tables.at[0].set(1 + jnp.arange(table_width)).at[1].set(1 + table_width + jnp.arange(table_width))
    starts = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(lens)])
    return Batch(tables, lens, starts, jnp.int32(0), jnp.int32(2))


def _compiled(write: Any, implementation: str) -> Any:
    """One write as a program of its own, in place like in a step: inside a loop XLA:CPU would copy the whole cache around some
    implementations. Keys and values come apart, as a layer makes them, since how they are put together may be compiled into the write."""

    def run(cache: jax.Array, k: jax.Array, v: jax.Array, batch: Batch) -> jax.Array:
        written: jax.Array = write(cache, interleave_kv(k, v), batch, implementation)
        return written

    return jax.jit(run, donate_argnums=0)


def _memo_path(*key: Any) -> Path | None:
    folder = os.environ.get("VLLM_XLA_CACHE_PATH")
    if not folder:
        return None
    device = jax.devices()[0]
    words = json.dumps([WRITES_VERSION, device.platform, device.device_kind, jax.__version__, [str(part) for part in key]])
    return Path(folder) / f"tuner-kv-write-{hashlib.sha256(words.encode()).hexdigest()[:16]}.json"


def _read(memo: Path | None) -> dict[str, float] | None:
    if memo is None:
        return None
    with contextlib.suppress(OSError, ValueError):
        return {str(name): float(value) for name, value in json.loads(memo.read_text()).items()}
    return None


def _write(memo: Path | None, times: dict[str, float]) -> None:
    if memo is None:
        return
    with contextlib.suppress(OSError):  # the memo only saves time
        memo.parent.mkdir(parents=True, exist_ok=True)
        partial = memo.with_suffix(f".{os.getpid()}.tmp")
        partial.write_text(json.dumps(times))
        partial.replace(memo)

"""What the implementation of the KV write is worth inside a step: a step-like program (projections, KV write and attention), not traced.

    python -m bench.kv_write_in_step [--page-sizes 16,64,128] [--tokens 512] [--dtypes float32,bfloat16] [--kv-heads 2] [--head-dim 64]
    [--layers 2] [--rounds 150]

Every implementation of both writes runs in each round, in random order; the table has the program's time over that with the token-wise
scatter, geometric means with 95 % intervals (Student's t on paired log-ratios), and what the engine would choose
(tuner.vllm_plugin.calibrate times the write alone). Below 1 is better. A profile cannot tell this on XLA:CPU, where tracing a
loop takes longer than the loop itself. XLA:CPU compiles as in the engine, that is without AVX-512.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import time
from typing import Any

# As tpu-inference has it (env_override.py): with AVX-512 the bfloat16 scatter takes half the time.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_max_isa=AVX2")

import jax
import jax.numpy as jnp

from bench.lib.options import numbers
from tuner.stats.intervals import log_mean_interval
from tuner.vllm_plugin.calibrate import WRITERS, measure_implementations, prefill_batch
from tuner.vllm_plugin.kv_write import Batch, interleave_kv
from tuner.vllm_plugin.ragged import ragged_attention
from tuner.vllm_plugin.settings import IMPLEMENTATIONS

REQUESTS = 8
GROUP = 2  # query heads for each KV head
BASELINE = "token_scatter"
WARM_UP_ROUNDS = 3


def step_program(write: Any, implementation: str, kv_heads: int, head_dim: int) -> Any:
    """(caches, x [T, W], batch, weights) -> (caches, x), caches in place."""
    sizes = [GROUP * kv_heads * head_dim, kv_heads * head_dim]

    def run(caches: list[jax.Array], x: jax.Array, batch: Batch, weights: list[tuple[jax.Array, jax.Array]]) -> Any:
        written = []
        for cache, (qkv, out) in zip(caches, weights, strict=True):
            q, k, v = (part.reshape(len(x), -1, head_dim) for part in jnp.split(x @ qkv, [sizes[0], sum(sizes)], axis=-1))
            cache = write(cache, interleave_kv(k, v), batch, implementation)
            x = jnp.tanh(x + ragged_attention(cache, q, batch, head_dim**-0.5).reshape(len(x), -1) @ out)
            written.append(cache)
        return written, x

    return jax.jit(run, donate_argnums=0)


def step_times(shape: tuple[int, ...], dtype: Any, tokens: int, layers: int, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of the program by implementation and round."""
    kv_heads, head_dim = shape[2] // 2, shape[3]
    width = GROUP * kv_heads * head_dim
    keys = jax.random.split(jax.random.key(0), 2 * layers + 1)
    weights = [
        (
            (jax.random.normal(keys[2 * layer], (width, width + 2 * kv_heads * head_dim)) * width**-0.5).astype(dtype),
            (jax.random.normal(keys[2 * layer + 1], (width, width)) * width**-0.5).astype(dtype),
        )
        for layer in range(layers)
    ]
    x = jax.random.normal(keys[-1], (tokens, width)).astype(dtype)
    batch = prefill_batch(tokens, tokens // shape[1], REQUESTS)
    programs = {
        f"{mode}_{implementation}": step_program(write, implementation, kv_heads, head_dim)
        for mode, write in WRITERS.items()
        for implementation in IMPLEMENTATIONS
    }
    caches = [jnp.zeros(shape, dtype) for _ in range(layers)]
    times: dict[str, list[float]] = {name: [] for name in programs}
    order = random.Random(0)
    for round_ in range(WARM_UP_ROUNDS + rounds):
        for name in order.sample(list(programs), len(programs)):
            start = time.perf_counter()
            caches, result = programs[name](caches, x, batch, weights)
            result.block_until_ready()
            if round_ >= WARM_UP_ROUNDS:
                times[name].append(1e3 * (time.perf_counter() - start))
    return times


def cell(times: dict[str, list[float]], name: str) -> str:
    """Ratio to the token-wise scatter."""
    ratios = [mine / base for mine, base in zip(times[name], times[BASELINE], strict=True)]
    interval = log_mean_interval(ratios)
    assert interval is not None
    return f"{math.exp(sum(map(math.log, ratios)) / len(ratios)):.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page-sizes", type=numbers, default=[16, 64, 128])
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--kv-heads", type=int, default=2)
    parser.add_argument("--head-dim", type=int, default=64)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=150)
    args = parser.parse_args()
    device = jax.devices()[0]
    print(
        f"Device: {device.platform} {device.device_kind}, jax {jax.__version__}; {args.layers} layers, {args.kv_heads} KV heads of "
        f"{args.head_dim}, {args.tokens} tokens, {args.rounds} rounds\n"
    )
    print("| dtype | page | token scatter, ms | token loop | page scatter | page loop | chosen by timing alone |\n|" + "---|" * 7)
    for dtype in args.dtypes.split(","):
        for page in args.page_sizes:
            shape = (2 * (args.tokens // page) + 2, page, 2 * args.kv_heads, args.head_dim)
            times = step_times(shape, jnp.dtype(dtype), args.tokens, args.layers, args.rounds)
            alone = measure_implementations(shape, jnp.dtype(dtype), args.tokens, REQUESTS)
            chosen = ", ".join(
                f"{mode} {min(IMPLEMENTATIONS, key=lambda implementation: alone[f'{mode}_{implementation}'])}" for mode in WRITERS
            )
            middle = sorted(times[BASELINE])[args.rounds // 2]
            cells = " | ".join(cell(times, name) for name in ("token_loop", "page_scatter", "page_loop"))
            print(f"| {dtype} | {page} | {middle:.2f} | {cells} | {chosen} |", flush=True)


if __name__ == "__main__":
    main()

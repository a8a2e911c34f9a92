"""The KV write alone, outside any engine: token-wise against page-wise on whatever device JAX has. Needs neither vLLM nor a model.

    python -m bench.kv_write_kernel [--page-sizes 16,32,64,128,256] [--tokens 512,2048] [--dtypes float32,bfloat16] [--kv-heads 8]
    [--head-dim 128] [--rounds 30]

Each mode takes the implementation (scatter or loop) that is faster on this device, as the engine does; the choice is made on even rounds,
the times are those of odd rounds, so that choosing does not flatter. Above 1 page-wise is faster. Intervals of 95 %, Student's t on paired
log-ratios. What that is worth in a step is bench/page_alignment.py's question.
"""

from __future__ import annotations

import argparse
import math
import os
from statistics import median

# As tpu-inference has it (env_override.py): with AVX-512 the bfloat16 scatter takes half the time.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_max_isa=AVX2")

import jax
import jax.numpy as jnp

from bench.lib.options import numbers
from tuner.stats.intervals import log_mean_interval
from tuner.vllm_plugin.calibrate import WRITERS, time_implementations
from tuner.vllm_plugin.settings import IMPLEMENTATIONS

REQUESTS = 8


def row(times: dict[str, list[float]]) -> str:
    """Table cells: the best implementation of each mode with its time, and the ratio token-wise / page-wise."""
    best = {
        mode: _fastest({implementation: times[f"{mode}_{implementation}"][::2] for implementation in IMPLEMENTATIONS}) for mode in WRITERS
    }
    judged = {mode: times[f"{mode}_{implementation}"][1::2] for mode, implementation in best.items()}
    ratios = [token / page for token, page in zip(judged["token"], judged["page"], strict=True)]
    interval = log_mean_interval(ratios)
    assert interval is not None
    centre = math.exp(sum(map(math.log, ratios)) / len(ratios))
    cells = [f"{median(judged[mode]):.1f} ({best[mode]})" for mode in WRITERS]
    return f"| {' | '.join(cells)} | {centre:.2f} [{interval[0]:.2f}, {interval[1]:.2f}] |"


def _fastest(times: dict[str, list[float]]) -> str:
    return min(times, key=lambda implementation: median(times[implementation]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page-sizes", type=numbers, default=[16, 32, 64, 128, 256])
    parser.add_argument("--tokens", type=numbers, default=[512, 2048])
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--kv-heads", type=int, default=8)
    parser.add_argument("--head-dim", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=30)
    args = parser.parse_args()
    device = jax.devices()[0]
    print(f"Device: {device.platform} {device.device_kind}, jax {jax.__version__}; {args.kv_heads} KV heads of {args.head_dim}\n")
    print("| dtype | tokens | page | token-wise us | page-wise us | token-wise / page-wise |\n|---|---|---|---|---|---|")
    for dtype in args.dtypes.split(","):
        for tokens in args.tokens:
            for page in args.page_sizes:
                shape = (2 * (tokens // page) + 2, page, 2 * args.kv_heads, args.head_dim)
                times = time_implementations(shape, jnp.dtype(dtype), tokens, REQUESTS, args.rounds)
                print(f"| {dtype} | {tokens} | {page} {row(times)}", flush=True)


if __name__ == "__main__":
    main()

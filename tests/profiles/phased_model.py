"""Run as a program: the model of `jax_model` under tpu-inference's own phased profiler. `python -m tests.profiles.phased_model LOGDIR`

The profiler is told of batches that alternate in padding, so that a join at a wrong place would show.
"""

from __future__ import annotations

import importlib
import os
import sys

os.environ["JAX_PLATFORMS"] = "cpu"

import jax.numpy as jnp

from tests.profiles.jax_model import SLOTS, TOKENS, VOCABULARY, WIDTH, parameters, sample, step_fun


def main() -> None:
    logdir = sys.argv[1]
    profiler = importlib.import_module("tpu_inference.runner.utils").PhasedBasedProfiler(logdir)
    weights, cache = parameters(), jnp.zeros((2, 2, SLOTS, WIDTH))
    for step in range(22):
        if step >= 3:  # compiled by then
            stats = {"num_prefill_tokens": TOKENS - 2, "num_decode_tokens": 2, "num_reqs": 3, "batch_id": step}
            totals = {"total_num_scheduled_tokens": TOKENS, "padded_total_num_scheduled_tokens": TOKENS + 8 * (step % 3)}
            profiler.step({**stats, **totals})
        tokens = (jnp.arange(TOKENS) * 7 + step) % VOCABULARY
        logits, cache = step_fun(weights, cache, tokens, jnp.arange(TOKENS) + TOKENS * (step % 8))
        sample(logits).block_until_ready()


if __name__ == "__main__":
    main()

"""Run as a program: profile a small jitted transformer on XLA:CPU. `python -m tests.profiles.jax_model LOGDIR STEPS [compile]`

The scopes are those of the product's attention backend; "compile" compiles one more program inside the profile.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import Any

os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp

from profiles.session_plan import profile_options

WIDTH, HEADS, VOCABULARY, TOKENS, SLOTS = 128, 4, 256, 32, 256


def parameters() -> dict[str, Any]:
    keys = iter(jax.random.split(jax.random.key(0), 20))

    def matrix(rows: int, columns: int) -> jax.Array:
        return jax.random.normal(next(keys), (rows, columns)) * 0.05

    layers = [
        {"qkv": matrix(WIDTH, 3 * WIDTH), "o": matrix(WIDTH, WIDTH), "up": matrix(WIDTH, 4 * WIDTH), "down": matrix(4 * WIDTH, WIDTH)}
    ] * 2
    return {"embed": matrix(VOCABULARY, WIDTH), "layers": layers}


@partial(jax.jit, donate_argnums=1)
def step_fun(weights: dict[str, Any], cache: jax.Array, tokens: jax.Array, slots: jax.Array) -> tuple[jax.Array, jax.Array]:
    with jax.named_scope("embed_tokens"):
        x = weights["embed"][tokens]
    for index, layer in enumerate(weights["layers"]):
        with jax.named_scope(f"layers.{index}"):
            with jax.named_scope("input_layernorm"):
                h = x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-6)
            with jax.named_scope("qkv_proj"):
                q, k, v = jnp.split(h @ layer["qkv"], 3, -1)
            with jax.named_scope("tuner_kv_write_token"):
                cache = cache.at[index, 0, slots].set(k).at[index, 1, slots].set(v)
            with jax.named_scope("tuner_attention_prefill"):
                shape = (-1, HEADS, WIDTH // HEADS)
                scores = jnp.einsum("qhd,khd->hqk", q.reshape(shape), cache[index, 0].reshape(shape))
                h = jnp.einsum("hqk,khd->qhd", jax.nn.softmax(scores, -1), cache[index, 1].reshape(shape)).reshape(x.shape)
            with jax.named_scope("o_proj"):
                x = x + h @ layer["o"]
            with jax.named_scope("mlp"):
                x = x + jax.nn.silu(x @ layer["up"]) @ layer["down"]
    with jax.named_scope("lm_head"):
        return x @ weights["embed"].T, cache


@jax.jit
def sample(logits: jax.Array) -> jax.Array:
    with jax.named_scope("sample"):
        return jnp.argmax(logits, -1)


def serve(weights: dict[str, Any], cache: jax.Array, steps: int) -> jax.Array:
    for step in range(steps):
        tokens = (jnp.arange(TOKENS) * 7 + step) % VOCABULARY
        with jax.profiler.TraceAnnotation(f"execute_model: 1 reqs, {TOKENS} toks"):
            logits, cache = step_fun(weights, cache, tokens, jnp.arange(TOKENS) + TOKENS * (step % 8))
            sample(logits).block_until_ready()
    return cache


def main(logdir: str, steps: int, also_compile: bool) -> None:
    weights = parameters()
    cache = serve(weights, jnp.zeros((2, 2, SLOTS, WIDTH)), 2)
    options = jax.profiler.ProfileOptions()
    for name, value in profile_options("cpu", "session").items():
        setattr(options, name, value)
    jax.profiler.start_trace(logdir, profiler_options=options)
    serve(weights, cache, steps)
    if also_compile:
        jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones((33, 33))).block_until_ready()
    jax.profiler.stop_trace()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), "compile" in sys.argv[3:])

"""An XLA attention backend for tpu-inference: paged KV writes of our choice and ragged causal attention in plain JAX.

It runs wherever XLA runs (CPU, TPU, GPU). On a TPU vLLM's own Pallas kernel ("rpa"), which writes the cache inside the attention kernel,
stays the default, and TUNER_RPA (rpa.py) has a write of ours before that kernel's attention. Select this one with
`--attention-backend TUNER_XLA`; it needs MODEL_IMPL_TYPE=vllm.

Whether a step writes token-wise or page-wise is chosen per step by runner_hook.py, from the scheduler's stamp on each SchedulerOutput.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from tpu_inference.layers.common.attention_backend import AttentionBackend
from tpu_inference.layers.vllm.backends.flash_attn import PallasAttentionBackend, PallasAttentionBackendImpl

from tuner.vllm_plugin.kv_write import Batch, interleave_kv, write_pages, write_tokens
from tuner.vllm_plugin.ragged import ragged_attention
from tuner.vllm_plugin.runner_hook import install_runner_hook, kv_write_choice

BACKEND_NAME = "tuner_xla"


class XlaPallasBackend(PallasAttentionBackend):
    """The vLLM side: gives the layers an impl that names our backend."""

    @staticmethod
    def get_impl_cls() -> type[XlaPallasImpl]:
        return XlaPallasImpl


class XlaPallasImpl(PallasAttentionBackendImpl):
    attention_backend = BACKEND_NAME


class XlaAttentionBackend(AttentionBackend):
    """The tpu-inference side: cache layout, KV write and attention."""

    def __init__(self) -> None:
        install_runner_hook()

    def get_kv_cache_shape(self, total_num_pages: int, page_size: int, num_kv_heads: int, head_dim: int, kv_dtype: Any) -> tuple[int, ...]:
        del kv_dtype  # the layout does not depend on it
        return (total_num_pages, page_size, 2 * num_kv_heads, head_dim)

    def attention(
        self,
        kv_cache: jax.Array,
        q: jax.Array,
        k: jax.Array,
        v: jax.Array,
        md: Any,
        shared_md: Any,
        mesh: Any,
        **options: Any,
    ) -> tuple[jax.Array, jax.Array]:
        """q [T, H, D], k and v [T, K, D] -> (cache, [T, H, D]). Raises NotImplementedError naming the setting for what it cannot do.

        tpu-inference's signature: it passes the first seven by position and all else by keyword (attention_interface.attention).
        """
        _refuse_unsupported(mesh, md, options)
        max_requests = shared_md.seq_lens.shape[0]
        batch = Batch(
            block_tables=md.block_tables.reshape(max_requests, -1),
            seq_lens=shared_md.seq_lens,
            query_start_loc=shared_md.query_start_loc,
            num_decodes=shared_md.request_distribution[0],
            num_requests=shared_md.request_distribution[2],
        )
        head_dim, cache_dim = q.shape[-1], kv_cache.shape[-1]
        q, k, v = (_widen(array, cache_dim) for array in (q, k, v))
        if options["update_kv_cache"]:
            choice = kv_write_choice.value
            write = write_pages if choice.page_wise else write_tokens
            kv_cache = write(kv_cache, interleave_kv(k, v), batch, choice.implementation)
        output = ragged_attention(
            kv_cache, q, batch, options["sm_scale"], window=options["attention_chunk_size"], soft_cap=options["attn_logits_soft_cap"]
        )
        return kv_cache, output[..., :head_dim]


def _widen(array: jax.Array, head_dim: int) -> jax.Array:
    """[..., D] -> [..., head_dim] with zeros: tpu-inference pads the cache's head size to a multiple of 128 (64 stays)."""
    return jnp.pad(array, ((0, 0), (0, 0), (0, head_dim - array.shape[-1])))


def _refuse_unsupported(mesh: Any, md: Any, options: dict[str, Any]) -> None:
    reasons = {
        "tensor_parallel_size > 1": mesh.size > 1,
        "kv_cache_dtype other than auto": any(options[name] is not None for name in ("q_scale", "k_scale", "v_scale")),
        "attention sinks": options["sinks"] is not None,
        "bidirectional attention": not options["use_causal_mask"],
        "prefill context parallelism": md.pcp is not None,
        "speculative decoding": options["decode_query_size"] != 1,
    }
    for what, present in reasons.items():
        if present:
            raise NotImplementedError(
                f"attention backend {BACKEND_NAME} does not support {what}: use --attention-backend FLASH_ATTN on a TPU"
            )

"""Backend TUNER_RPA: a KV write of our own, token-wise or page-wise, then tpu-inference's ragged paged attention v3 without its write.

On a TPU the form of the write is then the only difference between the arms, with the stock kernel's attention in both. Against the stock
backend there is one more: the kernel reads the step's own keys and values from the cache, page by page, where it else takes them as they
come (`update_kv_cache=False`, made for layers that share another one's cache). Select it with `--attention-backend TUNER_RPA` and
MODEL_IMPL_TYPE=vllm; guards.py refuses what it cannot do before an engine starts.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec
from tpu_inference.kernels.ragged_paged_attention.v3.kernel import merge_kv
from tpu_inference.layers.common.attention_backend import RPAAttentionBackend
from tpu_inference.layers.common.attention_interface import rpa_attention
from tpu_inference.layers.common.sharding import ShardingAxisName
from tpu_inference.layers.vllm.backends.flash_attn import PallasAttentionBackend, PallasAttentionBackendImpl
from tpu_inference.utils import get_mesh_shape_product

from tuner.vllm_plugin.guards import RPA_BACKEND
from tuner.vllm_plugin.kv_write import Batch
from tuner.vllm_plugin.kv_write_tpu import write_pages_by_dma, write_tokens_by_dma
from tuner.vllm_plugin.runner_hook import install_runner_hook, kv_write_choice

Spec: Any = PartitionSpec  # untyped in JAX 0.11.2


class RpaPallasBackend(PallasAttentionBackend):
    """The vLLM side: gives the layers an impl that names our backend."""

    @staticmethod
    def get_impl_cls() -> type[RpaPallasImpl]:
        return RpaPallasImpl


class RpaPallasImpl(PallasAttentionBackendImpl):
    attention_backend = RPA_BACKEND


class WriteThenRpaBackend(RPAAttentionBackend):
    """The tpu-inference side: the stock cache layout, our write, the stock attention."""

    def __init__(self) -> None:
        install_runner_hook()

    def attention(self, *arrays: Any, **options: Any) -> tuple[jax.Array, jax.Array]:
        """As AttentionBackend.attention. Raises NotImplementedError naming the setting for what it cannot do, ValueError where the cache
        has another dtype than keys and values."""
        kv_cache, q, k, v, md, shared_md, mesh = arrays
        _refuse_unsupported(q, md, mesh, options)
        if options["update_kv_cache"]:  # else a layer that shares another one's cache
            metadata = (shared_md.seq_lens, md.block_tables, shared_md.query_start_loc, shared_md.request_distribution)
            kv_cache = _written(kv_cache, k, v, metadata, mesh)
        options["update_kv_cache"] = False
        attended: tuple[jax.Array, jax.Array] = rpa_attention(kv_cache, *arrays[1:], **options)
        return attended


def _written(kv_cache: jax.Array, k: jax.Array, v: jax.Array, metadata: tuple[jax.Array, ...], mesh: Mesh) -> jax.Array:
    """Each device writes its own KV heads. k, v [T, K, D]; shardings as in tpu-inference's sharded_ragged_paged_attention, which also
    repeats KV heads where there are fewer than devices."""
    repeats = max(1, get_mesh_shape_product(mesh, ShardingAxisName.ATTN_HEAD) // k.shape[1])
    if repeats > 1:
        k, v = (jnp.repeat(array, repeats, axis=1) for array in (k, v))
    write = write_pages_by_dma if kv_write_choice.value.page_wise else write_tokens_by_dma

    def on_a_device(cache: jax.Array, k: jax.Array, v: jax.Array, *metadata: jax.Array) -> jax.Array:
        seq_lens, block_tables, query_start_loc, distribution = metadata
        tables = block_tables.reshape(seq_lens.shape[0], -1)
        batch = Batch(tables, seq_lens, query_start_loc, num_decodes=distribution[0], num_requests=distribution[2])
        return write(cache, merge_kv(k, v), batch)

    rows = Spec(None, ShardingAxisName.ATTN_HEAD, None)
    cache = Spec(None, None, ShardingAxisName.ATTN_HEAD, None, None)
    everywhere = (Spec(),) * len(metadata)
    placed: Any = jax.shard_map(on_a_device, mesh=mesh, in_specs=(cache, rows, rows, *everywhere), out_specs=cache, check_vma=False)
    written: jax.Array = placed(kv_cache, k, v, *metadata)
    return written


def _refuse_unsupported(q: jax.Array, md: Any, mesh: Mesh, options: dict[str, Any]) -> None:
    reasons = {
        "heads of 64 (the stock kernel for them always writes itself)": q.shape[-1] == 64,
        "data parallelism": get_mesh_shape_product(mesh, ShardingAxisName.ATTN_DATA) > 1,
        "attention sinks": options["sinks"] is not None,
        "context parallelism": md.pcp is not None or mesh.shape.get("dcp", 1) > 1 or mesh.shape.get("pcp", 1) > 1,
        "speculative decoding": options["decode_query_size"] != 1,
    }
    for what, present in reasons.items():
        if present:
            raise NotImplementedError(f"attention backend {RPA_BACKEND} does not support {what}: use --attention-backend FLASH_ATTN")

"""Ragged causal attention over a paged KV cache in plain JAX: batched decodes, then prefill in tiles, softmax computed block by block."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from tuner.vllm_plugin.kv_write import INT32_MAX, Batch

QUERY_TILE = 64  # prefill queries handled at once
KV_BLOCK = 128  # keys handled at once; fixed by position, so that results do not depend on the page size (up to 128) or on chunking


def ragged_attention(
    cache: jax.Array, q: jax.Array, batch: Batch, scale: float, *, window: int | None = None, soft_cap: float | None = None
) -> jax.Array:
    """Causal attention of a ragged batch over the paged cache.

    cache [N, P, 2K, D], q [T, H, D] -> [T, H, D] in q's dtype; rows beyond the batch are undefined but finite. Softmax in float32 with
    running maximum and sum over blocks of KV_BLOCK keys. Positions outside a request never enter, whatever the pages hold there (NaN
    included).
    """
    attend = functools.partial(_attend, cache, scale=scale, window=window, soft_cap=soft_cap)
    kv_heads = cache.shape[2] // 2
    tokens, heads, dim = q.shape
    grouped = q.reshape(tokens, kv_heads, heads // kv_heads, dim)
    blocks_per_page_table = _pad_tables(batch.block_tables, cache.shape[1])
    with jax.named_scope("tuner_attention_decode"):
        rows = min(tokens, batch.block_tables.shape[0])
        decode_lens = jnp.where(jnp.arange(rows) < batch.num_decodes, batch.seq_lens[:rows], 0)
        decoded = attend(grouped[:rows, None], blocks_per_page_table[:rows], decode_lens[:, None] - 1, decode_lens)
        output = lax.dynamic_update_slice_in_dim(jnp.zeros_like(grouped), decoded[:, 0], 0, axis=0)
    with jax.named_scope("tuner_attention_prefill"):
        output = _prefill(attend, grouped, output, batch, blocks_per_page_table)
    return output.reshape(tokens, heads, dim)


def _pad_tables(tables: jax.Array, page_size: int) -> jax.Array:
    """[R, B] -> [R, B'] so that whole KV blocks can be sliced from it."""
    pages = max(1, KV_BLOCK // page_size)
    return jnp.pad(tables, ((0, 0), (0, -tables.shape[1] % pages)))


def _prefill(attend: Any, q: jax.Array, output: jax.Array, batch: Batch, tables: jax.Array) -> jax.Array:
    """Tiles of QUERY_TILE queries, in token order, so that a tile's surplus rows are overwritten by their owner."""
    tile = min(QUERY_TILE, q.shape[0])
    is_prefill = jnp.arange(tables.shape[0]) >= batch.num_decodes
    ends = jnp.cumsum(jnp.where(is_prefill, -(-batch.query_lens // tile), 0))
    padded_q = jnp.pad(q, ((0, tile), (0, 0), (0, 0), (0, 0)))
    padded_out = jnp.pad(output, ((0, tile), (0, 0), (0, 0), (0, 0)))

    def one_tile(i: jax.Array, out: jax.Array) -> jax.Array:
        request = jnp.clip(jnp.searchsorted(ends, i, side="right"), 0, tables.shape[0] - 1)
        nth = i - jnp.where(request > 0, ends[request - 1], 0)
        row = batch.query_start_loc[request] + nth * tile
        first = batch.segment_starts[request] + nth * tile
        queries = lax.dynamic_slice_in_dim(padded_q, row, tile, axis=0)
        positions = first + jnp.arange(tile)
        kv_len = jnp.minimum(batch.seq_lens[request], first + tile)
        table = lax.dynamic_slice_in_dim(tables, request, 1, axis=0)
        result = attend(queries[None], table, positions[None], kv_len[None])[0]
        return lax.dynamic_update_slice_in_dim(out, result, row, axis=0)

    tiled: jax.Array = lax.fori_loop(0, ends[-1], one_tile, padded_out)
    return tiled[: q.shape[0]]


def _attend(
    cache: jax.Array,
    q: jax.Array,
    tables: jax.Array,
    positions: jax.Array,
    kv_lens: jax.Array,
    *,
    scale: float,
    window: int | None,
    soft_cap: float | None,
) -> jax.Array:
    """q [R, Q, K, G, D], tables [R, B'], positions [R, Q], kv_lens [R] -> [R, Q, K, G, D]."""
    requests, queries, kv_heads, group, dim = q.shape
    page_size = cache.shape[1]
    pages = max(1, KV_BLOCK // page_size)
    block = pages * page_size
    q32 = q.astype(jnp.float32) * scale

    def one_block(j: jax.Array, state: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        top, total, acc = state
        page_ids = lax.dynamic_slice_in_dim(tables, j * pages, pages, axis=1)
        kv = cache[page_ids].reshape(requests, block, kv_heads, 2, dim).astype(jnp.float32)
        kv_positions = j * block + jnp.arange(block)
        inside = kv_positions[None, :] < kv_lens[:, None]  # [R, block]
        visible = inside[:, None, :] & (kv_positions[None, None, :] <= positions[:, :, None])
        if window is not None:
            visible &= kv_positions[None, None, :] > positions[:, :, None] - window
        scores = jnp.einsum("rqkgd,rbkd->rqkgb", q32, kv[:, :, :, 0])
        if soft_cap is not None:
            scores = soft_cap * jnp.tanh(scores / soft_cap)
        scores = jnp.where(visible[:, :, None, None, :], scores, -jnp.inf)
        new_top = jnp.maximum(top, scores.max(axis=-1))
        weights = jnp.exp(scores - new_top[..., None])
        rescale = jnp.exp(top - new_top)
        values = jnp.where(inside[:, :, None, None], kv[:, :, :, 1], 0.0)  # NaN in unused rows must not reach 0 * NaN
        acc = acc * rescale[..., None] + jnp.einsum("rqkgb,rbkd->rqkgd", weights, values)
        return new_top, total * rescale + weights.sum(axis=-1), acc

    floor = jnp.full((requests, queries, kv_heads, group), -1e30, jnp.float32)  # finite: -inf - -inf would be NaN
    state = (floor, jnp.zeros_like(floor), jnp.zeros(q.shape, jnp.float32))
    last = -(-jnp.max(kv_lens) // block)
    first = jnp.int32(0)
    if window is not None:
        oldest = jnp.min(jnp.where(kv_lens > 0, positions[:, 0], INT32_MAX))
        first = jnp.minimum(jnp.maximum(oldest - window + 1, 0) // block, last)
    _, total, acc = lax.fori_loop(first, last, one_block, state)
    result: jax.Array = (acc / jnp.maximum(total, 1e-30)[..., None]).astype(q.dtype)
    return result

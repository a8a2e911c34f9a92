"""Writing a step's keys and values into the paged KV cache: token by token or page by page, each as a scatter or as a loop.

Shapes: cache [N pages, P tokens, 2K heads, D] with keys at even and values at odd head indices; new_kv [T tokens, 2K, D]; block_tables [R
requests, B pages]. A batch is described by `Batch`: requests in order, decodes (one token each) first, tokens of one request contiguous.

Page-wise implementations need every segment of more than one token to start on a page boundary; the scheduler stamps the steps for which
that holds. All implementations leave the same bytes for every token. Page-wise ones write partial last pages whole, as the pull request
does: the rest of such a page is the same request's, holds nothing yet, is never attended to, and is overwritten by the tokens to come.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import lax

INT32_MAX = 2**31 - 1
WRITES_VERSION = 7  # of the implementations below and of how calibrate.py times them: what was remembered of another version does not count


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Batch:
    """One step's batch, as tpu-inference lays it out (decodes first)."""

    block_tables: jax.Array  # [R, B] int32
    seq_lens: jax.Array  # [R] int32, tokens of each request including this step's
    query_start_loc: jax.Array  # [R + 1] int32
    num_decodes: jax.Array  # scalar int32: requests 0 .. num_decodes-1 have one token each
    num_requests: jax.Array  # scalar int32

    @property
    def query_lens(self) -> jax.Array:  # [R], 0 beyond num_requests
        lens = self.query_start_loc[1:] - self.query_start_loc[:-1]
        return jnp.where(jnp.arange(lens.shape[0]) < self.num_requests, lens, 0)

    @property
    def num_tokens(self) -> jax.Array:
        return self.query_start_loc[self.num_requests]

    @property
    def segment_starts(self) -> jax.Array:  # [R], position of each request's first new token
        return self.seq_lens - self.query_lens


def interleave_kv(k: jax.Array, v: jax.Array) -> jax.Array:
    """k, v [T, K, D] -> [T, 2K, D], key of head h at 2h and its value at 2h + 1."""
    tokens, heads, dim = k.shape
    return jnp.stack([k, v], axis=2).reshape(tokens, 2 * heads, dim)


def token_slots(batch: Batch, num_rows: int, page_size: int, num_pages: int) -> jax.Array:
    """[num_rows] flat slot (page * P + offset) of each new token; rows beyond the batch point past the end of the cache."""
    row = jnp.arange(num_rows, dtype=jnp.int32)
    request = jnp.clip(jnp.searchsorted(batch.query_start_loc, row, side="right") - 1, 0, batch.block_tables.shape[0] - 1)
    position = batch.segment_starts[request] + row - batch.query_start_loc[request]
    page = batch.block_tables[request, jnp.clip(position // page_size, 0, batch.block_tables.shape[1] - 1)]
    return jnp.where(row < batch.num_tokens, page * page_size + position % page_size, num_pages * page_size)


def write_tokens(cache: jax.Array, new_kv: jax.Array, batch: Batch, implementation: str) -> jax.Array:
    """Token-wise write: a page index and an offset for every token."""
    with jax.named_scope("tuner_kv_write_token"):
        slots = token_slots(batch, new_kv.shape[0], cache.shape[1], cache.shape[0])
        return _put_rows(cache, new_kv, slots, batch.num_tokens, implementation)


def write_pages(cache: jax.Array, new_kv: jax.Array, batch: Batch, implementation: str) -> jax.Array:
    """Page-wise write: one index per page of every prefill segment; the decodes' single tokens stay token-wise."""
    with jax.named_scope("tuner_kv_write_page"):
        barrier: Callable[[jax.Array], jax.Array] = lax.optimization_barrier
        new_kv = barrier(new_kv)  # read twice: without it keys and values are also put together twice
        rows = min(batch.block_tables.shape[0], new_kv.shape[0])
        slots = token_slots(batch, rows, cache.shape[1], cache.shape[0])
        past_end = cache.shape[0] * cache.shape[1]
        slots = jnp.where(jnp.arange(rows) < batch.num_decodes, slots, past_end)
        cache = _put_rows(cache, new_kv[:rows], slots, batch.num_decodes, implementation)
        return _put_pages(cache, new_kv, batch, implementation)


def _put_rows(cache: jax.Array, rows: jax.Array, slots: jax.Array, count: jax.Array, implementation: str) -> jax.Array:
    flat = cache.reshape(-1, *cache.shape[2:])
    rows = rows.astype(cache.dtype)
    if implementation == "scatter":
        flat = flat.at[slots].set(rows, mode="drop", unique_indices=False)
    else:

        def put(i: jax.Array, flat: jax.Array) -> jax.Array:
            row = lax.dynamic_slice_in_dim(rows, i, 1, axis=0)
            return lax.dynamic_update_slice_in_dim(flat, row, slots[i], axis=0)

        flat = lax.fori_loop(0, count, put, flat)
    return flat.reshape(cache.shape)


def _put_pages(cache: jax.Array, new_kv: jax.Array, batch: Batch, implementation: str) -> jax.Array:
    """A slice that reaches behind the rows would be clamped back onto earlier tokens: such pages are read from a padded copy of the end."""
    page_size = cache.shape[1]
    index = page_index(batch, new_kv.shape[0], page_size)
    rows = new_kv.astype(cache.dtype)
    if implementation == "scatter":
        padded = _padded(rows, page_size)
        pages = jax.vmap(lambda row: lax.dynamic_slice_in_dim(padded, row, page_size, axis=0))(index.first_row)
        return cache.at[index.page].set(pages, mode="drop")

    def put_from(source: jax.Array, first: int) -> Callable[[jax.Array, jax.Array], jax.Array]:
        def put(i: jax.Array, cache: jax.Array) -> jax.Array:
            page = lax.dynamic_slice_in_dim(source, index.first_row[i] - first, page_size, axis=0)
            return lax.dynamic_update_slice_in_dim(cache, page[None], index.page[i], axis=0)

        return put

    last = max(0, rows.shape[0] - page_size)  # pages are in order of their rows: those that end within the rows come first
    inside = jnp.int32(0)
    if last:
        inside = jnp.sum((jnp.arange(index.page.shape[0]) < index.count) & (index.first_row <= last), dtype=jnp.int32)
        cache = lax.fori_loop(0, inside, put_from(rows, 0), cache)
    written: jax.Array = lax.fori_loop(inside, index.count, put_from(_padded(rows[last:], page_size), last), cache)
    return written


def _padded(rows: jax.Array, page_size: int) -> jax.Array:
    return jnp.pad(rows, ((0, page_size), (0, 0), (0, 0)))


@dataclass(frozen=True)
class PageIndex:
    page: jax.Array  # [S] cache page of each page slot; past the end beyond `count`
    first_row: jax.Array  # [S] row of new_kv that starts the page
    length: jax.Array  # [S] rows of the page's segment from there on, at most P
    count: jax.Array  # scalar: page slots in use


def page_index(batch: Batch, num_rows: int, page_size: int) -> PageIndex:
    """Page slots of all prefill segments. S = T/P + R bounds their number: each request has at most one partial page."""
    requests = batch.block_tables.shape[0]
    slots = -(-num_rows // page_size) + requests
    is_prefill = jnp.arange(requests) >= batch.num_decodes
    lens = jnp.where(is_prefill, batch.query_lens, 0)
    ends = jnp.cumsum(-(-lens // page_size))
    slot = jnp.arange(slots, dtype=jnp.int32)
    request = jnp.clip(jnp.searchsorted(ends, slot, side="right"), 0, requests - 1)
    nth = slot - jnp.where(request > 0, ends[request - 1], 0)
    first_page = batch.segment_starts[request] // page_size
    page = batch.block_tables[request, jnp.clip(first_page + nth, 0, batch.block_tables.shape[1] - 1)]
    used = slot < ends[-1]
    return PageIndex(
        page=jnp.where(used, page, INT32_MAX),
        first_row=jnp.where(used, batch.query_start_loc[request] + nth * page_size, 0),
        length=jnp.where(used, jnp.minimum(lens[request] - nth * page_size, page_size), 0),
        count=ends[-1],
    )

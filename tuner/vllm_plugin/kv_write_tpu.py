"""The two KV writes as Pallas kernels of a TPU: token-wise (one DMA a token) and page-wise (one DMA a page), each at its plainest.

Shapes: cache [N pages, P tokens, *row] in the layout of tpu-inference's ragged paged attention v3, where `row` is what one token takes
(2K / packing, packing, D; for heads of 64: K / packing, packing, 128); rows [T tokens, *row] of the same dtype, as that kernel's `merge_kv`
makes them. The batch is that of kv_write.py, whose XLA forms are the plain references. The cache is written in place, HBM to HBM.

Both kernels write the tokens' bytes and nothing else. (The XLA page-wise form writes partial last pages whole, as the pull request does; a
DMA can be cut to length, as the stock kernel does, too.) Page-wise needs every segment of more than one token to start on a page boundary.
Where there is no TPU, `pltpu.force_tpu_interpret_mode()` runs both on the CPU, slowly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from tuner.vllm_plugin.kv_write import Batch, page_index, token_slots

IN_FLIGHT = 8  # copies that are under way at once

Ref: Any = Any  # a Pallas reference has no public type
Shape: Any = jax.ShapeDtypeStruct  # untyped in JAX 0.11.2


def write_tokens_by_dma(cache: jax.Array, rows: jax.Array, batch: Batch) -> jax.Array:
    """Token-wise: a DMA, with an address of its own, for every token. Raises ValueError where rows do not fit the cache."""
    _require_rows(cache, rows)
    slots = token_slots(batch, rows.shape[0], cache.shape[1], cache.shape[0])
    with jax.named_scope("tuner_kv_write_token"):
        return _run(_token_kernel, cache, rows, (slots, batch.num_tokens.reshape(1)))


def write_pages_by_dma(cache: jax.Array, rows: jax.Array, batch: Batch) -> jax.Array:
    """Page-wise: a DMA for every page of every prefill segment, and one for the token of each decode. Raises ValueError where rows do not
    fit the cache."""
    _require_rows(cache, rows)
    page_size = cache.shape[1]
    index = page_index(batch, rows.shape[0], page_size)
    decodes = min(batch.block_tables.shape[0], rows.shape[0])
    slots = token_slots(batch, decodes, page_size, cache.shape[0])
    counts = jnp.stack([batch.num_decodes, index.count])
    with jax.named_scope("tuner_kv_write_page"):
        return _run(_page_kernel, cache, rows, (slots, index.page * page_size, index.first_row, index.length, counts))


def _require_rows(cache: jax.Array, rows: jax.Array) -> None:
    if rows.dtype != cache.dtype or rows.shape[1:] != cache.shape[2:]:
        raise ValueError(
            f"rows of {rows.dtype} {list(rows.shape[1:])} do not fit a KV cache of {cache.dtype} {list(cache.shape[2:])}: a DMA converts "
            "nothing"
        )


def _run(kernel: Callable[..., None], cache: jax.Array, rows: jax.Array, scalars: tuple[jax.Array, ...]) -> jax.Array:
    """`scalars` lie in SMEM when the kernel begins; `rows` and the cache stay in HBM."""
    flat = cache.reshape(-1, *cache.shape[2:])
    written: jax.Array = pl.pallas_call(
        kernel,
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=len(scalars),
            grid=(1,),
            in_specs=[pl.BlockSpec(memory_space=pltpu.HBM), pl.BlockSpec(memory_space=pltpu.HBM)],
            out_specs=pl.BlockSpec(memory_space=pltpu.HBM),
            scratch_shapes=[pltpu.SemaphoreType.DMA],
        ),
        out_shape=Shape(flat.shape, flat.dtype),
        input_output_aliases={len(scalars) + 1: 0},
        # As the stock kernel: checking the addresses takes longer than starting so small a copy.
        compiler_params=pltpu.CompilerParams(disable_bounds_checks=True),
        name=f"tuner{kernel.__name__}",
    )(*(scalar.astype(jnp.int32) for scalar in scalars), rows, flat)
    return written.reshape(cache.shape)


def _token_kernel(*refs: Ref) -> None:
    slots, count, rows, _, cache, semaphore = refs
    _copy_all(count[0], lambda i: pltpu.make_async_copy(rows.at[pl.ds(i, 1)], cache.at[pl.ds(slots[i], 1)], semaphore))


def _page_kernel(*refs: Ref) -> None:
    slots, starts, first_rows, lengths, counts, rows, _, cache, semaphore = refs

    def page(i: Any) -> Any:
        length = lengths[i]
        return pltpu.make_async_copy(rows.at[pl.ds(first_rows[i], length)], cache.at[pl.ds(starts[i], length)], semaphore)

    _copy_all(counts[0], lambda i: pltpu.make_async_copy(rows.at[pl.ds(i, 1)], cache.at[pl.ds(slots[i], 1)], semaphore))
    _copy_all(counts[1], page)


def _copy_all(count: Any, copy: Callable[[Any], Any]) -> None:
    """Start the copies 0 .. count-1, at most IN_FLIGHT at a time, and wait for all. They share a semaphore that counts bytes: waiting for
    as many as copy i has may be met by another one's, but after the last wait all have arrived."""
    first = jnp.minimum(count, IN_FLIGHT)

    def each(begin: Any, end: Any, act: Callable[[Any], None]) -> None:
        def body(i: Any, carry: Any) -> Any:
            act(i)
            return carry

        lax.fori_loop(begin, end, body, 0)

    def replace(i: Any) -> None:
        copy(i - IN_FLIGHT).wait()
        copy(i).start()

    each(0, first, lambda i: copy(i).start())
    each(first, count, replace)
    each(count - first, count, lambda i: copy(i).wait())

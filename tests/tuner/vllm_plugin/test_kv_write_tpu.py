"""The Pallas kernels that write the KV cache on a TPU, in interpret mode: byte for byte what the plain forms write, and nothing else.

A copy that is not waited for never happens there (InterpretParams.dma_execution_mode is "on_wait"), so it would show as a missing row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.quick import examples

pytest.importorskip("jax", reason="needs JAX (extra: tpu)")
import jax
import jax.numpy as jnp
from jax.experimental.pallas import tpu as pltpu

from tests.tuner.vllm_plugin.ragged_batches import MAX_REQUESTS, TABLE_WIDTH, Ragged, bits, ragged
from tuner.vllm_plugin import kv_write
from tuner.vllm_plugin.kv_write import Batch, write_pages, write_tokens
from tuner.vllm_plugin.kv_write_tpu import IN_FLIGHT, write_pages_by_dma, write_tokens_by_dma

pytestmark = pytest.mark.slow  # each compiles

KV_HEADS = 4
PACKING = {"float32": 1, "bfloat16": 2, "float8_e4m3fn": 4, "float8_e5m2": 4}
BY_DMA = {"token": jax.jit(write_tokens_by_dma), "page": jax.jit(write_pages_by_dma)}
PLAIN_TOKENS = jax.jit(write_tokens, static_argnames="implementation")
PLAIN_PAGES = jax.jit(write_pages, static_argnames="implementation")


@pytest.fixture(autouse=True, scope="module")
def interpreted() -> Iterator[None]:
    with pltpu.force_tpu_interpret_mode():
        yield


def row_shape(dtype: str, head_size: int = 128) -> tuple[int, ...]:
    """One token in the stock kernels' caches; tests/tuner/vllm_plugin/test_rpa.py asks them. Heads of 64 keep key and value in one row."""
    rows = 2 * KV_HEADS if head_size == 128 else KV_HEADS
    return rows // PACKING[dtype], PACKING[dtype], 128


def poisoned(case: Ragged, dtype: str, head_size: int = 128) -> tuple[jax.Array, jax.Array]:
    """(cache, rows): NaN all over the cache, random rows, also in the padding."""
    row = row_shape(dtype, head_size)
    cache = jnp.full((1 + MAX_REQUESTS * TABLE_WIDTH, case.page_size, *row), jnp.nan, dtype)
    return cache, jnp.asarray(np.random.default_rng(case.seed).normal(size=(case.bucket, *row)), dtype)


def faults(case: Ragged, dtype: str, head_size: int = 128) -> list[str]:
    """The forms whose bytes are not those of a token-by-token write."""
    cache, rows = poisoned(case, dtype, head_size)
    expected, _ = case.written(cache, rows)
    return [form for form, write in BY_DMA.items() if bits(write(cache, rows, case.batch())) != expected.tobytes()]


@examples(20)
@given(ragged((16,)), st.sampled_from(list(PACKING)))
def test_both_write_every_token_and_leave_the_rest_of_the_cache_as_it_was(case: Ragged, dtype: str) -> None:
    """What is not written stays NaN: other requests' pages, the rest of a partial last page, and padding rows go nowhere."""
    assert faults(case, dtype) == []


@examples(10)
@given(ragged((16,)))
def test_they_leave_the_bytes_of_the_plain_forms(case: Ragged) -> None:
    cache, rows = poisoned(case, "bfloat16")
    flat, flat_rows = cache.reshape(*cache.shape[:2], -1, 128), rows.reshape(rows.shape[0], -1, 128)
    _, behind = case.written(cache, rows)
    plain = PLAIN_TOKENS(flat, flat_rows, case.batch(), implementation="scatter")
    assert bits(BY_DMA["token"](cache, rows, case.batch())) == bits(plain)
    pages = np.asarray(PLAIN_PAGES(flat, flat_rows, case.batch(), implementation="loop"))
    ours = np.asarray(BY_DMA["page"](cache, rows, case.batch())).reshape(pages.shape)
    assert ours[~behind].tobytes() == pages[~behind].tobytes()


@pytest.mark.parametrize(
    ("page_size", "dtype", "head_size"),
    [
        *((16, dtype, head_size) for dtype in ("float32", "bfloat16", "float8_e4m3fn") for head_size in (64, 128)),
        (32, "float8_e5m2", 128),
        (64, "bfloat16", 64),
        (128, "float32", 64),
        (128, "bfloat16", 128),
        (256, "bfloat16", 128),
    ],
)
def test_page_sizes_dtypes_and_head_sizes(page_size: int, dtype: str, head_size: int) -> None:
    """Two decodes, a whole page, a page and a bit that starts behind two computed ones, and padding."""
    case = Ragged(page_size, [1, page_size + 3], [(0, page_size), (2, page_size + 5)], seed=page_size, bucket=3 * page_size)
    assert faults(case, dtype, head_size) == []


@pytest.mark.parametrize("tokens", [2, IN_FLIGHT - 1, IN_FLIGHT, IN_FLIGHT + 1, 64])
def test_fewer_as_many_and_more_copies_than_are_under_way_at_once(tokens: int) -> None:
    """Up to all rows of the step: the last page ends with them."""
    assert faults(Ragged(16, [], [(0, tokens)], seed=tokens), "float32") == []


def test_a_step_of_decodes_only() -> None:
    assert faults(Ragged(16, [1, 16, 17], [], seed=5), "bfloat16") == []


def test_a_step_without_requests_writes_nothing() -> None:
    """As when tpu-inference compiles its programs."""
    case = Ragged(16, [], [(0, 20)], seed=1)
    cache, rows = poisoned(case, "float32")
    nothing = jnp.zeros(MAX_REQUESTS + 1, jnp.int32)
    batch = Batch(case.batch().block_tables, nothing[1:], nothing, jnp.int32(0), jnp.int32(0))
    assert {form: bits(write(cache, rows, batch)) == bits(cache) for form, write in BY_DMA.items()} == {"token": True, "page": True}


def test_page_wise_writes_of_an_unaligned_segment_are_wrong() -> None:
    """Why the combination is impossible to configure."""
    case = Ragged(16, [], [(0, 20)], seed=3)
    cache, rows = poisoned(case, "bfloat16")
    shifted = replace(case.batch(), seq_lens=case.batch().seq_lens + 3)
    assert bits(BY_DMA["token"](cache, rows, shifted)) != bits(BY_DMA["page"](cache, rows, shifted))


@pytest.mark.parametrize(
    "plant",
    [
        lambda index: replace(index, length=index.length + (index.length > 0)),
        lambda index: replace(index, length=jnp.maximum(index.length - 1, 0)),
        lambda index: replace(index, first_row=index.first_row + 1),
        lambda index: replace(index, page=jnp.maximum(index.page - 1, 0)),
        lambda index: replace(index, count=index.count - 1),
    ],
    ids=["a row too many", "a row too few", "the next row", "another page", "the last page forgotten"],
)
def test_a_wrong_page_wise_write_is_caught(monkeypatch: pytest.MonkeyPatch, plant: Any) -> None:
    """The negative control of this file's comparison."""
    case = Ragged(16, [9], [(0, 20), (1, 18)], seed=7)
    assert faults(case, "bfloat16") == []
    right = kv_write.page_index
    monkeypatch.setattr("tuner.vllm_plugin.kv_write_tpu.page_index", lambda *args: plant(right(*args)))
    monkeypatch.setitem(BY_DMA, "page", write_pages_by_dma)
    assert faults(case, "bfloat16") == ["page"]


def test_a_wrong_token_wise_write_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right = kv_write.token_slots
    monkeypatch.setattr("tuner.vllm_plugin.kv_write_tpu.token_slots", lambda *args: right(*args) + 1)
    monkeypatch.setitem(BY_DMA, "token", write_tokens_by_dma)
    assert faults(Ragged(16, [], [(0, 20)], seed=7), "bfloat16") == ["token"]


def test_rows_of_another_dtype_or_shape_are_refused() -> None:
    case = Ragged(16, [], [(0, 20)], seed=3)
    cache, rows = poisoned(case, "bfloat16")
    for write in (write_tokens_by_dma, write_pages_by_dma):
        with pytest.raises(ValueError, match="do not fit a KV cache of bfloat16"):
            write(cache, rows.astype(jnp.float32), case.batch())
        with pytest.raises(ValueError, match=r"rows of bfloat16 \[2, 2, 128\] do not fit"):
            write(cache, rows[:, :2], case.batch())

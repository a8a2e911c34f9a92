"""KV writes and attention in plain JAX: the same bytes for every token, attention as in a dense reference whatever unused rows hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.quick import examples

pytest.importorskip("jax", reason="needs JAX (extra: tpu)")
import jax
import jax.numpy as jnp

from tests.tuner.vllm_plugin.ragged_batches import DIM, GROUP, KV_HEADS, MAX_REQUESTS, Ragged, bits, ragged
from tuner.vllm_plugin.kv_write import Batch, interleave_kv, write_pages, write_tokens
from tuner.vllm_plugin.ragged import ragged_attention

pytestmark = pytest.mark.slow  # each compiles

WRITE_TOKENS = jax.jit(write_tokens, static_argnames="implementation")
WRITE_PAGES = jax.jit(write_pages, static_argnames="implementation")
ATTEND = jax.jit(ragged_attention, static_argnames=("scale", "window", "soft_cap"))


@examples(40)
@given(ragged(), st.sampled_from(["float32", "bfloat16"]))
def test_all_implementations_leave_the_same_bytes_for_every_token_and_touch_no_other_page(case: Ragged, dtype: str) -> None:
    batch, (cache, _, k, v) = case.batch(), case.arrays(dtype)
    new_kv = interleave_kv(k, v)
    expected, behind = case.written(cache, new_kv)
    assert expected.tobytes() != bits(cache)
    for implementation in ("scatter", "loop"):
        assert bits(WRITE_TOKENS(cache, new_kv, batch, implementation=implementation)) == expected.tobytes(), implementation
        paged = np.asarray(WRITE_PAGES(cache, new_kv, batch, implementation=implementation))
        assert paged[~behind].tobytes() == expected[~behind].tobytes(), implementation


def test_what_a_page_wise_write_leaves_behind_a_segment_is_overwritten_by_the_next_tokens() -> None:
    """A prefill of 12 tokens with page size 8, then three decode steps: the cache is what token-wise writes leave."""
    case = Ragged(8, [], [(0, 12)], seed=4)
    batch, (cache, _, k, v) = case.batch(), case.arrays("float32")
    caches = {"page": WRITE_PAGES(cache, interleave_kv(k, v), batch, implementation="loop")}
    caches["token"] = WRITE_TOKENS(cache, interleave_kv(k, v), batch, implementation="scatter")
    for position in range(12, 16):
        k, v = k + 1, v + 1
        starts = jnp.minimum(jnp.arange(MAX_REQUESTS + 1, dtype=jnp.int32), 1)
        lens = jnp.zeros(MAX_REQUESTS, jnp.int32).at[0].set(position + 1)
        step = Batch(batch.block_tables, lens, starts, jnp.int32(1), jnp.int32(1))
        caches = {
            "page": WRITE_PAGES(caches["page"], interleave_kv(k, v), step, implementation="loop"),
            "token": WRITE_TOKENS(caches["token"], interleave_kv(k, v), step, implementation="scatter"),
        }
    assert bits(caches["page"]) == bits(caches["token"])


def test_page_wise_writes_of_an_unaligned_segment_are_wrong() -> None:
    """Why the combination is impossible to configure: this is what it would do."""
    case = Ragged(8, [], [(0, 12)], seed=3)
    batch, (cache, _, k, v) = case.batch(), case.arrays("float32")
    shifted = Batch(batch.block_tables, batch.seq_lens + 3, batch.query_start_loc, batch.num_decodes, batch.num_requests)
    new_kv = interleave_kv(k, v)
    assert bits(WRITE_TOKENS(cache, new_kv, shifted, implementation="scatter")) != bits(
        WRITE_PAGES(cache, new_kv, shifted, implementation="loop")
    )


def dense_reference(cache: np.ndarray, q: np.ndarray, batch: Batch, window: int | None, soft_cap: float | None) -> dict[int, np.ndarray]:
    """Rows of the batch -> output, by plain per-row softmax in float64."""
    out: dict[int, np.ndarray] = {}
    starts = np.asarray(batch.query_start_loc)
    for request in range(int(batch.num_requests)):
        length, total = int(starts[request + 1] - starts[request]), int(batch.seq_lens[request])
        pages = np.asarray(batch.block_tables[request])
        rows = cache[pages].reshape(-1, KV_HEADS, 2, DIM).astype(np.float64)
        for nth in range(length):
            position = total - length + nth
            first = 0 if window is None else max(0, position - window + 1)
            keys, values = rows[first : position + 1, :, 0], rows[first : position + 1, :, 1]
            query = q[starts[request] + nth].reshape(KV_HEADS, GROUP, DIM).astype(np.float64)
            scores = np.einsum("kgd,bkd->kgb", query, keys) * 0.3
            if soft_cap is not None:
                scores = soft_cap * np.tanh(scores / soft_cap)
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            weights /= weights.sum(-1, keepdims=True)
            out[int(starts[request]) + nth] = np.einsum("kgb,bkd->kgd", weights, values).reshape(-1, DIM)
    return out


@examples(25)
@given(ragged(), st.sampled_from([None, 5]), st.sampled_from([None, 2.0]))
def test_attention_equals_a_dense_reference_and_unused_pages_may_hold_nan(case: Ragged, window: int | None, soft_cap: float | None) -> None:
    batch, (cache, q, k, v) = case.batch(), case.arrays("float32")
    used = np.zeros(cache.shape[:2], bool)
    for request, (start, length) in enumerate(zip(case.starts, case.query_lens, strict=True)):
        for position in range(start + length):
            used[int(batch.block_tables[request, position // case.page_size]), position % case.page_size] = True
    poisoned = jnp.where(jnp.asarray(used)[:, :, None, None], cache, jnp.nan)
    written = WRITE_PAGES(poisoned, interleave_kv(k, v), batch, implementation="loop")
    got = np.asarray(ATTEND(written, q, batch, scale=0.3, window=window, soft_cap=soft_cap))
    for row, expected in dense_reference(np.asarray(written), np.asarray(q), batch, window, soft_cap).items():
        np.testing.assert_allclose(got[row], expected, rtol=2e-5, atol=2e-5)

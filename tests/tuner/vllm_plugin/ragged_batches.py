"""Ragged batches of a step, the arrays that go with them, and what a KV cache holds after it: for every form of the KV write."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

from tuner.vllm_plugin.kv_write import Batch

KV_HEADS, GROUP, DIM = 2, 2, 8
MAX_REQUESTS, TABLE_WIDTH, BUCKET = 6, 8, 64


@dataclass
class Ragged:
    """A step's batch, decodes first, prefills starting on a page boundary, and a cache that already holds the earlier tokens."""

    page_size: int
    decode_lens: list[int]
    prefills: list[tuple[int, int]]  # (whole pages computed before, new tokens)
    seed: int
    bucket: int = BUCKET  # rows of the step, those beyond its tokens are padding

    @property
    def query_lens(self) -> list[int]:
        return [1] * len(self.decode_lens) + [new for _, new in self.prefills]

    @property
    def starts(self) -> list[int]:
        return [length - 1 for length in self.decode_lens] + [pages * self.page_size for pages, _ in self.prefills]

    def batch(self) -> Batch:
        rng = np.random.default_rng(self.seed)
        pages = 1 + rng.permutation(MAX_REQUESTS * TABLE_WIDTH)
        tables = np.zeros((MAX_REQUESTS, TABLE_WIDTH), np.int32)
        count = len(self.query_lens)
        tables[:count] = pages.reshape(MAX_REQUESTS, TABLE_WIDTH)[:count]
        seq_lens = np.zeros(MAX_REQUESTS, np.int32)
        seq_lens[:count] = np.array(self.starts) + np.array(self.query_lens)
        starts = np.zeros(MAX_REQUESTS + 1, np.int32)
        starts[1 : count + 1] = np.cumsum(self.query_lens)
        starts[count + 1 :] = starts[count]
        return Batch(jnp.asarray(tables), jnp.asarray(seq_lens), jnp.asarray(starts), jnp.int32(len(self.decode_lens)), jnp.int32(count))

    def arrays(self, dtype: str) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        """cache, q, k, v; the cache is random everywhere."""
        rng = np.random.default_rng(self.seed + 1)
        shape = (1 + MAX_REQUESTS * TABLE_WIDTH, self.page_size, 2 * KV_HEADS, DIM)
        cache, q = rng.normal(size=shape), rng.normal(size=(self.bucket, KV_HEADS * GROUP, DIM))
        k, v = rng.normal(size=(self.bucket, KV_HEADS, DIM)), rng.normal(size=(self.bucket, KV_HEADS, DIM))
        return tuple(jnp.asarray(array, dtype) for array in (cache, q, k, v))  # type: ignore[return-value]

    def written(self, cache: jax.Array, rows: jax.Array) -> tuple[np.ndarray, np.ndarray]:
        """The cache with a row of `rows` for every token and else as it was, token by token; and [N, P], true behind the last token of
        segments in its page: the page-wise XLA forms may put anything there."""
        batch, expected, given = self.batch(), np.array(cache), np.asarray(rows)
        tables, first_rows = np.asarray(batch.block_tables), np.asarray(batch.query_start_loc)  # JAX takes a millisecond for each element
        behind = np.zeros(cache.shape[:2], bool)
        for request, (start, length) in enumerate(zip(self.starts, self.query_lens, strict=True)):
            for offset in range(length):
                page = tables[request, (start + offset) // self.page_size]
                expected[page, (start + offset) % self.page_size] = given[first_rows[request] + offset]
            if length > 1:
                behind[page, (start + length - 1) % self.page_size + 1 :] = True
        return expected, behind


@st.composite
def ragged(draw: st.DrawFn, pages: tuple[int, ...] = (4, 8, 16)) -> Ragged:
    page = draw(st.sampled_from(pages))
    decodes = draw(st.lists(st.integers(1, page * TABLE_WIDTH), max_size=3))
    prefills: list[tuple[int, int]] = []
    room = BUCKET - len(decodes)
    for _ in range(draw(st.integers(0 if decodes else 1, 3))):
        before = draw(st.integers(0, 3))
        longest = min(room, page * (TABLE_WIDTH - before))
        if longest < 2:
            break
        new = draw(st.integers(2, longest))
        prefills.append((before, new))
        room -= new
    return Ragged(page, decodes, prefills, draw(st.integers(0, 2**31)))


def bits(array: jax.Array) -> bytes:
    return np.asarray(array).tobytes()

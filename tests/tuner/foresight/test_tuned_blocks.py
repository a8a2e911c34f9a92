"""Block sizes by arithmetic: what fits, what goes round less often, and how a ranking is held against measured winners."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tuner.foresight.tuned_blocks import Blocks, Tuned, among_best, by_trips, by_vmem, candidates, trips, tuned, vmem_bytes

PATH = "128/q_bfloat16_kv_bfloat16/q_head-32_kv_head-8_head-128/max_model_len-2048-sw-None"
(SHAPE,) = tuned([{"tpu": "TPU v6e", "path": PATH, "value": "16 32"}])


def test_an_entry_is_read_and_another_form_is_left_out() -> None:
    assert (SHAPE.page, SHAPE.query_heads, SHAPE.kv_heads, SHAPE.max_model_len, SHAPE.winner) == (128, 32, 8, 2048, Blocks(16, 32))
    odd = [PATH.rpartition("/")[0] + "/512", PATH.replace("bfloat16", "int3"), ""]
    assert tuned([{"tpu": "TPU v6e", "path": path, "value": "4 64"} for path in odd]) == []
    assert tuned([{"tpu": "TPU v99", "path": PATH, "value": "4 64"}]) == []


def test_buffers_are_those_of_the_kernel() -> None:
    """By hand: two KV blocks of 16 x 128 x 16 x 128 bf16; queries and results twice, 8 x 32 x 4 x 128 bf16; l, m, acc in float32."""
    rows = 8 * 32 * 4
    assert vmem_bytes(SHAPE, Blocks(16, 32)) == 2 * 2048 * 16 * 128 * 2 + 4 * rows * 128 * 2 + 3 * rows * 128 * 4


@pytest.mark.parametrize("length", [64, 128, 2048])
def test_a_block_is_not_longer_than_a_sequence_and_fits(length: int) -> None:
    shape = replace(SHAPE, max_model_len=length, tpu="TPU v7", kv_heads=32)
    found = candidates(shape)
    assert found and all(blocks.pages * 128 <= max(length, 128) and vmem_bytes(shape, blocks) <= 64 << 20 for blocks in found)


def test_rankings_are_what_they_say() -> None:
    assert trips(SHAPE, Blocks(16, 32)) == 64 and trips(SHAPE, Blocks(1, 256)) == 8 * 16
    rounds, sizes = by_trips(SHAPE), by_vmem(SHAPE)
    assert (rounds[0], sizes[0]) == (Blocks(16, 256), Blocks(1, 8))
    assert set(rounds) == set(sizes) == set(candidates(SHAPE))


def test_a_ranking_is_held_against_chance() -> None:
    shapes: list[Tuned] = [replace(SHAPE, winner=Blocks(1, 8)), replace(SHAPE, winner=Blocks(2, 8))]
    ranking = [Blocks(1, 8), Blocks(2, 8), Blocks(4, 8), Blocks(8, 8)]
    assert among_best(shapes, [ranking, ranking], 1) == (0.5, 0.25)
    assert among_best(shapes, [ranking, ranking], 9) == (1.0, 1.0)

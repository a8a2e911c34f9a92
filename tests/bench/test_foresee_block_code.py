"""Places of tpu-inference's winners among blocks that are ranked by their compiled code; tables and counts are planted."""

from __future__ import annotations

import pytest

from bench.foresee_block_code import PAGE, RANKINGS, Code, Shape, Table, place_of, rule_hits, shapes, winner_in
from tuner.foresight.bundles import BUNDLES, MATMULS, SCALAR, SPILLS
from tuner.foresight.tuned_blocks import Blocks

# Rounds of 2 x 16 and 4 x 32 pages x queries; the larger has more of everything, and less of it for a query and a token.
SMALL = Code(Blocks(2, 16), {BUNDLES: 800.0, SCALAR: 80.0, SPILLS: 10.0, MATMULS: 8.0, "matmuls_unpacked": 2.0})
LARGE = Code(Blocks(4, 32), {BUNDLES: 1600.0, SCALAR: 480.0, SPILLS: 20.0, MATMULS: 40.0})


def _table(by_length: dict[str, list[int]]) -> Table:
    return {"TPU v6e": {PAGE: {"q_bfloat16_kv_bfloat16": {"q_head-16_kv_head-2_head-64": by_length}}}}


def test_counts_are_for_one_query_and_one_token() -> None:
    assert SMALL.each(BUNDLES) == 800 / (16 * 2 * PAGE)
    assert LARGE.each(BUNDLES) == SMALL.each(BUNDLES) / 2
    assert SMALL.each("no such count") == 0


def test_spills_count_against_matrix_products_of_both_kinds() -> None:
    assert (SMALL.spills_a_matmul, LARGE.spills_a_matmul) == (1.0, 0.5)
    assert Code(Blocks(2, 16), {BUNDLES: 1.0, SPILLS: 7.0}).spills_a_matmul == 7.0, "of a kernel without any, all"


@pytest.mark.parametrize(
    ("ranking", "first"),
    [("bundles", LARGE), ("scalar operations", SMALL), ("spills a matrix product", LARGE), ("longest block", LARGE)],
)
def test_each_ranking_has_its_own_order(ranking: str, first: Code) -> None:
    second = SMALL if first is LARGE else LARGE
    places = [place_of(code.blocks, [SMALL, LARGE], RANKINGS[ranking]) for code in (first, second)]
    assert places == [1, 2]


def test_of_blocks_as_long_those_near_32_queries_come_first() -> None:
    codes = [Code(Blocks(4, queries), {BUNDLES: 1.0}) for queries in (128, 32, 16)]
    assert [place_of(code.blocks, codes, RANKINGS["longest block"]) for code in codes] == [3, 1, 2]


def test_a_winner_that_was_not_compiled_has_no_place() -> None:
    assert place_of(Blocks(8, 32), [SMALL, LARGE], RANKINGS["bundles"]) is None


def test_the_winner_is_that_of_the_shape() -> None:
    table = _table({"max_model_len-2048-sw-None": [8, 32], "max_model_len-4096-sw-None": [16, 64]})
    assert [winner_in(table, "v6e", shape) for shape in shapes("16/2/2048,16/2/4096")] == [Blocks(8, 32), Blocks(16, 64)]
    with pytest.raises(KeyError):
        winner_in(table, "v6e", Shape(16, 2, 8192))


def test_the_rule_counts_whole_sequences_of_at_most_16_pages_and_no_windows() -> None:
    table = _table(
        {
            "max_model_len-2048-sw-None": [8, 32],  # all of its 8 pages: a hit
            "max_model_len-8192-sw-None": [16, 32],  # 32 pages, of which 16 are the most: a hit
            "max_model_len-4096-sw-None": [16, 64],  # other queries
            "max_model_len-1024-sw-None": [8, 32],  # more than its 4 pages
            "max_model_len-512-sw-128": [2, 32],  # a sliding window is another kernel
        }
    )
    assert rule_hits(table) == {"TPU v6e": (2, 4)}

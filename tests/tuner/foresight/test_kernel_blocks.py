"""Block sizes ranked by their code. (Real compilations: test_look.py.)"""

from __future__ import annotations

import pytest

from tuner.foresight.bundles import BUNDLES, MATMULS, SPILLS
from tuner.foresight.kernel_blocks import Candidate, Sizes, place_of, ranked, tried
from tuner.foresight.tuned_blocks import Blocks


def candidate(sizes: Sizes, bundles: float, matmuls: float = 100.0, spills: float = 0.0, *, own: bool = False) -> Candidate:
    return Candidate(None if own else sizes, sizes, {BUNDLES: bundles, MATMULS: matmuls, SPILLS: spills})


OWN = candidate((1, 4096, 1, 4096), 900.0, own=True)
LONG = candidate((1, 8192, 1, 8192), 1600.0, 200.0)
SPILLING = candidate((1, 2048, 1, 512), 800.0, spills=50.0)
REFUSED = Candidate((1, 512, 1, 500), (1, 512, 1, 500), {}, refused="bkv_csz must be divisible by page_size")


def test_what_issues_least_for_a_matrix_product_is_first_and_what_is_refused_last() -> None:
    assert ranked([REFUSED, OWN, SPILLING, LONG]) == [LONG, SPILLING, OWN, REFUSED]


def test_a_block_size_that_the_engine_chooses_itself_stands_once() -> None:
    assert ranked([OWN, candidate((1, 4096, 1, 4096), 900.0), LONG]) == [LONG, OWN]


def test_code_without_a_matrix_product_is_no_best() -> None:
    assert ranked([candidate((1, 256, 1, 256), 1.0, 0.0), OWN])[0] == OWN


def test_the_tables_winner_has_a_place_where_it_was_compiled() -> None:
    order = [candidate((64, 1024, 32, 512), 1.0), candidate((32, 2048, 32, 2048), 2.0), REFUSED]
    assert place_of(Blocks(16, 32), 128, order) == 2
    assert place_of(Blocks(8, 32), 128, order) is None


@pytest.mark.parametrize("page", [16, 128, 256, 512])
@pytest.mark.parametrize("longest", [100, 2048, 40960])
def test_every_block_tried_holds_whole_pages_and_parts(page: int, longest: int) -> None:
    for case in ("decode", "mixed"):
        found = tried(case, page, 1024, longest, Blocks(2, 32))
        assert found and len(set(found)) == len(found) <= 14
        for bq, bkv, bq_compute, bkv_compute in found:
            assert bkv % page == bkv_compute % page == bkv % bkv_compute == bq % bq_compute == 0
    assert {each[0] for each in tried("decode", page, 1024, longest, None)} == {1}
    assert (32, 2 * page, 32, 2 * page) in tried("mixed", page, 1024, longest, Blocks(2, 32))

"""Two programs side by side: kernels are paired by what they are, and the reason follows from names and counts."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from tuner.foresight.bundles import BUNDLES, FILLS, MATMULS, SCALAR, SPILLS
from tuner.foresight.profile_difference import blocks_of, difference, family
from tuner.foresight.static_profile import Row, StaticProfile


def kernel(name: str, bundles: int, scalar: int, **code: float) -> Row:
    return Row(name, "attention_fused_kv", "custom-call", "", False, 0, None, None, {BUNDLES: bundles, SCALAR: scalar, **code})


def profile(*rows: Row) -> StaticProfile:
    return StaticProfile(128, 1, rows, {}, 0, 0, 0, 1.0)


def decode(page: int, bundles: int, scalar: int, spills: int = 2769, blocks: str = "bq_1_1-bkv_4096_4096", matmuls: int = 64) -> Row:
    return kernel(f"RPAd-p_{page}-{blocks}.3", bundles, scalar, **{SPILLS: spills, FILLS: 4409, MATMULS: matmuls})


FUSION = Row("fusion.1", "mlp", "loop fusion", "", False, 10, 20, 30, {BUNDLES: 5})


def reasons(one: Row, other: Row) -> list[str]:
    (pair,) = difference(profile(one), profile(other)).pairs
    return list(pair.reasons)


MEASURED = ((16, 12193, 7408), (64, 9377, 2224), (256, 8673, 928))  # page, bundles, scalar operations, on v6e


@pytest.mark.parametrize(("one", "other"), [*pairwise(MEASURED), (MEASURED[2], MEASURED[0])])
def test_a_page_costs_27_scalar_operations_wherever_one_looks(one: Any, other: Any) -> None:
    found = reasons(decode(*one), decode(*other))
    assert "each page costs 27 scalar operations and 14.7 bundles" in found[0]
    assert found[1] == "VMEM spills and fills are the same: 2,769 and 4,409"


def test_another_block_is_compared_by_matrix_product() -> None:
    found = reasons(decode(128, 8904, 1358), decode(128, 2736, 400, 80, "bq_1_1-bkv_2048_512", 8))
    assert found[0].startswith("another block (bq, bkv, bq compute, bkv compute): 1,4096,1,4096 against 1,2048,1,512")
    assert found[1] == "VMEM spills a packed matrix product: 43.3 against 10 (-33.3)"


def test_nothing_is_made_up_where_nothing_differs() -> None:
    assert reasons(decode(64, 9377, 2224), decode(64, 9377, 2224)) == ["the same code"]
    assert reasons(decode(64, 9377, 2224), decode(32, 9377, 2224)) == ["other sizes, the same number of bundles and operations"]
    assert reasons(kernel("other", 5, 1), kernel("other", 6, 1)) == []


def test_a_kernel_of_one_side_only_is_told() -> None:
    found = difference(profile(decode(64, 9377, 2224)), profile(decode(64, 9377, 2224), kernel("writer.1", 5, 1)))
    assert [pair.kernel for pair in found.pairs] == ["RPA decode", "writer"]
    assert found.pairs[1].reasons == ("only one of the two programs has it",) and found.pairs[1].code[0] == {}


def test_instances_of_a_kernel_are_one() -> None:
    (pair,) = difference(profile(kernel("k.1", 5, 1), kernel("k.2", 6, 1)), profile(kernel("k", 5, 1))).pairs
    assert (pair.code[0][BUNDLES], pair.code[1][BUNDLES]) == (11, 5)


def test_categories_are_side_by_side_also_where_one_side_has_none() -> None:
    sums = difference(profile(FUSION), profile(decode(64, 9377, 2224))).categories
    assert list(sums) == ["mlp", "attention_fused_kv"]
    assert (sums["mlp"][0]["flops"], sums["mlp"][1]["flops"], sums["mlp"][0]["code"]) == (10, 0, {BUNDLES: 5})
    assert (sums["attention_fused_kv"][1]["without_bytes"], sums["attention_fused_kv"][1]["without_cycles"]) == (1, 1)


def test_names_say_what_a_kernel_is() -> None:
    blocks = blocks_of("RPAm-p_128-bq_256_128-bkv_1024_512.1")
    assert blocks is not None
    assert (blocks.case, blocks.page, blocks.sizes, blocks.pages_per_block) == ("RPA mixed", 128, (256, 1024, 128, 512), 8)
    assert [family(name) for name in ("RPAd-p_64-bq_1_1-bkv_8_8", "fusion.12.1", "plain")] == ["RPA decode", "fusion", "plain"]

"""Reading libtpu's static bundle profile: its form as libtpu 0.0.48 writes it, with invented numbers."""

from __future__ import annotations

from tests.tuner.foresight.bundle_texts import bundle_profile
from tuner.foresight.bundles import BUNDLES, COLUMNS, FILLS, MATMULS, NO_INSTRUCTION, SCALAR, SPILLS, parse

KERNEL = """HLO: <no-hlo-instruction>
 - SCALAR_ALU: (2/20) - 0.1
 - VMEM_SPILL_COUNT: (0/10) - 0

HLO: %RPAd-p_64-bq_1_1-bkv_8_8.1 = (bf16[4]{0:T(2,128)(2,1)}, u32[]{:S(2)}) custom-call(%a, %b), custom_call_target="tpu_custom_call"
 - MXU_0 matpush: (1/100) - 0.01
 - MXU_0 matpush_bf16_packed: (6/50) - 0.12
 - MXU_0 matmul: (5/50) - 0.1
 - MXU_0 matmul_packed: (3/25) - 0.12
 - MXU_1 matmul_packed: (4/25) - 0.16
 - MXU_1 matmul_x8_packed: (0/25) - 0
 - XLU_0 rpu: (2/50) - 0.04
 - XLU_0 all: (3/50) - 0.06
 - XLU_1 all: (1/50) - 0.02
 - VECTOR_ALU: (70/400) - 0.175
 - VECTOR_EUP: (7/100) - 0.07
 - VECTOR_LOAD_AND_MISC: (39/300) - 0.13
 - VECTOR_STORE_AND_MISC: (42/200) - 0.21
 - VECTOR_MISC: (23/100) - 0.23
 - SMEM_SPILL_COUNT: (13/100) - 0.13
 - SMEM_FILL_COUNT: (27/100) - 0.27
 - VMEM_SPILL_COUNT: (58/100) - 0.58
 - VMEM_FILL_COUNT: (84/100) - 0.84
 - SCALAR_ALU: (135/200) - 0.675
 - HBM_TO_VMEM_ESTIMATED_STARVATION: (7/100) - 0.07

HLO: <no-hlo-instruction>
 - SCALAR_ALU: (3/6) - 0.5
 - VMEM_SPILL_COUNT: (0/3) - 0
"""


def test_units_are_told_apart_and_bundles_are_the_slots_of_what_is_once_in_each() -> None:
    kernel = parse([KERNEL])["RPAd-p_64-bq_1_1-bkv_8_8.1"]
    assert kernel == {
        BUNDLES: 100,
        MATMULS: 7,
        "matmuls_unpacked": 5,
        "mxu_pushes": 7,
        "vpu": 70,
        "eup": 7,
        "xlu": 4,
        SCALAR: 135,
        "loads": 16,
        "stores": 19,
        SPILLS: 58,
        FILLS: 84,
        "smem_spills": 13,
        "smem_fills": 27,
    }
    assert kernel.keys() == COLUMNS.keys()


def test_stores_that_a_chip_counts_alone() -> None:
    """v5e has a slot for stores, where others share it."""
    text = "HLO: %x = f32[8]\n - VECTOR_STORE: (7/100) - 0.07\n - VECTOR_MISC: (68/100) - 0.68\n - VMEM_SPILL_COUNT: (0/100) - 0\n"
    assert parse([text])["x"]["stores"] == 7


def test_several_blocks_of_one_instruction_are_added() -> None:
    frame = parse([KERNEL])[NO_INSTRUCTION]
    assert (frame[BUNDLES], frame[SCALAR]) == (13, 5)
    assert parse([KERNEL, KERNEL])[NO_INSTRUCTION][BUNDLES] == 26


def test_another_text_is_no_profile() -> None:
    """Another libtpu: then nothing is known, rather than 0 bundles."""
    for text in (
        "",
        "HLO: %x = f32[8] add(%a)\n - NEW_UNIT: (1/2) - 0.5\n",
        "HLO: %x = f32[8]\n - VMEM_SPILL_COUNT: 5\n",
        "{}\n - MXU: (1/2) - 0.5",
    ):
        assert parse([text]) == {}


def test_what_tests_invent_has_the_same_form() -> None:
    assert parse([bundle_profile({"dot.1": {"bundles": 12, "scalar": 5}})])["dot.1"][SCALAR] == 5

"""Loops are read out of the compiler's listing; a listing of another form, or none, gives no numbers."""

from __future__ import annotations

from pathlib import Path

from bench.lib.bundles import copying_loops, listing_of

# Shortened from what libtpu 0.0.48 made of tuner_token_kernel for a v6e: a loop that starts copies, one that does both, one that waits.
LISTING = """= control target key start
LB: loop body
PF: predicated region fallthrough
     0   :  { %12 = dma.vmem_to_smem /*vmem=*/%s10_s17, /*smem=*/%s238_s19 }
   0x1   :  { %220 = dma.done.wait [#allocation1], 256 }
   0x2 LB: > { %s25_s26 = sld [smem:[#allocation4 + %s228_s25]]  ;;  %s228_s25 = sphi %s278_s25, %s22_s25 }
   0x3   : > { %44 = dma.vmem_to_hbm [thread:$0]  /*vmem=*/%s42_s5, /*size_in_granules=*/128, /*hbm=*/%s28_s9 }
   0x4   :  { %24 = sbr.rel (!%p21_p3) target = $region45 }
   0x5   :  {}
   0x9 PF:  { %p105_p4 = scmp.ge.s32.totalorder %s273_s0, %s348_s1 }
   0xa LB: > { %222 = dma.done.wait [#allocation3], 128  ;;  %s232_s22 = sphi %s352_s22, %s48_s22 }
   0xb PB: > { %175 = shalt.err (!%p172_p11) }
   0xc   : > { %74 = dma.hbm_to_hbm [thread:$0]  /*hbm=*/%s72_s28, /*size_in_granules=*/128, /*hbm=*/%s58_s6 }
   0xd   :  { %50 = sbr.rel (!%p47_p1) target = $region56 }
   0xe   :  {}
  0x12 PF:  { %s75_s21 = ssub.s32 %s348_s1, %s273_s0 }
  0x13 LB: > { %224 = dma.done.wait [#allocation3], 128  ;;  %s236_s25 = sphi %s234_s25, %s79_s25 }
  0x14   :  { %81 = sbr.rel (!%p78_p3) target = $region67 }
  0x18 PF:  { %85 = vsyncmov [#allocation3] }
"""


def test_only_the_loop_that_waits_and_starts_counts_with_its_branch_delay() -> None:
    assert copying_loops(LISTING) == [0x12 - 0xA]


def test_several_loops_come_in_their_order() -> None:
    further = LISTING.replace("   0xa LB", "  0x1a LB").replace("  0x12 PF", "  0x3a PF").split("0x9 PF", 1)[1]
    assert copying_loops(LISTING + "   0x19 PF" + further) == [0x12 - 0xA, 0x3A - 0x1A]


def test_a_listing_of_another_form_has_no_loops() -> None:
    assert copying_loops("") == copying_loops(LISTING.replace(" LB: >", " loop:")) == copying_loops(LISTING.replace("dma.", "copy.")) == []


def test_the_final_bundles_of_a_kernel_and_not_their_analysis(tmp_path: Path) -> None:
    assert listing_of(tmp_path, "tuner_page_kernel") is None
    (tmp_path / "17-tuner_page_kernel.1-70-schedule-analysis_final_bundles.txt").write_text("analysis")
    assert listing_of(tmp_path, "tuner_page_kernel") is None
    (tmp_path / "17-tuner_page_kernel.1-71-final_bundles.txt").write_text("bundles")
    (tmp_path / "17-tuner_token_kernel.1-71-final_bundles.txt").write_text("others")
    assert listing_of(tmp_path, "tuner_page_kernel") == "bundles"

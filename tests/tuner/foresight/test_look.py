"""The real compiler's code of one layer: libtpu's dump is read, bounded and removed. (What is printed: tests/tuner/cli.)"""

from __future__ import annotations

import json
import os
import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.tuner.foresight.questions import ONE_LAYER
from tuner.core.errors import BadInput, TrialFailed
from tuner.foresight import dump as dump_module
from tuner.foresight.bundles import BUNDLES, FILLS, MATMULS, SCALAR, SPILLS
from tuner.foresight.compiler import Compiler
from tuner.foresight.kept import KeptAnswers
from tuner.foresight.look import Look
from tuner.foresight.profile_difference import difference
from tuner.foresight.sides import side_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
pytest.importorskip("importlib.util").find_spec("libtpu") or pytest.skip("needs libtpu", allow_module_level=True)


@pytest.fixture
def compiler(shared_compiler: Compiler) -> Compiler:
    return shared_compiler


@pytest.fixture
def look(compiler: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    config = tmp_path / "config.json"
    config.write_text(json.dumps({**ONE_LAYER, "num_attention_heads": 8, "num_key_value_heads": 4}))
    small = {"model": str(config), "accelerator": "v6e-1", "chunk_budget": 128, "max_num_seqs": 16, "max_model_len": 512, "layers": 1}

    def at(**settings: Any) -> Any:
        return Look(compiler, KeptAnswers(), {}, lambda _line: None).at(side_of({**small, "page_size": 64, **settings}))

    return at


def test_a_smaller_page_costs_scalar_work_and_no_spills(look: Any, tmp_path: Path) -> None:
    """What the page size changes in the compiled program: one address and one start of a copy for each page of a block."""
    small, large = look(page_size=16), look(page_size=64)
    decode = next(pair for pair in difference(large, small).pairs if pair.kernel == "RPA decode")
    assert decode.code[1][SCALAR] > 1.5 * decode.code[0][SCALAR] and decode.code[1][BUNDLES] > decode.code[0][BUNDLES]
    assert all(decode.code[0].get(label, 0) == decode.code[1].get(label, 0) for label in (SPILLS, FILLS, MATMULS))
    assert "scalar operations" in decode.reasons[0] and "spills and fills are the same" in decode.reasons[1]
    mlp, fused = large.categories()["mlp"], large.categories()["attention_fused_kv"]
    hidden, wide = ONE_LAYER["hidden_size"], ONE_LAYER["intermediate_size"]
    assert mlp["flops"] == 2 * 128 * 3 * hidden * wide, "gate, up and down of 128 tokens"
    assert mlp["cycles"] > 0 and mlp["code"][BUNDLES] > 0
    assert fused["without_bytes"] == fused["without_cycles"] == len([row for row in large.rows if row.category == "attention_fused_kv"])
    assert 0 < large.dump_bytes < 200e6
    assert list(tmp_path.glob("tuner-dump-*")) == []


def test_another_block_size_is_another_kernel(look: Any) -> None:
    """`tuner foresee kernel` ranks what differs here."""
    found = look(RPA_V3_DECODE_BLOCK_SIZES="1,512,1,256", tokens=16)
    assert any("bq_1_1-bkv_512_256" in row.name for row in found.kernels)


def test_a_block_size_that_the_kernel_refuses_is_told_in_its_words(look: Any) -> None:
    with pytest.raises(BadInput, match="does not compile"):
        look(RPA_V3_DECODE_BLOCK_SIZES="1,500,1,256", tokens=16)


def test_a_dump_that_grows_too_large_ends_the_compiler_and_is_removed(look: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dump_module.Dump.__init__, "__defaults__", (None, 1000))
    with pytest.raises(TrialFailed, match="the compiler's dump grew above"):
        look(page_size=32)
    assert list(tmp_path.glob("tuner-dump-*")) == []


def test_a_compiler_that_is_killed_leaves_nothing(look: Any, compiler: Compiler, tmp_path: Path) -> None:
    """As the kernel's out-of-memory killer does."""

    def kill() -> None:
        deadline = time.monotonic() + 600
        while not list(tmp_path.glob("tuner-dump-*/*")) and time.monotonic() < deadline:
            time.sleep(0.05)
        if (child := compiler._child) is not None:
            os.killpg(child.pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(TrialFailed, match="was ended by SIGKILL during"):
        look(page_size=128)
    killer.join()
    assert list(tmp_path.glob("tuner-dump-*")) == []


def test_a_libtpu_that_does_not_know_the_flags_is_one_line(look: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dump_module, "_FLAGS", ("--xla_jf_dump_of_another_libtpu=true",))
    with pytest.raises(BadInput, match="this libtpu knows no dump flags"):
        look(page_size=32)
    assert list(tmp_path.glob("tuner-dump-*")) == []

"""The compiler's word on both forms of the KV write; and that a copy of the cache shows where there is one."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

if importlib.util.find_spec("libtpu") is None:
    pytest.skip("needs libtpu", allow_module_level=True)


def bench(folder: Path, *options: str) -> tuple[int, list[dict[str, Any]], str]:
    """(exit code, rows, standard error); nothing may be left in `folder`, where its dumps go."""
    command = [sys.executable, "-m", "bench.kv_write_tpu", "--json", *options]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "TMPDIR": str(folder)}, capture_output=True, text=True, check=False)
    assert list(folder.glob("tuner-kv-write-*")) == []
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")], done.stderr


def test_a_page_takes_one_copy_instead_of_one_a_token(tmp_path: Path) -> None:
    """On one chip; that no chip copies the cache is asked in tests/tuner/vllm_plugin/test_rpa.py."""
    code, (row,), errors = bench(tmp_path, "--page-sizes", "64", "--tokens", "256", "--chips", "v5e")
    assert code == 0, errors[-2000:]
    token, page = row["token"], row["page"]
    assert row["chip"] == "v5e" and (token["copies"], page["copies"]) == (256, 4)
    assert not token["cache_copied"] and not page["cache_copied"]
    assert max(token["temporary_bytes"], page["temporary_bytes"]) < 2**21, "of a cache of 256 MiB"
    assert 5 <= token["bundles_a_copy"] <= page["bundles_a_copy"] < 64, "a page's length is known only when it runs"
    assert page["bundles"] * 16 < token["bundles"]


def test_our_token_wise_scatter_copies_the_cache_of_the_demos_model_once_more_than_the_page_loop_on_v6e(tmp_path: Path) -> None:
    """Heads of 64 in float32 have another layout on a TPU than in the engine's cache; the DMA kernels' layout is the cache's."""
    code, (row,), errors = bench(tmp_path, "--xla", "--chips", "v6e")
    assert code == 0, errors[-2000:]
    assert row["token scatter"]["copies_of_the_cache"] - row["page loop"]["copies_of_the_cache"] >= 1


def test_an_unknown_chip_is_named_with_those_that_are_known(tmp_path: Path) -> None:
    code, rows, errors = bench(tmp_path, "--chips", "v99")
    assert code == 2 and rows == [] and "accelerator 'v99' is unknown; known are" in errors and "Traceback" not in errors

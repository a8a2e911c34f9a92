"""Damaged captures: 2,200 small ones and 24 real ones, each refused in one line or read, under 10 s and in less than 1 GB."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from profiles.errors import ProfileError
from profiles.reader import read_capture
from tests.oracles.xspace import XSpace
from tests.profiles.builder import cpu_capture, model_runs, tpu_capture
from tests.profiles.test_quality import MARKERS
from tests.profiles.test_reader import TPU_FILE
from tests.shared_data import shared_data

ROOT = Path(__file__).resolve().parents[2]


def fuzz(seed: int, count: int, *sources: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.profiles.fuzz_worker", str(seed), str(count), *map(str, sources)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr[-3000:]
    result: dict[str, Any] = json.loads(done.stdout)
    assert result["refused"] + result["accepted"] == count
    assert result["slowest_s"] < 10
    assert result["peak_mb"] < 1000
    assert "not one line" not in result["reasons"]
    return result


def test_damaged_small_captures(tmp_path: Path) -> None:
    tpu, cpu = tmp_path / "tpu.pb", tmp_path / "cpu.pb"
    tpu.write_bytes(tpu_capture(model_runs(steps=2), stretch=1.01, markers=MARKERS[:2]))
    cpu.write_bytes(cpu_capture(model_runs(steps=2), markers=MARKERS[:2], noise=10, late={"fusion.3": 900.0}))
    result = fuzz(11, 2200, tpu, cpu)
    assert (
        result["refused"] > 1000 and result["accepted"] > 100 and len(result["reasons"]) > 10
    )  # the damage is neither nothing nor everything


def test_damaged_real_captures(jax_capture: Path) -> None:
    result = fuzz(12, 24, shared_data(TPU_FILE), jax_capture)
    assert result["refused"] > 5


@pytest.mark.parametrize("build", [tpu_capture, cpu_capture])
def test_every_truncation_of_a_small_capture_is_refused_or_read(tmp_path: Path, build: Any) -> None:
    data = build(model_runs(steps=2))
    path = tmp_path / "cut.xplane.pb"
    outcomes = set()
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        try:
            read_capture(path)
            outcomes.add("read")
        except ProfileError:
            outcomes.add("refused")
    assert "refused" in outcomes


def test_a_file_of_nothing_but_planes_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "bomb.xplane.pb"
    path.write_bytes(b"\x0a\x00" * 1_000_000)
    with pytest.raises(ProfileError, match="more than 10000 planes"):
        read_capture(path)


def test_a_length_of_terabytes_allocates_nothing(tmp_path: Path) -> None:
    path = tmp_path / "long.xplane.pb"
    path.write_bytes(b"\x0a\xff\xff\xff\xff\xff\xff\xff\x7f" + b"x" * 100)
    with pytest.raises(ProfileError, match="not a complete XPlane file"):
        read_capture(path)


def test_line_breaks_in_names_do_not_break_the_message(tmp_path: Path) -> None:
    space = XSpace()
    space.planes.add(name="/host:CPU\nTraceback\x1b[31m")
    path = tmp_path / "names.xplane.pb"
    path.write_bytes(space.SerializeToString())
    with pytest.raises(ProfileError) as caught:
        read_capture(path)
    assert str(caught.value).isprintable()

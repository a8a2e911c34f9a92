"""Damaged profiles: 2,200 small ones and 24 real ones, each refused in one line or read, under 10 s and in less than 1 GB."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from profiles.errors import ProfileError
from profiles.reader import read_profile
from profiles.summary import summarise
from profiles.wire import encoded
from tests.oracles.xspace import HloProto, XSpace
from tests.profiles.builder import PlaneBuilder, cpu_xspace, model_runs, tpu_xspace
from tests.profiles.self_times import TPU_FILE
from tests.profiles.summaries import MARKERS
from tests.shared_data import shared_data
from tests.waiting import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]


def fuzz(seed: int, count: int, *sources: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.profiles.fuzz_worker", str(seed), str(count), *map(str, sources)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr[-3000:]
    result: dict[str, Any] = json.loads(done.stdout)
    assert result["refused"] + result["accepted"] == count
    assert result["slowest_s"] < 10
    assert result["peak_mb"] < 1000
    assert "not one line" not in result["reasons"]
    return result


@pytest.mark.slow
def test_damaged_small_profiles(tmp_path: Path) -> None:
    tpu, cpu = tmp_path / "tpu.pb", tmp_path / "cpu.pb"
    tpu.write_bytes(tpu_xspace(model_runs(steps=2), stretch=1.01, markers=MARKERS[:2]))
    cpu.write_bytes(cpu_xspace(model_runs(steps=2), markers=MARKERS[:2], noise=10, late={"fusion.3": 900.0}))
    result = fuzz(11, 2200, tpu, cpu)
    assert (
        result["refused"] > 1000 and result["accepted"] > 100 and len(result["reasons"]) > 10
    )  # the damage is neither nothing nor everything


@pytest.mark.slow
def test_damaged_real_profiles(jax_profile: Path) -> None:
    result = fuzz(12, 24, shared_data(TPU_FILE), jax_profile)
    assert result["refused"] > 5


@pytest.mark.parametrize("build", [tpu_xspace, cpu_xspace])
def test_every_truncation_of_a_small_profile_is_refused_or_read(tmp_path: Path, build: Any) -> None:
    data = build(model_runs(steps=2))
    path = tmp_path / "cut.xplane.pb"
    outcomes = set()
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        try:
            read_profile(path)
            outcomes.add("read")
        except ProfileError:
            outcomes.add("refused")
    assert "refused" in outcomes


def test_a_file_of_nothing_but_planes_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "bomb.xplane.pb"
    path.write_bytes(b"\x0a\x00" * 1_000_000)
    with pytest.raises(ProfileError, match="more than 10000 planes"):
        read_profile(path)


def test_a_length_of_terabytes_allocates_nothing(tmp_path: Path) -> None:
    path = tmp_path / "long.xplane.pb"
    path.write_bytes(b"\x0a\xff\xff\xff\xff\xff\xff\xff\x7f" + b"x" * 100)
    with pytest.raises(ProfileError, match="not a complete XPlane file"):
        read_profile(path)


def nested(tag: int, payload: bytes) -> bytes:
    return bytes([tag]) + encoded(len(payload)) + payload


def tpu_line(name: bytes, payload: bytes) -> bytes:
    """A file of one TPU plane with one line."""
    return nested(0x0A, nested(0x12, b"/device:TPU:0") + nested(0x1A, nested(0x12, name) + payload))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x28\x01" * 600_000, "fields that are no events"),
        (tpu_line(b"other", b"\x08\x01" * 600_000), "fields that are no events"),
        (tpu_line(b"XLA Ops", b"\x22\x02\x08\x01" + b"\x50\x01" * 150_000), "fields that are no events"),
        (tpu_line(b"XLA Ops", b"\x22\x00" * 150_000), "fields that are no events"),
        (tpu_line(b"XLA Ops", b"\x22\x02\x08\x01" * 5_100_000), "profile fewer steps"),
    ],
    ids=["file", "line", "among events", "empty events", "tiny events"],
)
def test_millions_of_tiny_fields_are_refused_before_they_take_minutes(tmp_path: Path, data: bytes, why: str) -> None:
    path = tmp_path / "dense.xplane.pb"
    path.write_bytes(data)
    with pytest.raises(ProfileError, match=why):
        read_profile(path)


def hlo_bomb(shape: str, count: int) -> bytes:
    """A profile of `count` ops whose HLO module makes every look-up long: it would take minutes if each op were looked up for itself."""
    space, proto = XSpace(), HloProto()
    proto.hlo_module.name = "jit_f"
    names = [f"op.{index}" for index in range(count)]
    main = proto.hlo_module.computations.add(name="main", id=count + 1)
    if shape == "one large fused computation":
        inner = proto.hlo_module.computations.add(name="inner", id=count + 2)
        for index in range(count):
            inner.instructions.add(name=f"inner.{index}", opcode="add", id=count + index + 1).metadata.op_name = f"scope/{index}"
    for index, name in enumerate(names):
        home = proto.hlo_module.computations.add(name=name, id=index + 1) if shape == "loops in loops" else main
        item = home.instructions.add(name=name, opcode="add", id=index + 1)
        if shape == "loops in loops":
            item.opcode = "while"
            item.called_computation_ids.append(index + 2)
        elif shape == "one large fused computation":
            item.opcode = "fusion"
            item.called_computation_ids.append(count + 2)
            item.operand_ids.append(max(index, 1))
        else:
            item.metadata.op_name = f"scope/of{index}"
            item.operand_ids.extend(range(1, 200))
    host, cpu = PlaneBuilder(space, "/host:metadata"), PlaneBuilder(space, "/host:CPU")
    host.event_id("jit_f(1)")
    host.plane.event_metadata[-1].value.stats.add(metadata_id=host.stat_id("hlo_proto"), bytes_value=proto.SerializeToString())
    for index, name in enumerate(names):
        stats: dict[str, int | str] = {"hlo_op": name, "hlo_module": "jit_f", "program_id": 1, "run_id": index % 7}
        cpu.event(cpu.line("tf_XLAEigen/1"), cpu.event_id("op"), index * 2.0, 1.0, **stats)
    data: bytes = space.SerializeToString()
    return data


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize("shape", ["one large fused computation", "loops in loops", "many operands"])
def test_an_hlo_module_made_to_be_slow_is_read_all_the_same(tmp_path: Path, shape: str) -> None:
    path = tmp_path / "hlo.xplane.pb"
    path.write_bytes(hlo_bomb(shape, 8000))
    assert summarise(path).quality["steps"] == 6


def test_line_breaks_in_names_do_not_break_the_message(tmp_path: Path) -> None:
    space = XSpace()
    space.planes.add(name="/host:CPU\nTraceback\x1b[31m")
    path = tmp_path / "names.xplane.pb"
    path.write_bytes(space.SerializeToString())
    with pytest.raises(ProfileError) as caught:
        read_profile(path)
    assert str(caught.value).isprintable()

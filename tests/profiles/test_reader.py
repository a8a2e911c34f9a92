"""What the reader finds in profiles of known content, and in real ones."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from profiles import columns
from profiles.classify import Category
from profiles.errors import ProfileError
from profiles.reader import HostProfile, read_profile
from profiles.steps import find_steps
from profiles.summary import summarise
from tests.oracles.raw_totals import cpu_ops, tpu_ops
from tests.oracles.raw_totals import self_time as raw_self_time
from tests.oracles.xspace import XSpace
from tests.profiles.builder import US, Op, PlaneBuilder, Run, cpu_xspace, model_runs, tpu_xspace
from tests.profiles.self_times import TPU_FILE, self_times
from tests.shared_data import shared_data


def read(tmp_path: Path, data: bytes) -> HostProfile:
    path = tmp_path / "host.xplane.pb"
    path.write_bytes(data)
    return read_profile(path)


def test_a_tpu_profile_gives_ops_runs_and_both_clocks(tmp_path: Path) -> None:
    runs = model_runs(steps=3, program_id=2**63 + 5)
    profile = read(tmp_path, tpu_xspace(runs, stretch=2.0, devices=2, markers=[(1.0, "execute_model: 3 reqs, 131 toks")]))
    assert (profile.platform, len(profile.devices)) == ("tpu", 2)
    device = profile.devices[1]
    assert (device.name, device.clock, len(device.op)) == ("/device:TPU:1", "device", 3 * 9)
    assert device.runs.program_id.tolist() == [2**63 + 5, 2**63 + 6] * 3
    assert device.runs.run_id.tolist() == [1000, 1000, 1001, 1001, 1002, 1002]
    assert device.runs.ops.tolist() == [8, 1] * 3
    np.testing.assert_array_equal(device.aligned_end_ps - device.aligned_start_ps, 2 * (device.end_ps - device.start_ps))
    first = profile.op_types[device.op[0]]
    assert (first.module, first.name, first.hlo_category) == ("jit_step_fun", "fusion.0", "loop fusion")
    assert first.scope == "jit(step_fun)/jit(main)/layers.0/self_attn/tuner_kv_write_token/scatter"
    (marker,) = profile.host.markers
    assert (marker.requests, marker.tokens) == (3, 131)


def test_a_cpu_profile_joins_ops_to_their_hlo(tmp_path: Path) -> None:
    profile = read(tmp_path, cpu_xspace(model_runs(steps=2), noise=500))
    (device,) = profile.devices
    assert (profile.platform, device.name, device.clock, len(device.op)) == ("cpu", "cpu:0", "host", 18)
    assert {kind.scope for kind in profile.op_types if kind.module == "jit_sample"} == {"jit(sample)/jit(main)/argmax"}
    assert device.runs.run_id.tolist() == [1000, 1000, 1001, 1001]
    assert profile.programs_without_hlo == profile.programs_by_name == ()


def test_two_programs_of_a_cpu_profile_that_share_an_id_are_two_programs(tmp_path: Path) -> None:
    """XLA:CPU gave jit_sample and jit_split of one engine the same program and run ids."""
    runs = [Run(run.module, 7, run.run_id, run.ops) for run in model_runs(steps=3)]
    profile = read(tmp_path, cpu_xspace(runs))
    (device,) = profile.devices
    apart = read(tmp_path, cpu_xspace(model_runs(steps=3)))
    assert sorted(device.runs.ops.tolist()) == sorted(apart.devices[0].runs.ops.tolist()) == [1] * 3 + [8] * 3
    assert {(kind.module, kind.scope) for kind in profile.op_types} == {(kind.module, kind.scope) for kind in apart.op_types}
    assert len({kind.program_id for kind in profile.op_types}) == 2
    assert find_steps(profile).closed.sum() == find_steps(apart).closed.sum()


def test_an_op_that_ends_elsewhere_lasts_until_its_end_event(tmp_path: Path) -> None:
    runs = [Run("jit_f", 1, 1, [Op("dot.1", 0.0, 2.0), Op("add.1", 3.0, 4.0)])]
    (device,) = read(tmp_path, cpu_xspace(runs, late={"dot.1": 6.0})).devices
    assert sorted((device.end_ps - device.start_ps).tolist()) == [4 * US, 6 * US]
    assert device.lane.min() == -1


def test_a_program_listed_under_another_id_is_found_by_name(tmp_path: Path) -> None:
    space = XSpace.FromString(cpu_xspace(model_runs(steps=2)))
    for entry in space.planes[0].event_metadata:
        entry.value.name = entry.value.name.replace("(8)", "(10)")
    profile = read(tmp_path, space.SerializeToString())
    assert profile.programs_by_name == ("jit_sample(8)",)
    assert {kind.scope for kind in profile.op_types if kind.module == "jit_sample"} == {"jit(sample)/jit(main)/argmax"}
    for entry in space.planes[0].event_metadata:
        entry.value.name = entry.value.name.replace("jit_sample", "jit_other")
    profile = read(tmp_path, space.SerializeToString())
    assert profile.programs_without_hlo == ("jit_sample(8)",)


def test_what_the_profiler_says_about_itself_is_kept(tmp_path: Path) -> None:
    space = XSpace.FromString(tpu_xspace(model_runs(steps=1)))
    space.warnings.append("trace buffer was full")
    space.errors.append("x" * 10_000)
    space.planes[0].stat_metadata.add(key=90).value.name = "dropped_traces"
    space.planes[0].stats.add(metadata_id=90, uint64_value=17)
    plane = space.planes.add(name="/host:metadata")
    plane.stat_metadata.add(key=1).value.name = "jax_version"
    plane.stats.add(metadata_id=1, str_value="0.12.0")
    profile = read(tmp_path, space.SerializeToString())
    assert profile.dropped == 17
    assert profile.notes[1] == "trace buffer was full"
    assert len(profile.notes[0]) == 500
    assert profile.versions == {"jax": "0.12.0"}


@pytest.mark.parametrize("build", [tpu_xspace, cpu_xspace])
def test_a_profile_without_ops_is_refused_with_its_planes(tmp_path: Path, build: object) -> None:
    space = XSpace()
    space.planes.add(name="/host:CPU").lines.add(name="python", timestamp_ns=1)
    with pytest.raises(ProfileError, match=r"no XLA ops among its planes \(/host:CPU\)"):
        read(tmp_path, space.SerializeToString())


def test_impossible_times_are_refused(tmp_path: Path) -> None:
    space = XSpace.FromString(cpu_xspace(model_runs(steps=1)))
    space.planes[1].lines[0].events[0].duration_ps = -5
    with pytest.raises(ProfileError, match="negative or longer than eleven days"):
        read(tmp_path, space.SerializeToString())


def with_neighbours(data: bytes, count: int) -> bytes:
    """A TPU profile with what else such files hold: asynchronous ops on a line of their own, a SparseCore's plane, the host's events."""
    space = XSpace.FromString(data)
    plane = space.planes[0]
    ops = next(line for line in plane.lines if line.name == "XLA Ops")
    overlapping = plane.lines.add(id=90, name="Async XLA Ops", timestamp_ns=ops.timestamp_ns)
    sparse = space.planes.add(name="/device:TPU:0 SparseCore 0")
    sparse.event_metadata.extend(plane.event_metadata)
    sparse.stat_metadata.extend(plane.stat_metadata)
    line = sparse.lines.add(id=1, name="XLA Ops", timestamp_ns=ops.timestamp_ns)
    host = PlaneBuilder(space, "/host:CPU")
    for index in range(count):
        overlapping.events.add().CopyFrom(ops.events[index % len(ops.events)])
        line.events.add().CopyFrom(ops.events[index % len(ops.events)])
        host.event(host.line("python"), host.event_id("function"), float(index), 0.5)
    found: bytes = space.SerializeToString()
    return found


def test_asynchronous_ops_and_sparse_cores_are_not_counted_twice(tmp_path: Path) -> None:
    data = tpu_xspace(model_runs(steps=5), devices=2)
    alone, among = read(tmp_path, data), read(tmp_path, with_neighbours(data, 200))
    assert [device.name for device in among.devices] == ["/device:TPU:0", "/device:TPU:1"]
    assert self_times(among) == self_times(alone)
    np.testing.assert_array_equal(find_steps(among).category_ms, find_steps(alone).category_ms)


def test_a_chips_peaks_and_an_ops_work_are_read_and_damage_in_them_is_ignored(tmp_path: Path) -> None:
    space = XSpace.FromString(tpu_xspace(model_runs(steps=5, jitter=False)))
    builder = PlaneBuilder(space, "/device:TPU:0")
    builder.plane.stats.add(metadata_id=builder.stat_id("peak_teraflops_per_second"), double_value=2.0)
    builder.plane.stats.add(metadata_id=builder.stat_id("peak_hbm_bw_gigabytes_per_second"), double_value=100.0)
    scopes = {entry.key: entry.value.name for entry in builder.plane.stat_metadata}
    flops, breakdown, scope_id = (builder.stat_id(name) for name in ("flops", "memory_access_breakdown", "tf_op"))
    on_hbm, on_chip = b"\x0a\x07\x08\x01\x10\x01\x18\xb8\x17", b"\x0a\x07\x08\x02\x10\x03\x18\xf4\x03"  # 3000 and 500 bytes
    for entry in builder.plane.event_metadata:
        stats = entry.value.stats
        scope = next((scopes[stat.ref_value] for stat in stats if stat.metadata_id == scope_id), "")
        stats.add(metadata_id=flops, uint64_value=60_000_000 if "/mlp/" in scope else 2**63)
        stats.add(metadata_id=breakdown, bytes_value=on_hbm + on_chip if "/mlp/" in scope else b"\x0a\xff\xff")
    path = tmp_path / "host.xplane.pb"
    path.write_bytes(space.SerializeToString())
    rates = summarise(path).phases["all"]["rates"]
    assert set(rates) == {"mlp"}
    assert rates["mlp"]["tflops_per_s"] == pytest.approx(1.0)  # 60 MFLOP in 60 us
    assert rates["mlp"]["of_peak_flops"] == pytest.approx(0.5)
    assert rates["mlp"]["hbm_gb_per_s"] == pytest.approx(0.05)
    assert rates["mlp"]["of_peak_hbm"] == pytest.approx(0.0005)


@pytest.mark.slow
@pytest.mark.parametrize("platform", ["cpu", "tpu"])
def test_memory_does_not_grow_with_events_kept_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    monkeypatch.setattr(columns, "CHUNK_BYTES", 1 << 14)
    peaks = []
    for noise in (3_000, 30_000):
        path = tmp_path / f"{noise}.xplane.pb"
        runs = model_runs(steps=4)
        path.write_bytes(cpu_xspace(runs, noise=noise) if platform == "cpu" else with_neighbours(tpu_xspace(runs), noise))
        read_profile(path)
        tracemalloc.start()
        read_profile(path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.02


@pytest.mark.slow
def test_self_times_of_the_real_tpu_file_equal_the_oracle() -> None:
    path = shared_data(TPU_FILE)
    profile = read_profile(path)
    assert self_times(profile) == raw_self_time(tpu_ops(path))
    assert (profile.device_type, len(profile.devices), profile.host.compilations) == ("TPU v6 Lite", 4, 4)


@pytest.mark.slow
def test_self_times_of_a_jax_profile_equal_the_oracle(jax_profile: Path) -> None:
    found, expected = self_times(read_profile(jax_profile)), raw_self_time(cpu_ops(jax_profile))
    # Nested late ops are the one case in which the two definitions part: the oracle takes the whole child off its parent.
    assert found == expected
    assert len(found) > 20


@pytest.mark.slow
def test_a_profile_of_jax_0_12_is_read_like_one_of_the_installed_jax(tmp_path: Path, jax_profile: Path) -> None:
    """The file was made by tests/profiles/jax_model.py under JAX 0.12.0.1 (6 steps); only the host's name was taken out."""
    packed = Path(__file__).parent / "data" / "jax_0_12_cpu.xplane.pb.gz"
    path = tmp_path / "host.xplane.pb"
    path.write_bytes(gzip.decompress(packed.read_bytes()))
    newer, installed = read_profile(path), read_profile(jax_profile)
    assert newer.versions["jax"] == "0.12.0.1" and installed.versions["jax"] != newer.versions["jax"]
    assert self_times(newer) == raw_self_time(cpu_ops(path))
    assert newer.programs_without_hlo == ()
    steps = find_steps(newer)
    assert (steps.program, len(steps.period_ms)) == ("jit_step_fun", 6)
    of_step = [{key.category for key in find_steps(profile).scopes} for profile in (newer, installed)]
    assert of_step[0] == of_step[1] >= {Category.KV_WRITE, Category.ATTENTION, Category.PROJECTION, Category.MLP, Category.SAMPLING}
    assert len(newer.host.markers) == 6


def test_the_mangled_file_gets_one_clear_line() -> None:
    path = shared_data("profiles/mangled.xplane.pb")
    with pytest.raises(ProfileError, match="looks converted to UTF-8 text") as caught:
        read_profile(path)
    assert "\n" not in str(caught.value)

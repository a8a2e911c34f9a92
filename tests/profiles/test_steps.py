"""Steps: where they begin, that nothing of their time is lost, and that the categories are the oracle's."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from profiles.classify import CATEGORIES, Category, classify
from profiles.errors import ProfileError
from profiles.reader import read_profile
from profiles.steps import Steps, find_steps
from tests.oracles.raw_totals import cpu_ops, parts, with_traced_bodies
from tests.oracles.xspace import XSpace
from tests.profiles.builder import Op, Run, cpu_xspace, later, model_runs, tpu_xspace
from tests.profiles.conftest import STEPS
from tests.profiles.self_times import TPU_FILE
from tests.shared_data import shared_data


def steps_of(tmp_path: Path, data: bytes) -> Steps:
    path = tmp_path / "host.xplane.pb"
    path.write_bytes(data)
    return find_steps(read_profile(path))


def add_up(steps: Steps) -> None:
    np.testing.assert_allclose(steps.category_ms.sum(axis=0), steps.period_ms, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(steps.scope_ms.sum(axis=0), steps.category_ms[:-3].sum(axis=0) + steps.category_ms[-1], rtol=1e-9, atol=1e-9)
    assert steps.category_ms.min() >= -1e-9


@pytest.mark.parametrize("build", ["tpu", "cpu"])
def test_known_durations_come_back(tmp_path: Path, build: str) -> None:
    runs = model_runs(steps=5, jitter=False)
    steps = steps_of(tmp_path, tpu_xspace(runs, stretch=1.5) if build == "tpu" else cpu_xspace(runs, noise=50))
    assert (steps.program, len(steps.period_ms), steps.closed.tolist()) == ("jit_step_fun", 5, [True] * 4 + [False])
    add_up(steps)
    expected = {
        Category.KV_WRITE: 24.0,
        Category.ATTENTION: 80.0,
        Category.MLP: 120.0,
        Category.NORM: 10.0,
        Category.SAMPLING: 9.0,
        Category.IDLE: 7.0,  # one microsecond after each op but the last
        Category.HOST_GAP: 5.0 + 30.0,  # before and after sampling
    }
    for category in CATEGORIES:
        np.testing.assert_allclose(steps.category(category)[:-1] * 1000, expected.get(category, 0.0), atol=1e-6)
    np.testing.assert_allclose(steps.period_ms[:-1] * 1000, sum(expected.values()))
    np.testing.assert_allclose(steps.span_ms * 1000, 241.0)


def test_threads_that_run_at_once_share_the_time(tmp_path: Path) -> None:
    once = Run(
        "jit_f",
        1,
        0,
        [
            Op("dot.1", 0.0, 10.0, "jit(f)/mlp/dot", thread="tf_XLAEigen/1"),
            Op("dot.2", 4.0, 12.0, "jit(f)/qkv_proj/dot", thread="tf_XLAEigen/2"),
        ],
    )
    runs = [run for index in range(3) for run in later([once], 20.0 * index, runs_by=index)]
    steps = steps_of(tmp_path, cpu_xspace(runs))
    add_up(steps)
    np.testing.assert_allclose(steps.category(Category.MLP) * 1000, 4 + 3)
    np.testing.assert_allclose(steps.category(Category.PROJECTION) * 1000, 3 + 6)


@pytest.mark.parametrize(("build", "loops"), [("cpu", Category.LOOP_CONTROL), ("tpu", Category.KV_WRITE)])
def test_what_a_loop_does_not_spend_in_its_traced_body_is_loop_control_on_a_cpu(tmp_path: Path, build: str, loops: Category) -> None:
    """`while.2` shows no body: it was compiled to one kernel, and all of its time is work."""
    write = "jit(f)/self_attn/tuner_kv_write_token/while"
    kind = "while" if build == "tpu" else "loop fusion"
    once = Run(
        "jit_f",
        1,
        0,
        [
            Op("while.1", 0.0, 10.0, write, kind),
            Op("fusion.1", 1.0, 2.0, f"{write}/body/dynamic_update_slice"),
            Op("fusion.1", 5.0, 2.0, f"{write}/body/dynamic_update_slice"),
            Op("while.2", 10.0, 5.0, "jit(f)/mlp/while", kind),
        ],
    )
    runs = [run for index in range(3) for run in later([once], 20.0 * index, runs_by=index)]
    steps = steps_of(tmp_path, cpu_xspace(runs) if build == "cpu" else tpu_xspace(runs))
    add_up(steps)
    times = {Category.KV_WRITE: 4.0, Category.MLP: 5.0}
    times[loops] = times.get(loops, 0.0) + 6.0
    for category in (Category.KV_WRITE, Category.MLP, Category.LOOP_CONTROL):
        np.testing.assert_allclose(steps.category(category) * 1000, times.get(category, 0.0), atol=1e-6)


def test_a_pause_is_not_a_step(tmp_path: Path) -> None:
    runs = model_runs(steps=8, gap_us=20.0)
    steps = steps_of(tmp_path, tpu_xspace([*runs, *later(runs, 200_000.0, runs_by=50)]))
    assert np.flatnonzero(~steps.closed).tolist() == [7, 15]


def test_shapes_tell_compiled_programs_apart(tmp_path: Path) -> None:
    runs = model_runs(steps=2)
    assert steps_of(tmp_path, cpu_xspace([*runs, *later(runs, 1000.0, runs_by=9, programs_by=10)])).shape.tolist() == [0, 0, 1, 1]


def test_devices_are_averaged_and_an_odd_one_is_named(tmp_path: Path) -> None:
    space = XSpace.FromString(tpu_xspace(model_runs(steps=4), devices=3))
    for event in space.planes[1].lines[1].events:
        for stat in event.stats:
            stat.uint64_value *= 3
    for line in space.planes[2].lines:
        del line.events[len(line.events) // 2 :]
    steps = steps_of(tmp_path, space.SerializeToString())
    one = steps_of(tmp_path, tpu_xspace(model_runs(steps=4)))
    assert (steps.devices, steps.unequal_devices) == (2, ("/device:TPU:2",))
    np.testing.assert_allclose(steps.period_ms, 2 * one.period_ms)


def test_ops_outside_any_program_are_no_step(tmp_path: Path) -> None:
    space = XSpace.FromString(tpu_xspace(model_runs(steps=2)))
    space.planes[0].lines[0].ClearField("events")
    with pytest.raises(ProfileError, match="inside a program"):
        steps_of(tmp_path, space.SerializeToString())


def test_the_real_tpu_file_adds_up() -> None:
    steps = find_steps(read_profile(shared_data(TPU_FILE)))
    add_up(steps)
    assert (steps.program, steps.clock, steps.devices, len(steps.period_ms)) == ("jit_f", "device", 4, 100)


@pytest.mark.slow
def test_a_jax_profile_adds_up_and_equals_the_oracle(jax_profile: Path) -> None:
    profile = read_profile(jax_profile)
    steps = find_steps(profile)
    add_up(steps)
    assert (steps.program, len(steps.period_ms), steps.shape.max()) == ("jit_step_fun", STEPS, 0)
    kinds = {(kind.program_id, kind.name): kind for kind in profile.op_types}
    raw = cpu_ops(jax_profile)
    first = round(steps.start_ms[0] * 1e9)
    inside = [op for op in raw if op.start >= first]
    assert all(op.end <= first for op in raw if op.start < first)
    expected: dict[Category, float] = defaultdict(float)
    containers = {key for key, kind in kinds.items() if kind.container}
    loops = with_traced_bodies(raw, containers)
    for key, time in parts(inside, containers).items():
        kind = kinds[key]
        category, _ = classify(kind.scope, kind.context, kind.hlo_category, kind.module)
        expected[Category.LOOP_CONTROL if key in loops else category] += time / 1e9
    for category in CATEGORIES[:-3]:
        assert steps.category(category).sum() == pytest.approx(expected[category], rel=1e-6, abs=1e-9)
    for category in (Category.KV_WRITE, Category.ATTENTION, Category.PROJECTION, Category.MLP, Category.NORM, Category.SAMPLING):
        assert expected[category] > 0

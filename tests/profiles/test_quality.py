"""Each doubt about a profile, planted and found; and a good profile without any."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from profiles.summary import Summary, summarise
from tests.oracles.xspace import XSpace
from tests.profiles.builder import Op, PlaneBuilder, Run, cpu_xspace, model_runs, tpu_xspace
from tests.profiles.summaries import MARKERS


def summary(tmp_path: Path, data: bytes, **options: Any) -> Summary:
    path = tmp_path / "host.xplane.pb"
    path.write_bytes(data)
    return summarise(path, **options)


def problems(tmp_path: Path, data: bytes, **options: Any) -> list[str]:
    return list(summary(tmp_path, data, **options).quality["problems"])


def slowed(runs: list[Run], first: int, factor: float) -> list[Run]:
    """From run `first` on, everything takes `factor` times as long."""
    origin = min(op.start_us for op in runs[first].ops)
    changed = [
        Run(
            r.module,
            r.program_id,
            r.run_id,
            [Op(o.name, origin + (o.start_us - origin) * factor, o.duration_us * factor, o.scope) for o in r.ops],
        )
        for r in runs[first:]
    ]
    return [*runs[:first], *changed]


@pytest.mark.parametrize("build", [tpu_xspace, cpu_xspace])
def test_a_good_profile_has_no_problem(tmp_path: Path, build: Any) -> None:
    found = summary(tmp_path, build(model_runs(steps=9), markers=MARKERS), planned_phases=["prefill"])
    assert found.quality["problems"] == ()
    assert (found.quality["ok"], found.quality["retry"], found.quality["attributed"]) == (True, False, 1.0)
    assert found.quality["phase_steps"] == {"prefill": 8}


def test_a_compilation_inside_and_a_missing_phase(tmp_path: Path) -> None:
    data = cpu_xspace(model_runs(steps=9), markers=[*MARKERS, (5.0, "backend_compile_and_load")])
    found = summary(tmp_path, data, planned_phases=["prefill", "decode"])
    assert list(found.quality["problems"]) == ["compiled", "phases_missing"]
    assert (found.quality["compilations"], found.quality["missing_phases"], found.quality["retry"]) == (1, ("decode",), True)


def test_dropped_events_by_counter_and_by_warning(tmp_path: Path) -> None:
    space = XSpace.FromString(tpu_xspace(model_runs(steps=9)))
    space.warnings.append("Dropped 5 events")
    assert problems(tmp_path, space.SerializeToString()) == ["dropped_events"]


def test_dropped_events_by_the_profilers_own_count(tmp_path: Path) -> None:
    space = XSpace.FromString(tpu_xspace(model_runs(steps=9)))
    PlaneBuilder(space, "/device:TPU:0").set(space.planes[0].stats.add(), "dropped_traces", 17)
    found = summary(tmp_path, space.SerializeToString())
    assert list(found.quality["problems"]) == ["dropped_events"] and found.quality["dropped_events"] == 17


def test_a_device_that_ran_other_steps(tmp_path: Path) -> None:
    space = XSpace.FromString(tpu_xspace(model_runs(steps=9), devices=3))
    modules, ops = space.planes[2].lines
    del modules.events[8:], ops.events[36:]  # four whole steps of two programs and nine ops
    assert problems(tmp_path, space.SerializeToString()) == ["devices_differ"]


def test_a_run_that_lost_ops(tmp_path: Path) -> None:
    runs = model_runs(steps=9)
    del runs[4].ops[3:]
    assert problems(tmp_path, tpu_xspace(runs)) == ["incomplete_steps"]


def test_too_few_steps(tmp_path: Path) -> None:
    assert problems(tmp_path, tpu_xspace(model_runs(steps=3))) == ["few_steps"]
    assert problems(tmp_path, tpu_xspace(model_runs(steps=1))) == ["few_steps"]


def test_steps_that_become_slower(tmp_path: Path) -> None:
    found = summary(tmp_path, tpu_xspace(slowed(model_runs(steps=12), 12, 1.5)))
    assert list(found.quality["problems"]) == ["unsteady"]
    assert found.quality["drift"] == pytest.approx(1.5, rel=0.05)


def test_steps_of_other_batches_are_no_drift(tmp_path: Path) -> None:
    markers = [(at, f"execute_model: 1 reqs, {100 if index < 6 else 900} toks") for index, (at, _) in enumerate(MARKERS * 2)]
    starts = [min(op.start_us for op in run.ops) for run in slowed(model_runs(steps=12), 12, 1.5)[::2]]
    timed = [(start, text) for start, (_, text) in zip(starts, markers, strict=False)]
    assert "unsteady" not in problems(tmp_path, tpu_xspace(slowed(model_runs(steps=12), 12, 1.5), markers=timed))


def test_clocks_that_disagree(tmp_path: Path) -> None:
    found = summary(tmp_path, tpu_xspace(model_runs(steps=9), stretch=1.05))
    assert list(found.quality["problems"]) == ["clock_skew"]
    assert found.quality["clock_skew"] == pytest.approx(0.05, abs=1e-3)


def test_time_without_a_category(tmp_path: Path) -> None:
    runs = model_runs(steps=9)
    for run in runs:
        run.ops[:] = [Op(op.name, op.start_us, op.duration_us, op.scope.replace("mlp", "mystery")) for op in run.ops]
    assert problems(tmp_path, tpu_xspace(runs)) == ["unattributed"]


def test_a_join_that_cannot_be_right(tmp_path: Path) -> None:
    scattered = [(index**4 * 10.0, text) for index, (_, text) in enumerate(MARKERS)]
    assert problems(tmp_path, tpu_xspace(model_runs(steps=9), markers=scattered)) == ["join_doubtful"]

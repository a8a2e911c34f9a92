"""Profiles of tpu-inference's phased profiler: its batch compositions are joined to the steps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from profiles.links import profile_files_at, session_folder
from profiles.phased import records_beside
from profiles.summary import summarise
from tests.plugins.programs import Programs
from tests.profiles.builder import model_runs, tpu_xspace


def phased(tmp_path: Path, steps: int = 9, rank: int = 0) -> Path:
    """As the profiler leaves it: one file more than traced steps."""
    folder = session_folder(tmp_path, "prefill_heavy", "2026_11_26_12_00_00")
    folder.mkdir(parents=True, exist_ok=True)
    beside = tmp_path / "prefill_heavy" / f"dp_rank_{rank}"
    beside.mkdir()
    for index in range(steps + 1):
        stats = {"total_num_scheduled_tokens": 100 + index, "num_prefill_tokens": 98 + index, "num_decode_tokens": 2, "num_reqs": 3}
        name = f"batch_composition_stats_2026_11_26_12_00_00_{index * 280:06d}.json"
        (beside / name).write_text(json.dumps({**stats, "padded_total_num_scheduled_tokens": 128}))
    path = folder / "host.xplane.pb"
    path.write_bytes(tpu_xspace(model_runs(steps=steps)))
    return path


def test_each_traced_step_gets_its_batch(tmp_path: Path) -> None:
    found = summarise(phased(tmp_path))
    assert found.quality["problems"] == () and found.quality["join"] == "count"
    assert found.steps["scheduled_tokens"] == [100 + index for index in range(9)]
    assert (found.steps["padded_tokens"][0], found.steps["prefill_requests"][0], found.steps["decode_requests"][0]) == (128, 1, 2)
    assert set(found.phases) == {"all", "prefill"}


def test_what_cannot_be_joined_is_left_alone(tmp_path: Path) -> None:
    path = phased(tmp_path)
    broken = sorted((tmp_path / "prefill_heavy" / "dp_rank_0").iterdir())[3]
    for content in ("", "[]", '{"num_reqs": "many"}', "\x00"):
        broken.write_text(content)
        assert records_beside(path) == []
        assert summarise(path).quality["join"] == "none"
    assert records_beside(tmp_path / "alone.xplane.pb") == []


def test_files_of_several_ranks_are_not_mixed(tmp_path: Path) -> None:
    path = phased(tmp_path)
    assert len(records_beside(path)) == 9
    phased(tmp_path, rank=1)
    assert records_beside(path) == []


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_tpu_inference_really_writes_is_joined(programs: Programs, tmp_path: Path) -> None:
    programs.run("tests.profiles.phased_model", str(tmp_path / "phased"))
    (path,) = profile_files_at(tmp_path / "phased" / "prefill_heavy")
    found = summarise(path)
    assert len(found.steps["period_ms"]) == 15 and found.quality["join"] == "count"
    assert found.steps["padded_tokens"] == [32 + 8 * (step % 3) for step in range(3, 18)]
    assert found.phases["prefill"]["batch"]["requests"] == 3

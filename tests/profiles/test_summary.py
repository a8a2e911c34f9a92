"""The summary of a profile: numbers that add up, JSON that comes back, files that are whole or absent."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from profiles.classify import CATEGORIES, RULES_VERSION
from profiles.errors import ProfileError
from profiles.session_plan import StepComposition
from profiles.summary import load_or_summarise, read_summary, summarise, summary_path, write_summary
from tests.profiles.builder import Op, Run, cpu_xspace, later, model_runs, tpu_xspace

RECORDS = [StepComposition(100 + index, 128, 100 if index % 2 else 0, 1, index, 2.0 + index * 300e-6) for index in range(8)]


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    path = tmp_path / "host.xplane.pb"
    path.write_bytes(tpu_xspace(model_runs(steps=8)))
    return path


def test_categories_add_up_and_phases_are_means(profile: Path) -> None:
    found = summarise(profile, records=RECORDS, settings={"block_size": 32, "arm": "default"})
    total = np.sum([found.categories_ms[category] for category in CATEGORIES], axis=0)
    np.testing.assert_allclose(total, found.steps["period_ms"], rtol=0.01)
    assert found.steps["phase"] == ["decode", "prefill"] * 4
    assert set(found.phases) == {"all", "prefill", "decode"}
    prefill = found.phases["prefill"]
    assert prefill["steps"] == 3  # the last step is not closed
    mask = found.mask("prefill")
    assert prefill["categories_ms"]["mlp"] == pytest.approx(np.array(found.categories_ms["mlp"])[mask].mean())
    assert sum(prefill["share"].values()) == pytest.approx(1.0, abs=1e-3)
    assert prefill["batch"]["scheduled_tokens"] == pytest.approx(np.mean([101, 103, 105]))
    assert found.block_size == 32


def test_scopes_fold_layers_and_hold_all_named_time(profile: Path) -> None:
    found = summarise(profile)
    assert ("mlp", "step_fun/layers.*/mlp") in {(scope["category"], scope["scope"]) for scope in found.scopes}
    assert not any("layers.0" in scope["scope"] for scope in found.scopes)
    named = np.sum([scope["ms"] for scope in found.scopes], axis=0)
    gaps = np.array(found.categories_ms["host_gap"]) + np.array(found.categories_ms["idle"])
    np.testing.assert_allclose(named + gaps, found.steps["period_ms"], rtol=0.01)


def test_without_records_or_markers_nothing_is_said_about_batches(profile: Path) -> None:
    found = summarise(profile)
    assert set(found.phases) == {"all"}
    assert found.phases["all"]["batch"] is None
    assert found.steps["scheduled_tokens"] == [None] * 8
    assert found.quality["join"] == "none"


def test_a_summary_is_written_whole_and_comes_back(profile: Path) -> None:
    found = summarise(profile, records=RECORDS)
    path = write_summary(found, profile)
    assert path == profile.parent / "host.summary.json" == summary_path(profile)
    assert json.loads(path.read_text())["rules_version"] == RULES_VERSION
    assert json.dumps(read_summary(path).to_json()) == json.dumps(found.to_json())
    assert [each.name for each in profile.parent.iterdir() if each.name.startswith(".")] == []
    brief = found.brief()
    assert "steps" not in brief and brief["phases"] == found.phases
    assert len(json.dumps(brief)) < 8000


def test_a_summary_that_cannot_be_written_says_where(profile: Path, tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="cannot be written"):
        write_summary(summarise(profile), tmp_path / "missing" / "host.xplane.pb")


@pytest.mark.parametrize(
    "content",
    ["", "[]", "null", "{}", '{"format": 1}', '{"format": 1, "surprise": 2}', "\x00"],
)
def test_a_broken_summary_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "host.summary.json"
    path.write_text(content)
    with pytest.raises(ProfileError, match="not a profile summary"):
        read_summary(path)


def test_arrays_of_different_lengths_and_other_formats_are_refused(profile: Path) -> None:
    path = write_summary(summarise(profile), profile)
    raw = json.loads(path.read_text())
    raw["categories_ms"]["mlp"].pop()
    path.write_text(json.dumps(raw))
    with pytest.raises(ProfileError, match="not a profile summary"):
        read_summary(path)
    path.write_text(json.dumps({**raw, "format": 99}))
    with pytest.raises(ProfileError, match="format 99"):
        read_summary(path)
    with pytest.raises(ProfileError, match="cannot be read"):
        read_summary(profile.parent / "none.summary.json")


def test_a_summary_by_other_rules_is_made_again_with_its_batches(profile: Path) -> None:
    fresh = summarise(profile, records=RECORDS, settings={"arm": "default"})
    write_summary(replace(fresh, rules_version="1900.01-1", program="outdated"), profile)
    again = load_or_summarise(profile)
    assert (again.rules_version, again.program, again.settings) == (RULES_VERSION, "jit_step_fun", {"arm": "default"})
    assert again.steps["scheduled_tokens"] == fresh.steps["scheduled_tokens"]
    write_summary(replace(fresh, program="kept"), profile)
    assert load_or_summarise(profile).program == "kept"


def test_a_kernel_that_writes_the_cache_itself_is_reported_with_its_page_size(tmp_path: Path) -> None:
    kernel = "RPA-HD_128-p_64-bq_8-bkv_128"
    scope = f"jit(step)/jit(main)/{kernel}"
    runs = [Run("jit_step", 3, index, [Op(kernel, index * 50.0, 40.0, scope, "custom-call")]) for index in range(5)]
    path = tmp_path / "host.xplane.pb"
    path.write_bytes(tpu_xspace(runs))
    found = summarise(path)
    assert found.block_size == 64
    assert found.phases["all"]["categories_ms"]["attention_fused_kv"] == pytest.approx(0.04)
    assert "cannot be told apart" in found.notes[0]


def test_a_note_says_what_loop_control_is(tmp_path: Path, profile: Path) -> None:
    ops = [Op("while.1", 0.0, 40.0, "jit(step)/mlp/while"), Op("fusion.1", 5.0, 10.0, "jit(step)/mlp/while/body/dot")]
    path = tmp_path / "loops.xplane.pb"
    path.write_bytes(cpu_xspace([run for index in range(5) for run in later([Run("jit_step", 3, 0, ops)], index * 50.0, runs_by=index)]))
    assert "tracer's own work" in summarise(path).notes[0]
    assert summarise(profile).notes == []

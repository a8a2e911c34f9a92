"""The difference of two profiles: a planted change is found where it is and nowhere else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from profiles.diff import Measured, diff
from profiles.errors import ProfileError
from profiles.summary import Summary
from tests.profiles.builder import cpu_xspace, tpu_xspace
from tests.profiles.summaries import summary


@pytest.mark.parametrize("build", [tpu_xspace, cpu_xspace])
@pytest.mark.parametrize(
    ("scope", "category", "folded"),
    [
        ("tuner_kv_write", "kv_write", "step_fun/layers.*/self_attn/tuner_kv_write_token"),
        ("mlp", "mlp", "step_fun/layers.*/mlp"),
        ("input_layernorm", "norm", "step_fun/layers.*/input_layernorm"),
    ],
)
def test_a_slower_scope_is_found_under_new_names_and_nowhere_else(
    tmp_path: Path, build: Any, scope: str, category: str, folded: str
) -> None:
    before = summary(tmp_path, "before", build=build)
    after = summary(tmp_path, "after", build=build, factor={scope: 1.2}, names="renamed_fusion", program_id=4711)
    found = diff([before], [after])
    assert found.comparable
    assert [row.category for row in found.categories if row.changed] == [category]
    assert [(row.category, row.scope) for row in found.scopes if row.changed] == [(category, folded)]
    (row,) = (row for row in found.categories if row.changed)
    assert row.ratio == pytest.approx(1.2, rel=1e-3)
    assert row.low_ms < row.difference_ms < row.high_ms
    assert all(abs(other.difference_ms) < 1e-5 for other in found.categories if other is not row)
    assert found.step.difference_ms == pytest.approx(row.difference_ms, abs=1e-5)


def test_the_same_profile_differs_nowhere(tmp_path: Path) -> None:
    same = summary(tmp_path, "same")
    found = diff([same], [same])
    assert not any(row.changed for row in (*found.categories, *found.scopes, found.step))
    assert json.dumps(found.to_json(), allow_nan=False)


def test_what_is_new_or_gone_has_no_ratio_but_a_difference(tmp_path: Path) -> None:
    before, after = summary(tmp_path, "before"), summary(tmp_path, "after", factor={"tuner_kv_write": 1e-9})
    found = diff([after], [before])
    kv = next(row for row in found.categories if row.category == "kv_write")
    assert kv.ratio is None and kv.changed and kv.difference_ms == pytest.approx(0.0246, rel=0.05)


@pytest.mark.slow
def test_categories_add_up_to_the_step_and_explain_a_measured_difference(tmp_path: Path) -> None:
    before, after = summary(tmp_path, "before"), summary(tmp_path, "after", factor={"mlp": 1.5}, gap_us=50.0)
    found = diff([before], [after], measured=Measured(10.0, 10.1))
    explained = found.explained
    assert sum(row.difference_ms for row in found.categories) == pytest.approx(found.step.difference_ms, abs=1e-5)
    assert explained.named_ms + explained.gaps_ms + explained.unattributed_ms == pytest.approx(explained.profiled_ms)
    assert explained.gaps_ms == pytest.approx(0.020, abs=1e-4)
    assert explained.measured_ms == pytest.approx(0.1)
    assert explained.share == pytest.approx(found.step.difference_ms / 0.1)
    assert explained.share is not None and explained.share_low is not None and explained.share_high is not None
    assert explained.share_low < explained.share < explained.share_high
    assert diff([before], [after], measured=Measured(10.0, 10.0)).explained.share is None


@pytest.mark.slow
def test_profile_sessions_of_one_arm_are_pooled(tmp_path: Path) -> None:
    one, two = summary(tmp_path, "one"), summary(tmp_path, "two", factor={"mlp": 1.2})
    pooled = diff([one, two], [one, two])
    assert pooled.baseline_steps == 30
    assert pooled.baseline_step_ms == pytest.approx((diff([one], [two]).baseline_step_ms + diff([one], [two]).candidate_step_ms) / 2)


@pytest.mark.slow
def test_another_page_size_or_device_is_refused_or_marked(tmp_path: Path) -> None:
    before, after = summary(tmp_path, "before"), summary(tmp_path, "after", block_size=64)
    with pytest.raises(ProfileError, match=r"page size differs \(32 and 64\).*--allow-different"):
        diff([before], [after])
    found = diff([before], [after], allow_different=True)
    assert found.caveats == ("page size differs (32 and 64)",)
    assert not found.comparable
    with pytest.raises(ProfileError, match="platform differs"):
        diff([before], [summary(tmp_path, "cpu", build=cpu_xspace)])
    with pytest.raises(ProfileError, match="rules version differs"):
        diff([before], [replace(before, rules_version="other")])


@pytest.mark.slow
def test_another_batch_composition_is_marked(tmp_path: Path) -> None:
    before = summary(tmp_path, "before")
    assert diff([before], [summary(tmp_path, "more", tokens=256)]).caveats == ("batch composition differs: tokens 128 against 256 a step",)
    assert diff([before], [summary(tmp_path, "near", tokens=136)]).caveats == ()
    assert "batch composition unknown" in diff([before], [summary(tmp_path, "none", records=False)]).caveats[0]


def test_doubtful_and_short_profiles_are_marked(tmp_path: Path) -> None:
    before, short = summary(tmp_path, "before"), summary(tmp_path, "short", steps=3)
    assert diff([before], [short]).caveats == ("candidate: fewer than 5 steps of phase all", "candidate: doubtful profile (few_steps)")


def test_a_phase_without_steps_and_a_side_without_profiles_are_refused(tmp_path: Path) -> None:
    one = summary(tmp_path, "one")
    with pytest.raises(ProfileError, match="no profiled step of phase 'decode'"):
        diff([one], [one], phase="decode")
    with pytest.raises(ProfileError, match="has none"):
        diff([], [one])


@pytest.mark.slow
def test_intervals_cover_a_true_difference_as_often_as_they_say(tmp_path: Path) -> None:
    template = summary(tmp_path, "template", steps=31)
    rng = np.random.default_rng(5)

    def noisy(mean: float) -> Summary:
        values = rng.normal(mean, 0.1, 31)
        zero = {category: [0.0] * 31 for category in template.categories_ms}
        return replace(
            template, categories_ms={**zero, "mlp": values.tolist()}, steps={**template.steps, "period_ms": values.tolist()}, scopes=[]
        )

    rounds = 150
    found = [diff([noisy(1.0)], [noisy(1.05)], resamples=400, seed=index).step for index in range(rounds)]
    covered = sum(row.low_ms <= 0.05 <= row.high_ms for row in found)
    assert 0.88 <= covered / rounds <= 0.99

"""Profiles of the real engine in each phase: attributed, adding up, equal to what an oracle recomputes from the raw planes.

The bars: at least 95 % of device time in a named category, categories and gaps together within 1 % of the step time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np
import pytest

from profiles.classify import CATEGORIES, GAPS, Category, classify
from profiles.diff import diff
from profiles.reader import read_profile
from profiles.session_plan import PHASES
from profiles.steps import find_steps
from profiles.summary import Summary, summarise
from tests.oracles.raw_totals import RawOp, cpu_ops, parts, with_traced_bodies
from tests.plugins.engine import RUN_TIMEOUT_S, Reference, SharedEngines
from tuner.core.contract import ARM_DEFAULT, ARM_PAGE_ALIGNED, LiveSettings, ProfileResult, ProfileTarget

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]

Results = Mapping[tuple[str, str], ProfileResult]
EVERY = [(arm, phase) for arm in (ARM_DEFAULT, ARM_PAGE_ALIGNED) for phase in PHASES]
PAGE_SIZE = 32


@pytest.fixture(scope="module")
def profiles(engines: SharedEngines, reference: Reference, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Both arms in each phase, in the engine that the other tests of this page size share."""
    session, logdir = engines(PAGE_SIZE), tmp_path_factory.mktemp("logs")
    found = {}
    for arm in (ARM_DEFAULT, ARM_PAGE_ALIGNED):
        live = LiveSettings(arm, 128)
        session.warm_up(live, reference.plan, RUN_TIMEOUT_S)
        for phase in PHASES:
            target = ProfileTarget(logdir, run=arm, session=phase)
            (found[arm, phase],) = session.profile(live, reference.plan, target, phase=phase, timeout_s=RUN_TIMEOUT_S)
    return found


def explained(profile: ProfileResult) -> Summary:
    return summarise(profile.path, records=profile.steps, settings={"block_size": PAGE_SIZE}, planned_phases=[profile.phase])


@pytest.mark.parametrize(("arm", "phase"), EVERY)
def test_time_is_attributed_and_adds_up(profiles: Results, arm: str, phase: str) -> None:
    summary = explained(profiles[arm, phase])
    assert summary.quality["attributed"] >= 0.95
    total = np.sum(list(summary.categories_ms.values()), axis=0)
    np.testing.assert_allclose(total, summary.steps["period_ms"], rtol=0.01)
    assert set(summary.quality["problems"]) <= {"unsteady"}, summary.quality  # a shared machine is not steady
    assert summary.quality["join"] == "count"
    assert set(summary.phases) == {"all", phase}
    batch = summary.phases[phase]["batch"]
    assert batch is not None and batch["scheduled_tokens"] > 0


@pytest.mark.parametrize(("arm", "phase"), EVERY)
def test_totals_are_the_oracles(profiles: Results, arm: str, phase: str) -> None:
    """By another parser and another algorithm. What ran before the first step is nobody's."""
    path = profiles[arm, phase].path
    profile = read_profile(path)
    steps = find_steps(profile)
    first = round(steps.start_ms[0] * 1e9)
    kinds = {(kind.program_id, kind.name): kind for kind in profile.op_types}
    expected: dict[Category, float] = defaultdict(float)
    inside = [later_part(op, first) for op in cpu_ops(path) if op.end > first]
    containers = {key for key, kind in kinds.items() if kind.container}
    loops = with_traced_bodies(cpu_ops(path), containers)
    for key, time in parts(inside, containers).items():
        kind = kinds[key]
        category, _ = classify(kind.scope, kind.context, kind.hlo_category, kind.module)
        expected[Category.LOOP_CONTROL if key in loops else category] += time / 1e9
    for category in CATEGORIES:
        if category not in GAPS:
            assert steps.category(category).sum() == pytest.approx(expected[category], rel=1e-6, abs=1e-9), category
    busy = sum(expected.values())
    assert busy > 0 and 1 - expected[Category.UNATTRIBUTED] / busy >= 0.95
    assert expected[Category.COLLECTIVE] == 0  # one device has nobody to talk to
    for category in (Category.KV_WRITE, Category.ATTENTION, Category.PROJECTION, Category.MLP, Category.NORM, Category.SAMPLING):
        assert expected[category] > 0, category


def later_part(op: RawOp, first: int) -> RawOp:
    return op if op.start >= first else RawOp(op.program_id, op.name, op.lane, first, op.end, op.run_id)


def test_the_write_that_an_arm_does_is_the_one_that_its_profile_shows(profiles: Results) -> None:
    found = diff(*([explained(profiles[arm, "decode"])] for arm in (ARM_DEFAULT, ARM_PAGE_ALIGNED)), phase="decode")
    times = {row.scope: (row.baseline_ms, row.candidate_ms) for row in found.scopes if row.category == Category.KV_WRITE}
    token = [pair for scope, pair in times.items() if scope is not None and "tuner_kv_write_token" in scope]
    page = [pair for scope, pair in times.items() if scope is not None and "tuner_kv_write_page" in scope]
    assert token and all(candidate == 0 for _, candidate in token)
    assert page and all(baseline == 0 for baseline, _ in page)

"""The launcher contract as tests (tuner/core/contract.py).

A subclass provides the fixtures `launcher`, `settings` (cold settings that start), `impossible_settings` (that do not), `live` (two live
settings that do different things: the second has the smaller chunk budget) and `plan`. Where starting an engine is dear, it overrides
`session` with a wider scope; the tests that end a session open their own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import pytest

from storage.records import Environment
from tuner.core.contract import EngineSession, EngineSettings, Launcher, LiveSettings, LoadPlan, ProfileTarget, WindowResult
from tuner.core.errors import BadInput, EngineLost, FailureClass, TrialFailed
from tuner.metrics.window import window_metrics

TIMEOUT_S = 120.0


def assert_plausible(window: WindowResult, plan: LoadPlan) -> None:
    """Every request of the plan once and complete, or none where the launcher reports metrics itself; nothing else about the numbers."""
    assert 0 < window.duration_s < TIMEOUT_S
    assert abs(time.time() - window.started_at) < TIMEOUT_S
    metrics = window_metrics(window)
    assert metrics
    assert all(map(math.isfinite, metrics.values()))
    if window.requests:
        assert [record.request_id for record in window.requests] == [request.request_id for request in plan.requests]
        for record, request in zip(window.requests, plan.requests, strict=True):
            assert record.error is None
            assert record.prompt_tokens == len(request.prompt_token_ids)
            assert len(record.token_times_s) == request.max_tokens
            assert record.planned_s <= record.sent_s <= record.token_times_s[0]
    else:
        assert window.reported_metrics
    assert all(step.duration_s > 0 and 0 <= step.scheduled_tokens <= step.padded_tokens for step in window.steps)


class LauncherContract:
    @pytest.fixture
    def session(self, launcher: Launcher, settings: EngineSettings) -> Iterator[EngineSession]:
        opened = launcher.open(settings, TIMEOUT_S)
        yield opened
        opened.close()

    def test_it_says_what_is_live(self, launcher: Launcher) -> None:
        assert launcher.name
        assert launcher.live_fields <= {item.name for item in fields(LiveSettings)}

    def test_the_report_names_the_engine_and_where_it_runs(self, session: EngineSession, settings: EngineSettings) -> None:
        report = session.report
        assert report.start_s >= 0
        assert report.effective["block_size"] == settings.block_size
        assert report.effective["max_num_batched_tokens"] == settings.max_num_batched_tokens
        environment = Environment(**report.environment)
        assert len(environment.fingerprint) == 64
        assert environment.device_count >= 1

    def test_a_window_is_plausible_after_warm_up_compiles_nothing_and_is_of_its_live_settings(
        self, launcher: Launcher, session: EngineSession, live: tuple[LiveSettings, LiveSettings], plan: LoadPlan
    ) -> None:
        large, small = live
        assert small.max_num_batched_tokens < large.max_num_batched_tokens
        windows = {}
        for together in [live] if launcher.live_fields else [(small,), (large,)]:  # where nothing is live, each change is another start
            for setting in together:
                warmed = session.warm_up(setting, plan, TIMEOUT_S)
                assert warmed["seconds"] >= 0
                assert warmed["compilations"] >= 0
            for setting in (*together, together[0]):
                windows[setting] = window = session.measure(setting, plan, TIMEOUT_S)
                assert window.compilations == 0
                assert_plausible(window, plan)
                assert all(step.scheduled_tokens <= setting.max_num_batched_tokens for step in window.steps)
        if windows[large].steps:
            assert max(step.scheduled_tokens for step in windows[large].steps) > small.max_num_batched_tokens
        else:
            assert window_metrics(windows[large]) != window_metrics(windows[small])

    def test_an_unknown_arm_is_refused_and_the_engine_lives_on(
        self, session: EngineSession, live: tuple[LiveSettings, LiveSettings], plan: LoadPlan
    ) -> None:
        with pytest.raises((BadInput, TrialFailed), match="arm") as caught:
            session.measure(replace(live[0], arm="sideways"), plan, TIMEOUT_S)
        assert "\n" not in str(caught.value)
        assert_plausible(session.measure(live[0], plan, TIMEOUT_S), plan)

    def test_a_budget_above_the_compiled_maximum_is_refused_and_the_engine_lives_on(
        self, session: EngineSession, settings: EngineSettings, live: tuple[LiveSettings, LiveSettings], plan: LoadPlan
    ) -> None:
        too_much = replace(live[0], max_num_batched_tokens=2 * settings.max_num_batched_tokens)
        with pytest.raises(TrialFailed) as caught:
            session.measure(too_much, plan, TIMEOUT_S)
        assert caught.value.failure is FailureClass.INVALID_CONFIG
        assert_plausible(session.measure(live[0], plan, TIMEOUT_S), plan)

    def test_a_profile_is_in_tensorboards_layout_or_absent(
        self, session: EngineSession, live: tuple[LiveSettings, LiveSettings], plan: LoadPlan, tmp_path: Path
    ) -> None:
        for phase in session.profile_phases:
            target = ProfileTarget(tmp_path, "study/trial-0001", f"session-{phase}")
            (profile, *_) = session.profile(live[0], plan, target, phase=phase, timeout_s=TIMEOUT_S)
            assert profile.phase == phase
            assert profile.path.parent == tmp_path / "study/trial-0001" / "plugins" / "profile" / f"session-{phase}"
            assert profile.path.stat().st_size == profile.size_bytes > 0
        assert not (tmp_path / ".partial").exists(), "nothing is left half done"
        assert_plausible(session.measure(live[0], plan, TIMEOUT_S), plan)

    def test_settings_that_cannot_start_fail_typed_and_a_closed_session_is_lost(
        self,
        launcher: Launcher,
        settings: EngineSettings,
        impossible_settings: EngineSettings,
        live: tuple[LiveSettings, LiveSettings],
        plan: LoadPlan,
        tmp_path: Path,
    ) -> None:
        with pytest.raises((BadInput, TrialFailed)) as caught:
            launcher.open(impossible_settings, TIMEOUT_S)
        assert "\n" not in str(caught.value)
        session = launcher.open(settings, TIMEOUT_S)
        phase = next(iter(session.profile_phases), "all")
        session.close()
        session.close()
        with pytest.raises(EngineLost):
            session.measure(live[0], plan, TIMEOUT_S)
        with pytest.raises(EngineLost):
            session.warm_up(live[0], plan, TIMEOUT_S)
        with pytest.raises(EngineLost):
            session.profile(live[0], plan, ProfileTarget(tmp_path, "run", "session"), phase=phase, timeout_s=TIMEOUT_S)

    def test_another_session_can_follow_and_a_measurement_over_its_time_is_a_time_out(
        self, launcher: Launcher, settings: EngineSettings, live: tuple[LiveSettings, LiveSettings], plan: LoadPlan
    ) -> None:
        session = launcher.open(settings, TIMEOUT_S)
        try:
            assert session.report.effective["block_size"] == settings.block_size
            with pytest.raises(TrialFailed) as caught:
                session.measure(live[0], plan, timeout_s=0.001)
            assert caught.value.failure is FailureClass.TIMEOUT
        finally:
            session.close()

    def test_a_launcher_may_be_closed_twice(self, launcher: Launcher, settings: EngineSettings) -> None:
        launcher.open(settings, TIMEOUT_S).close()
        launcher.close()
        launcher.close()
        assert launcher.name

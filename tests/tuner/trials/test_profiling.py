"""Profile sessions of trials: one for each phase, explained and stored, the bad ones marked and tried once more."""

from __future__ import annotations

from dataclasses import replace

import pytest

from profiles.summary import read_summary, summary_path
from storage.records import Profile, Trial
from tests.profiles.builder import model_runs, tpu_xspace
from tests.tuner.fake_engine import FakeLauncher, crash, small_xspace, step_records
from tests.tuner.workbench import Workbench
from tuner.core.contract import WindowResult
from tuner.core.errors import FailureClass, TrialFailed
from tuner.setup.space import Configuration
from tuner.trials.profiling import run_name

PHASES = ("prefill", "decode", "mixed")


def profiles_of(bench: Workbench, launcher: FakeLauncher) -> list[Profile]:
    outcome = bench.run(launcher, page_sizes=[32], chunk_budgets=[256], profile="finalists")
    return list(bench.storage.list_profiles(study_id=outcome.study.id))


@pytest.mark.slow
def test_each_phase_is_a_session_with_its_summary_beside_it_and_in_sql(bench: Workbench) -> None:
    found = profiles_of(bench, FakeLauncher(profile_phases=PHASES))
    assert [profile.phase for profile in found] == [*PHASES, *PHASES] * 2, "two sessions of each phase of two finalists"
    assert len({(profile.run, profile.session) for profile in found}) == len(found)
    for profile in found:
        assert (profile.status, profile.quality["problems"], profile.quality["attempt"]) == ("ok", [], 1)
        assert profile.quality["phase_steps"] == {profile.phase: 8}
        file = bench.folder / "profiles" / profile.run / "plugins" / "profile" / profile.session / "host.xplane.pb"
        assert file.stat().st_size == profile.size_bytes
        beside = read_summary(summary_path(file))
        assert beside.settings["block_size"] == 32 and beside.block_size == 32
        assert profile.summary["phases"] == beside.phases
        assert set(beside.phases) == {"all", profile.phase}
        assert profile.summary["rules_version"] == beside.rules_version
        assert profile.session.removesuffix("-2").endswith(profile.phase)


@pytest.mark.slow
def test_a_bad_session_is_marked_and_tried_once_more(bench: Workbench) -> None:
    def short_at_first(configuration: Configuration, phase: str, session: str) -> bytes:
        return small_xspace() if phase == "prefill" or session.endswith("again") else tpu_xspace(model_runs(steps=2))

    found = profiles_of(bench, FakeLauncher(profile_phases=("prefill", "decode"), xspace=short_at_first))[:3]
    assert [(profile.phase, profile.status, profile.quality["attempt"]) for profile in found] == [
        ("prefill", "ok", 1),
        ("decode", "bad", 1),
        ("decode", "ok", 2),
    ]
    assert "few_steps" in found[1].quality["problems"]


@pytest.mark.slow
def test_a_session_that_stays_bad_is_kept_with_its_reason_and_not_tried_a_third_time(bench: Workbench) -> None:
    launcher = FakeLauncher(xspace=lambda configuration, phase, session: b"no profile")
    found = profiles_of(bench, launcher)[:2]
    assert [(profile.status, profile.quality["attempt"]) for profile in found] == [("bad", 1), ("bad", 2)]
    assert "not a complete XPlane file" in found[0].quality["error"] and found[0].summary == {}
    assert len(launcher.profiled) == 4


@pytest.mark.slow
def test_only_what_was_captured_well_is_captured_a_second_time(bench: Workbench) -> None:
    launcher = FakeLauncher(
        profile_phases=PHASES, xspace=lambda _configuration, phase, _session: b"" if phase == "decode" else small_xspace()
    )
    found = profiles_of(bench, launcher)
    one = [("prefill", "ok"), ("decode", "bad"), ("decode", "bad"), ("mixed", "ok"), ("prefill", "ok"), ("mixed", "ok")]
    assert [(profile.phase, profile.status) for profile in found] == one * 2


@pytest.mark.slow
def test_where_each_session_needs_a_server_of_its_own_there_is_one(bench: Workbench) -> None:
    """As with `vllm serve`, which has no live settings."""
    found = profiles_of(bench, FakeLauncher(live_fields=frozenset()))
    assert [profile.phase for profile in found] == ["all", "all"]


@pytest.mark.slow
def test_what_another_attempt_cannot_mend_is_not_tried_again(bench: Workbench) -> None:
    skewed = tpu_xspace(model_runs(steps=9), stretch=1.05)
    found = profiles_of(bench, FakeLauncher(xspace=lambda configuration, phase, session: skewed))
    assert [(profile.status, profile.quality["problems"]) for profile in found] == [("bad", ["clock_skew"])] * 2


@pytest.mark.slow
def test_a_phase_that_is_not_reached_is_missing_and_the_next_one_is_captured(bench: Workbench) -> None:
    def hook(configuration: Configuration, nth: int) -> None:
        if nth == 0:
            raise TrialFailed(FailureClass.TIMEOUT, "the engine did not come into phase prefill")

    found = profiles_of(bench, FakeLauncher(profile_phases=PHASES, on_profile=hook))[:3]
    assert [(profile.phase, profile.status) for profile in found] == [("prefill", "missing"), ("decode", "ok"), ("mixed", "ok")]
    assert found[0].quality == {"error_class": "timeout", "error": "the engine did not come into phase prefill"}


@pytest.mark.slow
def test_an_engine_that_is_lost_while_profiling_ends_its_sessions(bench: Workbench) -> None:
    def hook(configuration: Configuration, nth: int) -> None:
        raise crash()

    found = profiles_of(bench, FakeLauncher(profile_phases=PHASES, on_profile=hook))
    assert [(profile.phase, profile.status) for profile in found] == [("prefill", "missing")] * 2


@pytest.mark.slow
def test_sessions_of_the_same_second_do_not_meet(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("profiles.links.time.strftime", lambda _format: "now")
    short = tpu_xspace(model_runs(steps=2))
    found = profiles_of(bench, FakeLauncher(profile_phases=("decode", "decode"), xspace=lambda configuration, phase, session: short))[:4]
    assert [profile.session for profile in found] == ["now-decode", "now-decode-again", "now-decode-2", "now-decode-again-2"]


@pytest.mark.slow
def test_windows_say_how_long_the_steps_of_each_phase_took(bench: Workbench) -> None:
    def hook(configuration: Configuration, nth: int, result: WindowResult) -> WindowResult:
        return replace(result, steps=(*step_records(1.0, 4), *step_records(0.0, 6), replace(step_records(0.0, 1)[0], scheduled_tokens=0)))

    bench.run(FakeLauncher(on_measure=hook), page_sizes=[32], chunk_budgets=[256])
    (window, *_) = bench.windows(bench.trials()[0])
    assert window.details["phases"] == {"prefill": [4, pytest.approx(1.2)], "decode": [6, pytest.approx(1.8)]}


@pytest.mark.parametrize("study", ["../up", "a/b", ".hidden", "käse & co", "x" * 50])
def test_a_studys_name_never_leaves_the_logdir(study: str) -> None:
    run = run_name(study, Trial(1, 3, "default", 16, 256, {}, ""))
    assert run.count("/") == 1 and not run.startswith(".")
    assert run.isascii() and run.endswith("/trial-0003-default-p16-b256")

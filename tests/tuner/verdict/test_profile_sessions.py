"""Which stored profiles count, and what a trial's windows say about the steps of a phase."""

from __future__ import annotations

from dataclasses import replace

import pytest

from storage.records import Measurement, Profile
from tests.storage.builders import a_profile
from tuner.verdict.profile_sessions import comparable, link, measured_step_ms, profile_file, profile_json, usable


def profile(profile_id: int, phase: str, status: str = "ok", host: str = "h") -> Profile:
    place = {"logdir": "/logs", "run": "s/trial-1", "session": f"t{profile_id}", "host": host, "phase": phase}
    return replace(a_profile(7, **place, status=status, quality={"problems": ("x",)}), id=profile_id)


def test_a_good_profile_goes_before_a_bad_one_and_the_latest_before_earlier_ones() -> None:
    stored = [
        profile(1, "decode", "bad"),
        profile(2, "decode"),
        profile(3, "prefill", "missing"),
        profile(4, "prefill", "bad"),
        profile(5, "prefill", "bad"),
        profile(6, "mixed", "missing"),
        profile(7, "decode", host="other"),
        profile(8, "all", "ok"),
        profile(9, "all", "bad"),
    ]
    assert [item.id for item in usable(stored)] == [8, 5, 2, 7]


def test_a_comparison_takes_all_good_profiles_and_a_bad_one_only_where_there_is_no_other() -> None:
    stored = [
        profile(1, "decode"),
        profile(2, "decode", "bad"),
        profile(3, "decode"),
        profile(4, "prefill", "bad"),
        profile(5, "prefill", "bad"),
    ]
    assert [item.id for item in comparable(stored)] == [1, 3, 5]
    assert comparable([profile(6, "mixed", "missing")]) == []


def test_links_and_places() -> None:
    found = profile(2, "decode")
    assert str(profile_file(found).path) == "/logs/s/trial-1/plugins/profile/t2/h.xplane.pb"
    assert link(found) == "/?run=s%2Ftrial-1%2Ft2&tool=trace_viewer&host=h#profile"
    assert profile_json(found, "http://tb")["link"] == f"http://tb{link(found)}"
    assert profile_json(replace(found, status="missing"))["link"] is None


def window(valid: bool = True, **phases: list[float]) -> Measurement:
    return Measurement(7, 0, 0, 0.0, 1.0, {}, valid=valid, invalid_reason=None if valid else "busy", details={"phases": phases})


def test_step_times_are_pooled_over_the_valid_windows() -> None:
    windows = [window(prefill=[2, 40.0], decode=[8, 80.0]), window(prefill=[1, 50.0]), window(valid=False, prefill=[9, 9e9])]
    assert measured_step_ms(windows, "prefill") == pytest.approx(30.0)
    assert measured_step_ms(windows, "all") == pytest.approx(170 / 11)
    assert measured_step_ms(windows, "mixed") is None
    assert measured_step_ms([], "all") is None

"""The difference of two trials' windows, taken apart: numbers of steps, lengths of steps, and what profiles show of those."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.classify import Category
from profiles.diff import ProfileDiff, diff
from storage.records import Measurement
from tests.profiles.summaries import summary
from tuner.report.why import end_to_end, in_words, measured_steps, reasons

LABELS = ("default", "page_aligned")


def window(number: int, engine: int = 1, work: str = "w", valid: bool = True, **phases: tuple[float, float]) -> Measurement:
    """Phase -> (steps, mean milliseconds)."""
    details = {
        "phases": {name: [count, count * mean] for name, (count, mean) in phases.items()},
        "workload_hash": work,
        "launcher": "local",
        "engine_start": engine,
    }
    return Measurement(1, number, 0, 0.0, 1.0, {}, valid=valid, invalid_reason=None if valid else "busy", details=details)


def rounds(prefill: tuple[float, float], decode: tuple[float, float], engine: int = 1) -> list[Measurement]:
    """Four windows, each a bit slower than the one before, as on a machine that drifts."""
    return [
        window(index, engine, prefill=(prefill[0], prefill[1] * drift), decode=(decode[0], decode[1] * drift))
        for index, drift in enumerate((1.0, 1.02, 1.04, 1.08))
    ]


@pytest.fixture
def profiled(tmp_path: Path) -> ProfileDiff:
    """Prefill steps whose MLP takes 20 % longer, 0.0244 ms of a step of 0.28."""
    return diff([summary(tmp_path, "before")], [summary(tmp_path, "after", factor={"mlp": 1.2})], phase="prefill")


def test_more_steps_and_longer_ones_add_up_to_the_difference() -> None:
    found = end_to_end(rounds((10, 8.0), (50, 2.0)), rounds((12, 7.0), (50, 2.0)), [])
    assert found is not None and found.decided
    prefill, decode = found.phases
    mean_drift = 1.035
    assert prefill.by_number_ms == pytest.approx(2 * 7.5 * mean_drift)
    assert prefill.by_time_ms == pytest.approx(-1 * 11 * mean_drift)
    assert decode.by_number_ms == 0 and decode.by_time_ms == pytest.approx(0)
    total = sum(item.by_number_ms + item.by_time_ms for item in found.phases)
    assert total == pytest.approx(found.engine_ms[1] - found.engine_ms[0])


@given(st.lists(st.tuples(st.integers(0, 50), st.floats(0.1, 50), st.integers(0, 50), st.floats(0.1, 50)), min_size=1, max_size=3))
def test_the_parts_always_add_up_and_a_swap_changes_the_signs(phases: list[tuple[int, float, int, float]]) -> None:
    names = ("prefill", "decode", "mixed")[: len(phases)]
    one = window(0, prefill=(1, 1.0), other=(1, 1.0)), window(0, prefill=(1, 1.0), other=(1, 1.0))
    for name, (before, before_ms, after, after_ms) in zip(names, phases, strict=True):
        one[0].details["phases"][name] = [before, before * before_ms]
        one[1].details["phases"][name] = [after, after * after_ms]
    there, back = end_to_end([one[0]], [one[1]], []), end_to_end([one[1]], [one[0]], [])
    assert there is not None and back is not None
    assert sum(item.by_number_ms + item.by_time_ms for item in there.phases) == pytest.approx(
        there.engine_ms[1] - there.engine_ms[0], abs=1e-6
    )
    assert [item.by_number_ms for item in there.phases] == pytest.approx([-item.by_number_ms for item in back.phases], abs=1e-6)


def test_a_profile_accounts_for_what_it_shows(profiled: ProfileDiff) -> None:
    found = end_to_end(rounds((100, 0.28), (1, 0.1)), rounds((100, 0.28 + 0.0244), (1, 0.1)), [profiled])
    assert found is not None and found.explained == pytest.approx(1.0, abs=0.1)
    (reason, *_) = reasons(found, [profiled])
    assert reason.what == "mlp takes 20% more of a prefill step" and reason.ms == pytest.approx(2.44, rel=0.05)
    lines = in_words(found, [profiled], LABELS)
    assert lines[0].startswith("engine time of a window: 31.6 ms (page_aligned) against 29.1 ms (default), +8.7%")
    assert lines[1] == "mostly because: mlp takes 20% more of a prefill step (+2.4 ms)"
    assert any(line.startswith("prefill: 100.0 steps against 100.0 (+0.0 ms), each ") for line in lines)
    assert lines[-1].startswith("step counts and profiles account for ")


def test_the_tracers_own_work_is_no_reason(profiled: ProfileDiff) -> None:
    """Loop control is in the profile; the windows, whose difference is explained, are not traced."""
    found = end_to_end(rounds((100, 0.28), (1, 0.1)), rounds((100, 0.28 + 0.0244), (1, 0.1)), [profiled])
    rows = tuple(replace(row, category=Category.LOOP_CONTROL) if row.category == Category.MLP else row for row in profiled.categories)
    assert found is not None and any(row.changed for row in rows)
    assert reasons(found, [replace(profiled, categories=rows)]) == []


def test_a_difference_that_may_be_chance_is_not_explained(profiled: ProfileDiff) -> None:
    before = [window(index, engine=1, prefill=(10, mean)) for index, mean in enumerate((1.0, 1.5, 0.8, 1.2))]
    after = [window(index, engine=2, prefill=(10, mean)) for index, mean in enumerate((1.4, 0.9, 1.3, 1.0))]
    found = end_to_end(before, after, [profiled])
    assert found is not None and not found.decided and found.explained is None
    assert in_words(found, [profiled], LABELS)[1] == "that may be chance: there is no difference to explain"


def test_windows_of_one_engine_are_compared_round_by_round() -> None:
    """The machine drifts by 8 % over the rounds: pairs see a difference of 2 %, independent samples do not."""
    paired = end_to_end(rounds((10, 1.0), (10, 1.0)), rounds((10, 1.02), (10, 1.02)), [])
    apart = end_to_end(rounds((10, 1.0), (10, 1.0)), rounds((10, 1.02), (10, 1.02), engine=2), [])
    assert paired is not None and paired.decided and paired.ratio == pytest.approx(1.02)
    assert apart is not None and not apart.decided


def test_a_phase_of_one_side_is_all_number_of_steps() -> None:
    found = end_to_end(rounds((10, 1.0), (10, 1.0)), [window(0, prefill=(10, 1.0), decode=(10, 1.0), mixed=(3, 2.0))], [])
    assert found is not None
    mixed = next(item for item in found.phases if item.phase == "mixed")
    assert (mixed.by_number_ms, mixed.by_time_ms, mixed.profiled_ms) == (6.0, 0.0, None)


def test_nothing_is_said_about_other_work_or_without_steps() -> None:
    one = rounds((10, 1.0), (10, 1.0))
    assert end_to_end(one, [window(0, work="other", prefill=(10, 1.0))], []) is None
    assert end_to_end(one, [window(0, valid=False, prefill=(10, 1.0))], []) is None
    assert end_to_end(one, [window(0)], []) is None
    assert end_to_end([], one, []) is None


def test_measured_steps_know_their_interval() -> None:
    found = measured_steps(rounds((10, 8.0), (50, 2.0)), rounds((10, 8.4), (50, 2.0)), "prefill")
    assert found is not None and found.low_ms is not None and found.high_ms is not None
    assert found.difference_ms == pytest.approx(0.4 * 1.035)
    assert found.differs and found.low_ms - 1e-9 <= found.difference_ms <= found.high_ms + 1e-9
    assert measured_steps(rounds((10, 8.0), (50, 2.0)), [window(0, decode=(3, 1.0))], "prefill") is None
    alone = measured_steps([window(0, prefill=(3, 1.0))], [window(0, engine=2, prefill=(3, 1.1))], "prefill")
    assert alone is not None and alone.low_ms is None

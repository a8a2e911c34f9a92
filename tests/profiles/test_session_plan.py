"""The plan of a profile session: options, phases, bounds, and which record belongs to which profiled step."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.errors import ProfileError
from profiles.session_plan import (
    OTHER,
    PHASES,
    PhasePlan,
    PhaseProgress,
    StepComposition,
    composition,
    composition_from_marker,
    count_phases,
    join_by_start,
    phase_of,
    profile_options,
)


def step(prefill: int, scheduled: int) -> StepComposition:
    return StepComposition(scheduled, scheduled, prefill, 1, scheduled - prefill)


@pytest.mark.parametrize(
    ("fraction", "phase"),
    [(1.0, "prefill"), (0.9, "prefill"), (0.89, OTHER), (0.6, "mixed"), (0.4, "mixed"), (0.39, OTHER), (0.2, "decode"), (0.0, "decode")],
)
def test_phases_follow_tpu_inferences_bounds(fraction: float, phase: str) -> None:
    assert phase_of(fraction) == phase


def test_a_step_without_tokens_is_no_division_by_zero() -> None:
    assert step(0, 0).phase == "decode"


def test_any_record_with_the_fields_will_do() -> None:
    @dataclass(frozen=True)
    class Record:
        start_s: float = 1.5
        duration_s: float = 0.2
        scheduled_tokens: int = 10
        padded_tokens: int = 16
        prefill_tokens: int = 9
        prefill_requests: int = 1
        decode_requests: int = 1

    assert composition(Record()) == StepComposition(
        scheduled_tokens=10, padded_tokens=16, prefill_tokens=9, prefill_requests=1, decode_requests=1, start_s=1.5, duration_s=0.2
    )


def test_progress_ends_when_every_phase_was_seen_or_the_trace_is_full() -> None:
    progress = PhaseProgress(PhasePlan(("prefill", "decode"), steps_per_phase=2), "cpu")
    progress.note([step(10, 10), step(10, 10), step(5, 10), step(0, 10)])
    assert (progress.missing(), progress.finished()) == (("decode",), False)
    progress.note([step(0, 10)])
    assert (progress.missing(), progress.finished()) == ((), True)
    small = PhaseProgress(PhasePlan(max_bytes=9_000_000), "tpu")
    small.note([step(7, 10)] * 2)
    assert small.finished() and small.missing() == PHASES


def test_a_phase_that_does_not_hold_is_not_traced_without_end() -> None:
    progress = PhaseProgress(PhasePlan(("decode",), steps_per_phase=5), "cpu")
    progress.note([step(10, 10)] * 19)
    assert not progress.finished()
    progress.note([step(10, 10)])
    assert progress.finished() and progress.missing() == ("decode",)


@given(st.integers(0, 10**10), st.sampled_from(["cpu", "tpu"]))
def test_a_bound_always_allows_a_step_and_grows_with_the_bytes(limit: int, platform: str) -> None:
    assert 1 <= PhasePlan(max_bytes=limit).most_steps(platform) <= PhasePlan(max_bytes=limit + 10**6).most_steps(platform)


@pytest.mark.parametrize(("phases", "steps"), [((), 5), (("warmup",), 5), (("decode",), 0)])
def test_an_impossible_plan_is_refused(phases: tuple[str, ...], steps: int) -> None:
    with pytest.raises(ProfileError):
        PhasePlan(phases, steps)


@pytest.mark.slow
def test_options_are_attributes_that_jax_knows() -> None:
    assert profile_options("cpu")["host_tracer_level"] >= 1
    assert profile_options("tpu", "s-1")["session_id"] == "s-1"
    with pytest.raises(ProfileError, match="cuda"):
        profile_options("cuda")
    if importlib.util.find_spec("jax") is None:
        pytest.skip("JAX is not installed (extra: tpu)")
    import jax

    known = dir(jax.profiler.ProfileOptions())
    assert set(profile_options("cpu", "s")) | set(profile_options("tpu", "s")) <= set(known)


STARTS = st.lists(st.floats(0.5, 50.0), min_size=4, max_size=40).map(lambda gaps: np.cumsum(gaps).tolist())


@given(STARTS, st.floats(-1e6, 1e6))
def test_as_many_records_as_steps_match_one_to_one(starts: list[float], shift: float) -> None:
    found = join_by_start(starts, [start + shift for start in starts])
    assert (found.how, list(found.record)) == ("count", list(range(len(starts))))
    assert found.residual_ms == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize(("first", "last"), [(0, 7), (1, 8), (3, 10)])
def test_missing_records_and_missing_steps_are_found_by_time(first: int, last: int) -> None:
    starts = np.cumsum([5.0, 9.0, 3.0, 20.0, 7.0, 4.0, 11.0, 6.0, 13.0, 8.0])
    found = join_by_start(starts[first:last].tolist(), (starts + 77).tolist())
    assert (found.how, found.record) == ("time", tuple(range(first, last)))
    found = join_by_start(starts.tolist(), (starts[first:last] - 5).tolist())
    assert found.record == tuple(index - first if first <= index < last else -1 for index in range(10))


def test_no_join_where_several_places_fit_as_well() -> None:
    steady = np.arange(10) * 5.0
    assert join_by_start(steady.tolist(), steady[:7].tolist()).how == "none"
    assert join_by_start([1.0, 2.0], []).record == (-1, -1)
    assert join_by_start([], [1.0]).record == ()
    assert join_by_start([1.0, 2.0, 5.0], [1.0, 9.0]).how == "none"


@pytest.mark.parametrize(
    ("requests", "tokens", "prefill", "phase"), [(8, 8, 0, "decode"), (8, 5, 0, "decode"), (1, 195, 194, "prefill"), (8, 16, 8, "mixed")]
)
def test_markers_tell_the_batch_as_far_as_they_can(requests: int, tokens: int, prefill: int, phase: str) -> None:
    found = composition_from_marker(requests, tokens)
    assert (found.scheduled_tokens, found.prefill_tokens, found.phase) == (tokens, prefill, phase)
    assert found.prefill_requests + found.decode_requests == requests


def test_counting_skips_what_is_unknown() -> None:
    assert count_phases([step(10, 10), None, step(10, 10), step(0, 3)]) == {"prefill": 2, "decode": 1}

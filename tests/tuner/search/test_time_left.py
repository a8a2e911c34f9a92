"""Whoever sees only the database is told the same time left as whoever sees the search's own progress."""

from __future__ import annotations

from typing import Any

import pytest

from storage.records import Stage, TrialState
from tests.storage.builders import a_measurement, a_study, a_trial, stored_study
from tests.tuner.fake_engine import FakeLauncher
from tests.tuner.workbench import Workbench, config_of
from tuner.core.contract import EngineSettings
from tuner.search.plan import ASSUMED_START_S, ASSUMED_WINDOW_S
from tuner.search.time_left import TimeLeft, time_left
from tuner.setup.stored_study import Resolved, stored_config
from tuner.trials.progress import Progress


def left_of(bench: Workbench) -> TimeLeft:
    study = bench.storage.get_study("s")
    found = time_left(bench.storage, study, bench.storage.list_trials(study.id), bench.storage.measured_by_trial(study.id))
    assert found is not None
    return found


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"objective": "throughput,ttft_p99_ms"}, {"trials": 4, "sampler": "random", "warm_start": "none"}])
def test_it_is_the_progress_that_the_command_line_shows(bench: Workbench, changes: dict[str, Any]) -> None:
    seen: list[tuple[Progress, TimeLeft]] = []
    ahead: list[tuple[int, int, int]] = []

    def look(progress: Progress, _line: str) -> None:
        if progress.windows:
            left = left_of(bench)
            seen.append((progress, left))
            expected = progress.planned_starts - progress.engine_starts, progress.planned_windows - progress.windows
            ahead.append((left.starts - expected[0], left.windows - expected[1], left.trials - progress.planned_trials))

    bench.run(FakeLauncher(), listener=look, **changes)
    assert len(seen) > 20
    searching = [apart for apart, (_, left) in zip(ahead, seen, strict=True) if left.windows > 10]
    assert all(abs(starts) <= 1 and abs(windows) <= 1 for starts, windows, _ in searching), searching
    assert {trials for *_, trials in searching} == {0}
    last = left_of(bench)
    assert (last.starts, last.windows, last.seconds) == (0, 0, 0.0)


@pytest.mark.slow
def test_a_crash_of_the_engine_leaves_nothing_to_wait_for(bench: Workbench) -> None:
    def no_room(settings: EngineSettings, _nth: int) -> None:
        if settings.block_size == 32:
            raise MemoryError

    bench.run(FakeLauncher(on_open=no_room))
    assert left_of(bench).windows == 0


def running(bench: Workbench, states: list[TrialState], **changes: Any) -> TimeLeft | None:
    """A study of eight configurations, three rounds each, with trials in these states and a window of 2 s in each that is measured."""
    config = config_of("s", **changes)
    stored = stored_config(config.to_json(), Resolved(max_model_len=512, max_num_seqs=8))
    study = stored_study(bench.storage, name="s", objective="throughput", config=stored)
    for number, state in enumerate(states):
        trial = bench.storage.create_trial(a_trial(study.id, number, block_size=16, state=state))
        if state is not TrialState.WAITING:
            bench.storage.add_measurement(a_measurement(trial.id, duration_s=2.0))
    return time_left(bench.storage, study, bench.storage.list_trials(study.id), bench.storage.measured_by_trial(study.id))


def test_windows_cost_what_they_have_cost_and_starts_what_is_assumed_until_there_is_one(bench: Workbench) -> None:
    left = running(bench, [TrialState.RUNNING] * 2)
    assert left is not None
    assert (left.trials, left.starts, left.windows) == (8 + 3, 1 + 3, 2 * 2 + 6 * 3 + 3 * 3)
    assert (left.start_s, left.window_s) == (ASSUMED_START_S, 2.0)
    assert left.seconds == pytest.approx(4 * ASSUMED_START_S + 31 * 2.0) and "assumed" in left.source
    study = bench.storage.update_study(
        bench.storage.get_study("s").id, engine_starts=2, cost={"start": 10.0, "warm_up": 3.0, "measure": 6.0}
    )
    later = time_left(bench.storage, study, bench.storage.list_trials(study.id), bench.storage.measured_by_trial(study.id))
    assert later is not None and (later.start_s, later.window_s, later.source) == (5.0, 3.0, "the mean of this search so far")


def test_before_the_first_window_everything_is_assumed_and_a_budget_limits_it(bench: Workbench) -> None:
    left = running(bench, [TrialState.WAITING] * 2, time_budget="60s")
    assert left is not None
    assert (left.window_s, left.seconds, left.starts) == (ASSUMED_WINDOW_S, 60.0, 2 + 3)


def test_what_does_not_say_what_it_measures_has_no_time_left(bench: Workbench) -> None:
    for config in ({}, {"rounds": "nonsense"}, {"page_sizes": None}, {"page_sizes": [16], "chunk_budgets": [128]}):
        study = bench.storage.create_study(a_study(name=f"study-{len(str(config))}", config=config))
        assert time_left(bench.storage, study, [], {}) is None


def test_of_finalists_only_those_that_are_open_count(bench: Workbench) -> None:
    study = stored_study(
        bench.storage, name="s", config=stored_config(config_of("s").to_json(), Resolved(max_model_len=512, max_num_seqs=8))
    )
    for number, state in enumerate((TrialState.WAITING, TrialState.RUNNING)):
        trial = bench.storage.create_trial(a_trial(study.id, number, stage=Stage.CONFIRM, state=state))
    bench.storage.add_measurement(a_measurement(trial.id))
    left = time_left(bench.storage, study, bench.storage.list_trials(study.id), bench.storage.measured_by_trial(study.id))
    rounds = config_of("s").rounds.of_a_finalist
    assert left is not None and (left.trials, left.starts, left.windows) == (2, 1, 2 * rounds - 1)

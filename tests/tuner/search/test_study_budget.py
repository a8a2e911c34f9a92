"""Time budgets and rounds as the data decide: where a search stops, and how it goes on."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from storage.records import Stage, StudyState, TrialState
from tests.tuner.fake_engine import FakeLauncher
from tests.tuner.workbench import Workbench, states
from tuner.core.contract import EngineSettings, WindowResult
from tuner.core.errors import FailureClass, Interrupted, TrialFailed
from tuner.report.evidence_report import evidence_markdown
from tuner.setup.space import Configuration
from tuner.verdict.conclude import load_evidence


class Clock:
    """Each window takes ten seconds."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def launcher(self) -> FakeLauncher:
        def hook(configuration: Configuration, nth: int, result: WindowResult) -> WindowResult:
            self.now_s += 10
            return result

        return FakeLauncher(on_measure=hook)


@pytest.mark.slow
def test_a_time_budget_stops_the_search_and_still_confirms(bench: Workbench) -> None:
    """The first page size takes 120 s; what is left is kept for the finalists."""
    clock = Clock()
    outcome = bench.run(clock.launcher(), now=clock, time_budget=155, sampler="grid")
    assert {trial.block_size for trial in bench.trials()} == {32}
    assert states(bench.trials(Stage.CONFIRM)) == [TrialState.COMPLETE] * 2, "what began within the budget is finished"
    assert outcome.study.state is StudyState.COMPLETE and outcome.recommendation.status != "none"
    again = Clock()
    bench.run(again.launcher(), now=again, resume=True, sampler="grid")
    assert {trial.block_size for trial in bench.trials()} == {16, 32}


@pytest.mark.slow
@pytest.mark.parametrize(("budget", "confirmed"), [(150, 1), (80, 0)])
def test_no_finalist_begins_after_the_time_budget_and_a_resumed_run_confirms_it(bench: Workbench, budget: int, confirmed: int) -> None:
    """A round of the search takes 40 s, a finalist 30."""
    clock = Clock()
    outcome = bench.run(clock.launcher(), now=clock, time_budget=budget, sampler="grid")
    assert clock.now_s == budget and outcome.study.state is StudyState.COMPLETE
    assert sorted(states(bench.trials(Stage.CONFIRM))) == [TrialState.COMPLETE] * confirmed + [TrialState.WAITING] * (2 - confirmed)
    body = outcome.recommendation.body
    left = f"{2 - confirmed} of 2 finalists not confirmed by a cold start: the time budget was over"
    assert body["status"] == "recommended" and left in body["caveats"]
    assert body["evidence"]["stage"] == ("confirm" if confirmed else "search")
    assert f"- {left}\n" in evidence_markdown(load_evidence(bench.storage, outcome.study), outcome.comparison)
    again = Clock()
    outcome = bench.run(again.launcher(), now=again, resume=True, sampler="grid")
    assert set(states(bench.trials(Stage.CONFIRM))) == {TrialState.COMPLETE}
    assert not any("not confirmed" in caveat for caveat in outcome.recommendation.body["caveats"])


@pytest.mark.slow
def test_nor_does_a_further_finalist_begin_where_none_holds(bench: Workbench) -> None:
    """Both finalists fail after 160 s; the next best waits for a resumed run and is then tried, once."""
    clock = Clock()
    launcher = clock.launcher()

    def refuse(settings: EngineSettings, nth: int) -> None:
        if settings.block_size == 32 and nth > 0:
            clock.now_s += 20
            raise TrialFailed(FailureClass.OUT_OF_MEMORY, "no room")

    launcher.on_open = refuse
    outcome = bench.run(launcher, now=clock, time_budget=160)
    assert states(bench.trials(Stage.CONFIRM)) == [TrialState.FAIL] * 2 + [TrialState.WAITING]
    assert outcome.recommendation.status == "none"
    assert "1 of 3 finalists not confirmed by a cold start: the time budget was over" in outcome.recommendation.body["reason"]
    outcome = bench.run(FakeLauncher(), resume=True)
    assert TrialState.WAITING not in states(bench.trials(Stage.CONFIRM))
    assert outcome.recommendation.status == "recommended"


@pytest.mark.slow
def test_a_time_budget_ends_a_group_after_whole_rounds(bench: Workbench) -> None:
    clock = Clock()
    bench.run(clock.launcher(), now=clock, time_budget=45, rounds=5, sampler="grid")
    windows = {len(bench.windows(trial)) for trial in bench.trials()}
    assert windows == {2}, "two rounds of four windows: the second had begun when the time was up"
    assert set(states(bench.trials())) == {TrialState.COMPLETE}


@pytest.mark.slow
def test_adaptive_rounds_stop_where_the_answer_is_clear(bench: Workbench) -> None:
    """Ten per cent without noise is clear at the first analysis."""
    bench.run(rounds="3-12")
    assert {len(bench.windows(trial)) for trial in bench.trials()} == {3}


def noisy(seen: Counter[Configuration], stop_at_window: int | None = None) -> FakeLauncher:
    """Values that depend on the configuration and on how often it was measured, in whatever run."""

    def hook(configuration: Configuration, nth: int, result: WindowResult) -> WindowResult:
        if seen.total() == stop_at_window:
            raise KeyboardInterrupt
        seen[configuration] += 1
        wobble = random.Random(f"{configuration} {seen[configuration]}").gauss(0, 0.02)
        gain = 1.02 if configuration.arm == "page_aligned" else 1.0
        return WindowResult((), (), result.started_at, 1.0, reported_metrics={"total_token_throughput": 100 * gain * (1 + wobble)})

    return FakeLauncher(on_measure=hook)


@pytest.mark.slow
def test_adaptive_rounds_resume_as_they_would_have_gone_on(bench: Workbench) -> None:
    settings: dict[str, Any] = {"rounds": "3-9", "profile": "none", "page_sizes": [32]}
    whole = noisy(Counter())
    bench.run(whole, study="whole", **settings)
    rounds = Counter(whole.measured)
    assert len(set(rounds.values())) > 1, "cells were decided after different numbers of rounds"
    seen: Counter[Configuration] = Counter()
    first, second = noisy(seen, stop_at_window=12), noisy(seen)  # between two rounds
    with pytest.raises(Interrupted):
        bench.run(first, **settings)
    bench.run(second, resume=True, **settings)
    assert first.measured + second.measured == whole.measured


@pytest.mark.slow
def test_a_round_that_two_engines_share_gives_no_pair(bench: Workbench) -> None:
    seen: Counter[Configuration] = Counter()
    first, second = noisy(seen, stop_at_window=5), noisy(seen)
    with pytest.raises(Interrupted):
        bench.run(first, page_sizes=[32])
    outcome = bench.run(second, page_sizes=[32], resume=True)
    assert all(len(bench.windows(trial)) == 3 for trial in bench.trials()), "the windows of the round were kept"
    engines = {(item.round, item.details["engine_start"]) for trial in bench.trials() for item in bench.windows(trial)}
    assert engines == {(0, 1), (1, 1), (1, 2), (2, 2)}
    split = {tuple(item.details["split_rounds"]) for item in outcome.comparison.comparisons}
    assert split == {(), (1,)}, "arms follow on each other: one cell was cut in two, the other lies in one engine"
    assert all(1 not in item.details["rounds"] for item in outcome.comparison.comparisons if item.details["split_rounds"])

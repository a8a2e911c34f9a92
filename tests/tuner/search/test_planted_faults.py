"""The recommended configuration never comes from a measurement that was failed, recompiled, drifted, busy, saturated or not a number.

Each fault is planted into the same study with numbers that would win: one configuration, the worst of all, shines in its faulty windows
alone. What is recommended and expected must be what a study without the fault says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from storage.records import Measurement, Recommendation, Stage, TrialState
from tests.tuner.fake_engine import FakeLauncher, crash, recompiled
from tests.tuner.workbench import Workbench, configuration_of
from tuner.core.contract import WindowResult
from tuner.core.errors import FailureClass, TrialFailed
from tuner.engine.cpu_contention import CONTENTION
from tuner.setup.space import Configuration

PLANTED = Configuration(16, 128, "default")  # the worst of all
SHINE = 100.0
Hook = Callable[[Configuration, int, WindowResult], WindowResult]


def shining(result: WindowResult, factor: float = SHINE) -> WindowResult:
    metrics = {
        name: value * factor if name == "total_token_throughput" else value / factor for name, value in result.reported_metrics.items()
    }
    return replace(result, reported_metrics=metrics)


def crashing(configuration: Configuration, nth: int, result: WindowResult) -> WindowResult:
    if configuration != PLANTED:
        return result
    if nth == 3:
        raise crash()
    return shining(result)


def failing(configuration: Configuration, nth: int, result: WindowResult) -> WindowResult:
    if configuration == PLANTED and nth == 2:
        raise TrialFailed(FailureClass.OUT_OF_MEMORY, "RESOURCE_EXHAUSTED")
    return shining(result) if configuration == PLANTED else result


def recompiling(configuration: Configuration, nth: int, result: WindowResult) -> WindowResult:
    return recompiled(shining(result)) if configuration == PLANTED and nth % 2 == 0 else result


def with_failed_requests(configuration: Configuration, nth: int, result: WindowResult) -> WindowResult:
    shone = shining(result)
    planted = configuration == PLANTED and nth % 2 == 0
    return replace(shone, reported_metrics={**shone.reported_metrics, "failed": 3.0}) if planted else result


def saturated(configuration: Configuration, nth: int, result: WindowResult) -> WindowResult:
    return replace(shining(result), stopped="saturated: the backlog grows") if configuration == PLANTED and nth == 1 else result


def not_a_number(configuration: Configuration, nth: int, result: WindowResult) -> WindowResult:
    if configuration != PLANTED:
        return result
    return shining(result, math.nan if nth == 4 else SHINE)


def busy(configuration: Configuration, nth: int, result: WindowResult) -> WindowResult:
    planted = configuration == PLANTED and nth in (2, 4)
    fraction = 0.6 if planted else 0.02
    return replace(shining(result) if planted else result, details={CONTENTION: fraction})


def drifting(configuration: Configuration, nth: int, result: WindowResult) -> WindowResult:
    """The machine is a fifth faster in the first two of seven rounds, and the planted configuration fabulous."""
    early = nth < 2
    wobble = 1.2 if early else 1 + 0.001 * (nth % 2)
    return shining(result, SHINE if early and configuration == PLANTED else wobble)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.trials.group.wait_until_idle", lambda fractions: True)


FAULTS: dict[str, Hook] = {
    "crash": crashing,
    "out of memory": failing,
    "recompiled": recompiling,
    "failed requests": with_failed_requests,
    "saturated": saturated,
    "not a number": not_a_number,
    "busy": busy,
    "drifted": drifting,
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_the_recommendation_never_comes_from_a_faulty_measurement(bench: Workbench, fault: str) -> None:
    outcome = bench.run(FakeLauncher(on_measure=FAULTS[fault]), rounds=7, page_sizes=[16], chunk_budgets=[128, 256])
    assert outcome.recommendation.body["settings"] == {
        "arm": "page_aligned",
        "block_size": 16,
        "max_num_batched_tokens": 256,
        "page_aligned": True,
    }
    assert PLANTED not in {configuration_of(trial) for trial in bench.trials(Stage.CONFIRM)}
    ratios = [item.ratio for item in outcome.comparison.comparisons if item.metric == "total_token_throughput"]
    if fault != "drifted":  # what one arm alone shows in a round of a machine that drifted is a difference of the arms
        assert all(ratio is None or ratio == pytest.approx(1.1, abs=0.01) for ratio in ratios)
    planted = bench.trial(PLANTED)
    if planted.state is TrialState.COMPLETE:
        assert planted.values is not None and planted.values["throughput"] == pytest.approx(128.8, rel=0.01)
    else:
        assert planted.values is None and planted.state is TrialState.FAIL


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["recompiled", "failed requests", "busy", "drifted", "saturated"])
def test_the_faulty_windows_are_kept_with_their_reason(bench: Workbench, fault: str) -> None:
    bench.run(FakeLauncher(on_measure=FAULTS[fault]), rounds=7, page_sizes=[16], chunk_budgets=[128, 256])
    windows = bench.windows(bench.trial(PLANTED))
    assert all(window.valid is (window.metrics["total_token_throughput"] < 1000) for window in windows)
    assert fault.replace("failed requests", "request_failed") in {window.invalid_reason for window in windows}


@pytest.mark.slow
def test_a_disturbed_window_is_measured_again_and_a_load_that_stays_is_accepted(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[int] = []

    def wait(earlier: Sequence[float]) -> bool:
        waited.append(len(earlier))
        return True

    monkeypatch.setattr("tuner.trials.group.wait_until_idle", wait)
    loads = iter([0.0] * 6 + [0.7] * 100)

    def hook(configuration: Configuration, nth: int, result: WindowResult) -> WindowResult:
        return replace(result, details={CONTENTION: next(loads)})

    bench.run(FakeLauncher(on_measure=hook), rounds=5, page_sizes=[16], chunk_budgets=[256])
    windows = sorted((item for trial in bench.trials() for item in bench.windows(trial)), key=lambda item: item.id)
    reasons = [window.invalid_reason for window in windows]
    assert reasons[:9] == [None] * 6 + ["busy", "busy", None]
    assert waited == [index + 1 for index, reason in enumerate(reasons) if reason == "busy"], "the machine is given time after each"
    assert reasons.count("busy") == 4, "after half of the recent windows the load is the usual one"
    assert {sum(item.valid for item in bench.windows(trial)) for trial in bench.trials()} == {5}


def _expected(found: Recommendation) -> float:
    return float(found.body["expected"]["total_token_throughput"]["value"])


def _valid(windows: list[Measurement]) -> list[Measurement]:
    return [window for window in windows if window.valid]


@pytest.mark.slow
def test_a_faulty_window_of_a_finalist_is_no_part_of_what_is_promised(bench: Workbench) -> None:
    def hook(configuration: Configuration, nth: int, result: WindowResult) -> WindowResult:
        best = configuration == Configuration(16, 256, "page_aligned")
        return recompiled(shining(result)) if best and nth in (5, 6) else result  # rounds 0 to 4 are the search's

    outcome = bench.run(FakeLauncher(on_measure=hook), rounds=5, page_sizes=[16], chunk_budgets=[256])
    finalist = bench.trial(Configuration(16, 256, "page_aligned"), Stage.CONFIRM)
    assert [window.invalid_reason for window in bench.windows(finalist)][:2] == ["recompiled", "recompiled"]
    assert len(_valid(bench.windows(finalist))) == 5
    assert _expected(outcome.recommendation) == pytest.approx(1.1 * 141.6)

"""A configuration that answers wrongly fails, never has a value, and is not recommended in any way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from storage.records import Stage, TrialState
from tests.tuner.answering import Change, answers, forgetful, nudged, right
from tests.tuner.fake_engine import FakeLauncher
from tests.tuner.workbench import Workbench, configuration_of
from tuner.advice.advice import advise
from tuner.advice.lookup import Query
from tuner.core.contract import Answered, LoadPlan
from tuner.setup.space import Configuration
from tuner.verdict.conclude import load_evidence, recommend_stored

BEST = Configuration(16, 256, "page_aligned")
DEFAULT = Configuration(16, 256, "default")
type Answering = Callable[[Configuration, LoadPlan], Sequence[Answered]]


def planted(wrong: dict[Configuration, Change]) -> Answering:
    return lambda configuration, plan: answers(plan, wrong.get(configuration, right))


def of_fp8(change: Change) -> Answering:
    return lambda item, plan: answers(plan, change if dict(item.factors).get("quantization") == "fp8" else right)


SMALL: dict[str, Any] = {"page_sizes": [16], "chunk_budgets": [128, 256]}
QUANTISED: dict[str, Any] = {
    **SMALL,
    "chunk_budgets": [256],
    "arms": ["default"],
    "factors": {"quantization": ["fp8", "unset"]},
    "rounds": 1,
}


@pytest.mark.slow
def test_the_best_configuration_answers_wrongly_and_is_not_recommended(bench: Workbench) -> None:
    outcome = bench.run(FakeLauncher(answers=planted({BEST: forgetful(0.3)})), **SMALL)
    trial = bench.trial(BEST)
    assert (trial.state, trial.error_class, trial.values) == (TrialState.FAIL, "wrong_output", None)
    assert trial.error_message is not None and "\n" not in trial.error_message
    assert "wrong answer to a canary: prompt canary-" in trial.error_message and "expected" in trial.error_message
    assert bench.windows(trial) == []
    assert outcome.recommendation.body["settings"]["arm"] == "default"
    assert BEST not in {configuration_of(item) for item in bench.trials(Stage.CONFIRM)}
    assert all(item.verdict == "inconclusive" for item in outcome.comparison.comparisons if item.max_num_batched_tokens == 256)


@pytest.mark.slow
def test_every_other_trial_says_that_it_was_checked_and_against_what(bench: Workbench) -> None:
    bench.run(FakeLauncher(answers=planted({BEST: nudged((-1, 0, 1))})), **SMALL)
    for trial in bench.trials(None):
        assert trial.state is TrialState.COMPLETE
        note = trial.notes["canaries"]
        assert note["checked"] and note["canary_match"] > 0.9
        assert all(window.metrics["canary_match"] == note["canary_match"] for window in bench.windows(trial))
    assert len({trial.notes["canaries"]["against"] for trial in bench.trials(None)}) == 1, "one reference for all engines"


@pytest.mark.slow
def test_a_finalist_that_answers_wrongly_only_when_started_cold_is_not_recommended(bench: Workbench) -> None:
    starts: list[Configuration] = []

    def answering(configuration: Configuration, plan: LoadPlan) -> Sequence[Answered]:
        starts.append(configuration)
        return answers(plan, forgetful(0.5) if configuration == BEST and starts.count(BEST) > 1 else right)

    outcome = bench.run(FakeLauncher(answers=answering), **SMALL)
    assert bench.trial(BEST).state is TrialState.COMPLETE
    assert bench.trial(BEST, Stage.CONFIRM).error_class == "wrong_output"
    assert outcome.recommendation.body["settings"]["arm"] == "default"
    study = bench.storage.get_study("s")
    assert recommend_stored(bench.storage, study).body["settings"]["arm"] == "default"
    ratios = [item for item in outcome.comparison.comparisons if item.max_num_batched_tokens == 256]
    assert load_evidence(bench.storage, study).trials
    assert ratios


@pytest.mark.slow
def test_an_engine_whose_answers_depend_on_the_batch_is_no_reference(bench: Workbench) -> None:
    def answering(_configuration: Configuration, plan: LoadPlan) -> Sequence[Answered]:
        return answers(plan, right if plan.max_concurrency == 1 else forgetful(0.3))

    outcome = bench.run(FakeLauncher(answers=answering), **SMALL)
    assert {trial.error_class for trial in bench.trials()} == {"wrong_output"}
    assert outcome.recommendation.status == "none"


@pytest.mark.slow
def test_other_numerics_are_reported_with_their_number_and_are_no_fault(bench: Workbench) -> None:
    bench.run(FakeLauncher(answers=of_fp8(nudged(range(-40, 41)))), **QUANTISED)
    found = {trial.factors["quantization"]: trial for trial in bench.trials()}
    assert found["unset"].notes["canaries"]["canary_match"] == 1.0
    assert found["fp8"].state is TrialState.COMPLETE
    assert 0 < found["fp8"].notes["canaries"]["canary_match"] < 0.9, "the baseline answered first, although fp8 was named first"
    assert found["fp8"].notes["canaries"]["canary_divergence"] > 0.1


@pytest.mark.slow
@pytest.mark.parametrize(("limit", "state"), [("canary_match>=0.98", TrialState.FAIL), ("canary_match>=0.1", TrialState.COMPLETE)])
def test_other_numerics_have_to_keep_the_limit_that_is_asked_for(bench: Workbench, limit: str, state: TrialState) -> None:
    bench.run(FakeLauncher(answers=of_fp8(nudged(range(-40, 41)))), **QUANTISED, guard=limit)
    (trial,) = [item for item in bench.trials() if item.factors["quantization"] == "fp8"]
    assert trial.state is state
    if state is TrialState.FAIL:
        assert trial.error_class == "wrong_output"
        assert "canary_match>=0.98 is not met: canary_match is 0." in (trial.error_message or "")


@pytest.mark.slow
def test_without_the_guard_nothing_is_asked(bench: Workbench) -> None:
    asked: list[Configuration] = []

    def answering(configuration: Configuration, plan: LoadPlan) -> Sequence[Answered]:
        asked.append(configuration)
        return answers(plan)

    bench.run(FakeLauncher(answers=answering), **SMALL, rounds=1, guard=False)
    assert asked == []
    assert all("canaries" not in trial.notes for trial in bench.trials())


@pytest.mark.slow
def test_a_launcher_that_generates_nothing_is_said_not_to_be_checked(bench: Workbench) -> None:
    bench.run(**SMALL, rounds=1)
    assert {trial.notes["canaries"]["checked"] for trial in bench.trials()} == {False}


@pytest.mark.slow
def test_a_resumed_study_goes_on_with_the_same_reference(bench: Workbench) -> None:
    bench.run(FakeLauncher(answers=planted({})), **SMALL, trials=2)
    first = {configuration_of(trial) for trial in bench.trials()}
    bench.run(FakeLauncher(answers=lambda _item, plan: answers(plan, forgetful(1.0))), resume=True, **SMALL)
    later = [trial for trial in bench.trials() if configuration_of(trial) not in first]
    assert {trial.error_class for trial in later} == {"wrong_output"}, "the whole engine agrees with itself, and not with the first one"


@pytest.mark.slow
def test_a_stored_recommendation_whose_configuration_answered_wrongly_since_is_passed_over(bench: Workbench) -> None:
    outcome = bench.run(FakeLauncher(answers=planted({})), **SMALL)
    question = Query(model="tiny-qwen3", accelerator="fake engine", device_count=1, workload="demo")
    assert advise(bench.storage, question).settings["arm"] == "page_aligned"
    good = bench.trial(BEST)
    again = bench.storage.create_trial(
        replace(good, id=0, number=99, state=TrialState.WAITING, values=None, optuna_trial_id=None, finished_at=None)
    )
    bench.storage.finish_trial(again.id, TrialState.FAIL, error_class="wrong_output", error_message="wrong answer to a canary")
    assert "settings" not in advise(bench.storage, question).body() or advise(bench.storage, question).settings.get("arm") != "page_aligned"
    assert recommend_stored(bench.storage, outcome.study).body["settings"]["arm"] == "default"


@pytest.mark.slow
def test_where_every_configuration_has_a_server_of_its_own_they_share_the_first_ones_answers(bench: Workbench) -> None:
    launcher = FakeLauncher(answers=planted({BEST: forgetful(0.3)}), live_fields=frozenset())
    bench.run(launcher, **SMALL, rounds=1)
    assert bench.trial(BEST).error_class == "wrong_output"
    assert {trial.state for trial in bench.trials() if configuration_of(trial) != BEST} == {TrialState.COMPLETE}
    assert BEST not in {configuration_of(item) for item in bench.trials(Stage.CONFIRM)}

"""A search in one running engine: a queue stands in for it, so that the edge is known and faults come when a test wants them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from storage.base import Storage
from storage.records import CapacityRun, CapacityState, CapacityWindow
from tests.tuner.answering import answers, forgetful, right
from tests.tuner.capacity.queue_engine import QueueLauncher, QueueSession
from tuner.capacity.question import CapacityQuestion, question_of
from tuner.capacity.run import CapacityAsk, CapacitySearch
from tuner.capacity.stored import answer_of
from tuner.core.contract import Answered, EngineSettings, LiveSettings, LoadPlan, WindowResult
from tuner.core.errors import BadInput, EngineLost, FailureClass, TrialFailed
from tuner.setup.config_file import load_config
from tuner.setup.study_setup import prepare_study

pytestmark = pytest.mark.slow  # each is a search

WORKLOAD = "synthetic:input=8,output=2,requests=400,rate=1"


def _question(slo: str = "ttft_p90_ms<=200", **changes: Any) -> CapacityQuestion:
    given = {"model": "tiny-qwen3", "workload": WORKLOAD, "slos": [slo], "arms": ["default"], **changes}
    return question_of(load_config(None, given, unnamed="capacity"), prepare_study, None)


def _search(
    storage: Storage, launcher: QueueLauncher, question: CapacityQuestion | None = None, **ask: Any
) -> tuple[CapacitySearch, list[str]]:
    said: list[str] = []
    asked = CapacityAsk(**{"max_windows": 12, "precision": 0.05} | ask)
    return CapacitySearch(question or _question(), asked, storage, launcher, lambda text, window: said.append(text)), said


def _windows(storage: Storage, run: CapacityRun) -> list[CapacityWindow]:
    return list(storage.list_capacity_windows(run.id))


def test_the_edge_of_a_queue_is_found_in_one_engine(storage: Storage) -> None:
    """M/M/4 with a capacity of 40 requests/s: by Erlang's C formula a tenth of the requests waits more than 200 ms at 31.3 requests/s."""
    launcher = QueueLauncher()
    search, _ = _search(storage, launcher)
    run = search.run()
    assert run.state is CapacityState.FOUND
    assert run.low is not None
    assert run.high is not None
    assert run.low < 31.3 < run.high
    assert run.edge == pytest.approx(31.3, rel=0.08)
    assert (len(launcher.opened), launcher.running) == (1, 0)
    assert answer_of(storage, run).environment is not None
    assert len(_windows(storage, run)) <= 12


def test_a_configuration_that_answers_wrongly_has_no_load(storage: Storage) -> None:
    """The page-aligned arm, against the default arm in the same engine."""

    def answering(live: LiveSettings, plan: LoadPlan) -> list[Answered]:
        return answers(plan, forgetful(0.3) if live.arm == "page_aligned" else right)

    search, _ = _search(storage, QueueLauncher(answers=answering), _question(arms=["page_aligned"]))
    with pytest.raises(TrialFailed, match="wrong answer to a canary") as caught:
        search.run()
    assert caught.value.failure is FailureClass.WRONG_OUTPUT
    [run] = storage.list_capacity_runs(model="tiny-qwen3")
    assert (run.state, run.edge, _windows(storage, run)) == (CapacityState.FAIL, None, [])
    assert "wrong answer" in (run.reason or "")
    search, _ = _search(storage, QueueLauncher(answers=answering), _question(arms=["default"]))
    assert search.run().state is CapacityState.FOUND


def test_an_slo_that_an_idle_engine_misses_is_met_at_no_rate(storage: Storage) -> None:
    search, _ = _search(storage, QueueLauncher(), _question("e2el_p50_ms<=10"))
    run = search.run()
    assert (run.state, run.edge) == (CapacityState.NONE, None)
    assert "no rate meets e2el_p50_ms<=10" in answer_of(storage, run).sentence


def test_up_to_the_highest_rate_that_may_be_tried_it_is_at_least_that(storage: Storage) -> None:
    run = _search(storage, QueueLauncher(), highest=10.0)[0].run()
    assert (run.state, run.edge) == (CapacityState.AT_LEAST, 10.0)


def test_an_slo_that_does_not_see_the_queue_ends_where_the_engine_stops_to_keep_up(storage: Storage) -> None:
    run = _search(storage, QueueLauncher(), _question("tpot_p99_ms<=100000"))[0].run()
    assert run.state is CapacityState.FOUND
    assert run.edge == pytest.approx(40, rel=0.35)
    assert any("stopped" in window.details or not window.held for window in _windows(storage, run))


def test_each_window_has_requests_of_its_own(storage: Storage) -> None:
    plans: list[str] = []

    def note(window: WindowResult, plan: LoadPlan, nth: int) -> WindowResult:
        plans.append(plan.requests[0].prompt_token_ids.__repr__())
        return window

    run = _search(storage, QueueLauncher(change=note), max_windows=4)[0].run()
    assert len(set(plans[1:])) == len(_windows(storage, run)), "the first plan is the burst of the warm-up"


@pytest.mark.parametrize("lengths", ["lognormal:200:0.8:500", "100-500", "64"])
def test_the_engine_is_long_enough_for_the_longest_request_of_any_draw(lengths: str) -> None:
    """The engine was made for the first draw, and the second window's longest request did not fit."""
    question = _question(workload=f"synthetic:input={lengths},output=8,requests=12,rate=1")
    longest = max(len(request.prompt_token_ids) + request.max_tokens for nth in range(64) for request in question.plan(nth).requests)
    assert longest <= question.engine.max_model_len < 2 * max(longest, 512)


def test_a_length_that_some_draw_does_not_fit_is_refused_before_anything_starts() -> None:
    with pytest.raises(BadInput, match="does not fit max_model_len"):
        _question(workload="synthetic:input=lognormal:200:0.8:500,output=8,requests=12,rate=1", max_model_len=400, page_sizes=[16])


def test_a_built_in_model_is_written_before_the_engine_starts(storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an empty cache `tuner capacity --model tiny-qwen3` ended: its folder was taken for a name on Hugging Face."""
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))
    seen = []

    class Looking(QueueLauncher):
        def open(self, settings: EngineSettings, timeout_s: float) -> QueueSession:
            seen.append((Path(settings.model_path) / "config.json").is_file())
            return super().open(settings, timeout_s)

    _search(storage, Looking(), max_windows=3)[0].run()
    assert seen == [True]


def test_a_window_in_which_something_was_compiled_is_measured_again_and_kept_apart(storage: Storage) -> None:
    launcher = QueueLauncher(change=lambda window, plan, nth: replace(window, compilations=int(nth == 2)))
    run = _search(storage, launcher, max_windows=4)[0].run()
    found = _windows(storage, run)
    assert [window.invalid_reason for window in found].count("recompiled") == 1
    assert len(found) == 5
    assert not any(window.held for window in found if window.invalid_reason)


def test_an_engine_that_compiles_in_several_windows_is_asked_until_it_has_all_sizes(storage: Storage) -> None:
    """On XLA:CPU the first windows of 12 requests at once each had a batch of a new size, and the search ended."""
    launcher = QueueLauncher(change=lambda window, plan, nth: replace(window, compilations=int(2 <= nth < 10)))
    run = _search(storage, launcher, max_windows=4)[0].run()
    found = _windows(storage, run)
    assert [window.invalid_reason for window in found].count("recompiled") == 8
    assert len(found) == 12


def test_one_that_compiles_for_ever_ends_the_search_and_what_was_measured_stays(storage: Storage) -> None:
    launcher = QueueLauncher(change=lambda window, plan, nth: replace(window, compilations=int(nth >= 3)))
    search, _ = _search(storage, launcher)
    with pytest.raises(TrialFailed, match="recompiled"):
        search.run()
    [run] = storage.list_capacity_runs()
    assert (run.state, launcher.running) == (CapacityState.FAIL, 0)
    assert len([window for window in _windows(storage, run) if window.invalid_reason is None]) == 2


def test_a_lost_engine_fails_the_search_and_a_resumed_one_goes_on(storage: Storage) -> None:
    def lose(window: WindowResult, plan: LoadPlan, nth: int) -> WindowResult:
        if nth == 4:
            raise EngineLost(FailureClass.ENGINE_CRASH, "the engine process ended by signal SIGSEGV")
        return window

    search, _ = _search(storage, QueueLauncher(change=lose))
    with pytest.raises(EngineLost):
        search.run()
    [failed] = storage.list_capacity_runs()
    assert (failed.state, failed.edge, len(_windows(storage, failed))) == (CapacityState.FAIL, None, 3)
    assert "SIGSEGV" in str(failed.reason)
    again, _ = _search(storage, QueueLauncher())
    run = again.run(again.earlier())
    assert (run.id, run.state) == (failed.id, CapacityState.FOUND)
    assert [window.number for window in _windows(storage, run)] == list(range(len(_windows(storage, run))))


def test_ctrl_c_keeps_the_finished_windows(storage: Storage) -> None:
    def stop(window: WindowResult, plan: LoadPlan, nth: int) -> WindowResult:
        if nth == 3:
            raise KeyboardInterrupt
        return window

    launcher = QueueLauncher(change=stop)
    with pytest.raises(KeyboardInterrupt):
        _search(storage, launcher)[0].run()
    [run] = storage.list_capacity_runs()
    assert (run.state, len(_windows(storage, run)), launcher.running) == (CapacityState.INTERRUPTED, 2, 0)


def test_a_finished_search_is_answered_again_without_an_engine(storage: Storage) -> None:
    first = _search(storage, QueueLauncher())[0].run()
    launcher = QueueLauncher()
    search, _ = _search(storage, launcher)
    again = search.run(search.earlier())
    assert (again.id, again.edge, launcher.opened) == (first.id, first.edge, [])


def test_more_windows_go_on_where_it_ended(storage: Storage) -> None:
    first = _search(storage, QueueLauncher(), max_windows=5)[0].run()
    search, _ = _search(storage, QueueLauncher(), max_windows=8, precision=0.001)
    assert search.run(search.earlier()).id == first.id
    assert len(_windows(storage, first)) == 8


@pytest.mark.parametrize("other", [{"slo": "ttft_p90_ms<=300"}, {"page_sizes": [32], "chunk_budgets": [256]}, {"arms": ["page_aligned"]}])
def test_another_question_has_no_earlier_search(storage: Storage, other: dict[str, Any]) -> None:
    _search(storage, QueueLauncher(), max_windows=3)[0].run()
    assert _search(storage, QueueLauncher(), _question(**other))[0].earlier() is None
    assert _search(storage, QueueLauncher())[0].earlier() is not None


def test_windows_of_other_versions_do_not_count(storage: Storage) -> None:
    _search(storage, QueueLauncher(), max_windows=3)[0].run()
    search, _ = _search(storage, QueueLauncher(versions="1"))
    with pytest.raises(BadInput, match="other versions"):
        search.run(search.earlier())


def test_a_window_that_takes_too_long_did_not_hold_and_the_search_goes_on(storage: Storage) -> None:
    def slow(window: WindowResult, plan: LoadPlan, nth: int) -> WindowResult:
        if nth and len(plan.requests) / plan.last_arrival_s > 25:
            raise TrialFailed(FailureClass.TIMEOUT, "the window did not end in time")
        return window

    run = _search(storage, QueueLauncher(change=slow))[0].run()
    assert run.state is CapacityState.FOUND
    assert run.edge == pytest.approx(25, rel=0.15)
    timed_out = [window for window in _windows(storage, run) if window.load > 25]
    assert timed_out
    assert all(window.metrics == {} and "in time" in window.details["stopped"] for window in timed_out)


def test_another_failure_ends_the_search(storage: Storage) -> None:
    def fail(window: WindowResult, plan: LoadPlan, nth: int) -> WindowResult:
        raise TrialFailed(FailureClass.OUT_OF_MEMORY, "HBM is full")

    with pytest.raises(TrialFailed, match="HBM"):
        _search(storage, QueueLauncher(change=fail))[0].run()
    assert storage.list_capacity_runs()[0].state is CapacityState.FAIL

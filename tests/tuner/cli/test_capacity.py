"""`tuner capacity`: what it prints, stores and refuses. A queue stands in for the engine, so that the edge is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tuner.capacity.queue_engine import QueueLauncher
from tests.tuner.cli.terminal import Result, Terminal
from tuner.core.contract import LoadPlan, WindowResult
from tuner.core.errors import EngineLost, FailureClass

WORKLOAD = "synthetic:input=8,output=2,requests=400,rate=1"
SLO = "ttft_p90_ms<=200"


@pytest.fixture
def launcher(monkeypatch: pytest.MonkeyPatch) -> QueueLauncher:
    found = QueueLauncher()
    monkeypatch.setattr("tuner.launchers.choice.make_launcher", lambda _config: found)
    return found


@pytest.fixture
def measured(ready: Terminal, launcher: QueueLauncher) -> Terminal:
    assert _capacity(ready).code == 0
    launcher.opened.clear()
    return ready


def _capacity(terminal: Terminal, *more: str | Path, slo: str = SLO, workload: str = WORKLOAD, model: str = "tiny-qwen3") -> Result:
    places = ["--storage", terminal.url, "--logdir", str(terminal.folder / "profiles")]
    return terminal.run("capacity", "--model", model, "--workload", workload, "--slo", slo, *places, *more)


@pytest.mark.slow
def test_the_answer_the_curve_chips_and_cost_are_printed(ready: Terminal, launcher: QueueLauncher) -> None:
    done = _capacity(ready, "--load", "100", "--chip-hour-price", "1.5")
    assert done.code == 0, done.err
    assert "requests/s [" in done.out
    assert f"with {SLO}" in done.out
    assert "goodput by rate" in done.out
    assert "chips for 100 requests/s: 4" in done.out
    assert "cost per million tokens: " in done.out
    assert "starting the engine" in done.err
    assert done.err.count("requests/s: ") >= 5
    assert len(launcher.opened) == 1


@pytest.mark.slow
def test_json_is_one_document_with_interval_and_curve(ready: Terminal, launcher: QueueLauncher) -> None:
    found = _capacity(ready, "--json", "--load", "100").json
    assert (found["state"], found["status"], found["slos"]) == ("found", "measured", [SLO])
    assert found["low"] < 31.3 < found["high"]
    assert found["sizing"]["engines"] >= 4
    assert found["cost"] is None
    assert sum(point["windows"] for point in found["curve"]) == found["windows"] <= 12


@pytest.mark.slow
def test_requests_at_once_are_a_question_of_their_own(measured: Terminal, launcher: QueueLauncher) -> None:
    """4 servers, 90 % to begin within 200 ms: 8 at once."""
    by = ("--by", "concurrency")
    assert "no search of this question is stored" in _capacity(measured, *by, "--resume").err
    done = _capacity(measured, *by, "--load", "20", "--chip-hour-price", "2")
    assert done.code == 0, done.err
    assert "requests at once [" in done.out and "goodput by number of requests at once" in done.out
    assert "chips for 20 requests at once: 3" in done.out and "cost per million tokens: " in done.out
    found = _capacity(measured, *by, "--resume", "--json").json
    assert (found["by"], found["max_request_rate"], found["state"]) == ("concurrency", None, "found")
    assert found["low"] <= 8 <= found["high"] and found["max_concurrency"] == pytest.approx(8, abs=1)
    assert _capacity(measured, "--resume", "--json").json["by"] == "rate"
    enough = _capacity(measured, *by, "--max-windows", "12", slo="ttft_p90_ms<=60000")
    assert "at least 100 requests at once" in enough.out and "more requests (--requests) allow more at once" in enough.out


@pytest.mark.slow
def test_the_same_question_is_answered_again_without_an_engine(measured: Terminal, launcher: QueueLauncher) -> None:
    done = _capacity(measured, "--resume", "--json", "--chip-hour-price", "2")
    assert done.code == 0, done.err
    assert (done.json["state"], launcher.opened) == ("found", [])
    assert done.json["cost"]["per_million_tokens"] > 0


@pytest.mark.slow
def test_resume_without_an_earlier_search_is_bad_input(measured: Terminal, launcher: QueueLauncher) -> None:
    done = _capacity(measured, "--resume", slo="ttft_p90_ms<=201")
    assert done.code == 2
    assert "resume: no search of this question is stored; leave it out" in done.err


@pytest.mark.slow
def test_an_slo_that_no_rate_meets_is_an_answer(ready: Terminal, launcher: QueueLauncher) -> None:
    done = _capacity(ready, "--load", "5", slo="e2el_p50_ms<=1")
    assert done.code == 0, done.err
    assert "no rate meets e2el_p50_ms<=1" in done.out
    assert "chips for 5 requests/s: not known" in done.out


@pytest.mark.slow
def test_a_lost_engine_is_one_line_and_what_was_measured_counts_next_time(ready: Terminal, launcher: QueueLauncher) -> None:
    def lose(window: WindowResult, plan: LoadPlan, nth: int) -> WindowResult:
        if nth == 4:
            raise EngineLost(FailureClass.ENGINE_CRASH, "the engine process ended by signal SIGKILL")
        return window

    launcher.change = lose
    done = _capacity(ready, "--json")
    assert done.code == 1
    assert done.json["error"]["message"] == "the engine process ended by signal SIGKILL"
    launcher.change = None
    again = _capacity(ready, "--resume", "--json")
    assert (again.code, again.json["id"], again.json["state"]) == (0, 1, "found")


@pytest.mark.slow
def test_ctrl_c_says_so_and_keeps_the_windows(ready: Terminal, launcher: QueueLauncher) -> None:
    def stop(window: WindowResult, plan: LoadPlan, nth: int) -> WindowResult:
        if nth == 3:
            raise KeyboardInterrupt
        return window

    launcher.change = stop
    done = _capacity(ready)
    assert (done.code, launcher.running) == (130, 0)
    launcher.change = None
    assert _capacity(ready, "--resume", "--json").json["id"] == 1


@pytest.mark.slow
def test_page_size_budget_and_arm_are_what_is_started(ready: Terminal, launcher: QueueLauncher) -> None:
    found = _capacity(ready, "--page-size", "32", "--chunk-budget", "256", "--arm", "page_aligned", "--max-windows", "3", "--json").json
    assert found["settings"]["block_size"] == 32
    [engine] = launcher.opened
    assert (engine.block_size, engine.max_num_batched_tokens, engine.alignable) == (32, 256, True)


@pytest.mark.slow
def test_without_settings_vllms_own_are_started(ready: Terminal, launcher: QueueLauncher) -> None:
    _capacity(ready, "--max-windows", "3")
    [engine] = launcher.opened
    assert (engine.max_num_batched_tokens, engine.max_num_seqs, engine.alignable) == (2048, 128, False)


@pytest.mark.slow
def test_a_file_for_vllm_serve_is_taken_as_it_is(searched: Terminal, launcher: QueueLauncher) -> None:
    """The very file that `tuner recommend --format yaml` writes."""
    file = searched.folder / "serve.yaml"
    file.write_text(searched.run("recommend", "s", "--format", "yaml").out)
    done = _capacity(searched, "--config", file, "--max-windows", "3", "--json")
    assert done.code == 0, done.err
    assert done.json["settings"] == {"arm": "page_aligned", "block_size": 32, "max_num_batched_tokens": 256} | {
        name: done.json["settings"][name] for name in ("max_num_seqs", "max_model_len")
    }


@pytest.mark.slow
def test_the_recommended_settings_are_taken_from_what_was_measured(searched: Terminal, launcher: QueueLauncher) -> None:
    done = _capacity(searched, "--config", "recommended", "--max-windows", "3", "--json", slo="ttft_p99_ms<=5000", workload="demo")
    assert done.code == 0, done.err
    assert (done.json["settings"]["block_size"], done.json["settings"]["arm"]) == (32, "page_aligned")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--slo", "request_throughput>=5"], "slo request_throughput>=5: request_throughput does not get worse with the load"),
        (["--slo", "speed<=5"], "speed"),
        (["--start", "9", "--max-rate", "3"], "start 9 is above --max-rate 3; lower it"),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
        (["--config", "recommended"], "config recommended: "),
        (["--page-size", "24"], "page_size: 24 is not a power of two"),
        (["--chunk-budget", "64", "--page-size", "128", "--arm", "page_aligned"], "chunk budget"),
        (["--requests", "2"], "--requests"),
        (["--max-windows", "1"], "--max-windows"),
        (["--load", "0"], "--load"),
        (["--chip-hour-price", "-1"], "--chip-hour-price"),
        (["--launcher", "table"], "--launcher"),
        (["--launcher", "simulate"], "add --accelerator"),
        (["--accelerator", "v6e-1"], "only for --launcher simulate"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_started_or_written(
    ready: Terminal, launcher: QueueLauncher, more: list[str], said: str
) -> None:
    before = ready.files()
    done = _capacity(ready, *more)
    assert done.code == 2, done.err
    assert said in done.err
    assert done.err.strip().count("\n") == 0
    assert (launcher.opened, ready.files().keys()) == ([], before.keys())


@pytest.mark.parametrize(
    ("workload", "said"), [("nowhere", "workload 'nowhere'"), ("synthetic:input=8,output=2,requests=20,rate=inf", "rate")]
)
def test_a_workload_that_cannot_be_sent_at_a_rate_is_refused_or_drawn_anew(
    ready: Terminal, launcher: QueueLauncher, workload: str, said: str
) -> None:
    done = _capacity(ready, "--max-windows", "3", workload=workload)
    assert done.code == (2 if workload == "nowhere" else 0), done.err
    assert said in done.err or done.code == 0


def test_a_scheduler_that_is_not_ours_is_refused(ready: Terminal, launcher: QueueLauncher) -> None:
    file = ready.folder / "serve.yaml"
    file.write_text("block-size: 32\nscheduler-cls: somebody.Elses\n")
    done = _capacity(ready, "--config", file)
    assert done.code == 2
    assert "scheduler-cls somebody.Elses is not one of ours" in done.err


def _search(terminal: Terminal, *more: str) -> Result:
    places = ["--storage", terminal.url, "--logdir", str(terminal.folder / "profiles")]
    asked = ["--model", "tiny-qwen3", "--study", "s", "--page-sizes", "32", "--chunk-budgets", "256", "--workload", WORKLOAD]
    return terminal.run("search", *asked, *places, "--rounds", "1", "--profile", "none", "--objective", "max_request_rate", *more)


@pytest.mark.slow
def test_a_search_may_have_the_highest_rate_as_its_objective(ready: Terminal, launcher: QueueLauncher) -> None:
    done = _search(ready, "--slo", SLO, "--arms", "default", "--json")
    assert done.code == 0, done.err
    expected = done.json["recommendation"]["expected"]["max_request_rate"]
    assert expected["unit"] == "requests/s"
    assert 25 < expected["value"] < 38
    assert len(launcher.opened) == 2, "one to search, one to confirm"


@pytest.mark.slow
def test_such_a_search_goes_on_where_it_ended(ready: Terminal, launcher: QueueLauncher) -> None:
    assert _search(ready, "--slo", SLO, "--arms", "default").code == 0
    launcher.opened.clear()
    done = _search(ready, "--slo", SLO, "--arms", "default", "--resume")
    assert (done.code, launcher.opened) == (0, []), done.err


@pytest.mark.parametrize(
    ("more", "said"), [([], "needs a limit that has to hold"), (["--slo", "completed>=5"], "does not get worse with the load")]
)
def test_such_a_search_without_an_edge_is_refused(ready: Terminal, launcher: QueueLauncher, more: list[str], said: str) -> None:
    done = _search(ready, *more)
    assert (done.code, launcher.opened) == (2, [])
    assert said in done.err

"""`tuner search` on a table: plan, progress, verdicts, JSON; what a file and an option say."""

from __future__ import annotations

import json
import os
import signal

import pytest

from storage.upgrade import open_storage
from tests.tuner.cli.terminal import Terminal, is_one_line_error
from tests.tuner.fake_engine import FakeLauncher
from tuner.cli.interrupts import SIGNALS
from tuner.core.contract import EngineSettings
from tuner.core.errors import FailureClass, TrialFailed


@pytest.mark.slow
def test_a_search_ends_with_verdicts_flags_and_what_it_cost(ready: Terminal) -> None:
    result = ready.search("--study", "s")
    assert result.code == 0
    lines = result.out.splitlines()
    rows = [line.split() for line in lines if line.endswith("better")]
    assert [row[:3] for row in rows] == [[page, budget, "+10.0"] for page in ("16", "32") for budget in ("128", "256")]
    assert any(line.startswith("answer: on: page-aligned scheduling wins in 4 of 4 cells") for line in lines)
    assert any("vllm serve" in line and "--block-size 32" in line and "PageAlignedScheduler" in line for line in lines)
    assert lines[-1].startswith("wall time ") and lines[-1].endswith(" 4 engine starts, 30 measured windows")
    assert "trials" in result.err, "progress goes to standard error"
    assert {name.split("/")[0] for name in ready.files()} <= {"table.csv", "tuner.db", "tuner.db-wal", "tuner.db-shm"}


@pytest.mark.slow
def test_json_is_one_document(ready: Terminal) -> None:
    result = ready.search("--study", "s", "--json")
    document = result.json
    assert result.code == 0
    assert document["study"]["state"] == "COMPLETE"
    assert document["answer"]["answer"] == "on"
    assert len(document["comparisons"]) == 8  # four cells in the objective's metric and in TTFT
    assert document["recommendation"]["status"] == "recommended"
    assert document["run"]["engine_starts"] == 4 and document["run"]["measured_windows"] == 30


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_dry_run_prints_the_plan_and_writes_nothing(terminal: Terminal, form: str) -> None:
    before = terminal.files()
    result = terminal.search("--study", "s", "--dry-run", *(["--json"] if form == "json" else []))
    assert result.code == 0
    if form == "json":
        assert (result.json["trials"], result.json["engine_starts"], result.json["windows"]) == (8, 5, 33)
    else:
        assert "engine: page size 32, budget up to 256, 4 configurations inside" in result.out
        assert "engine starts at most 5, measured windows at most 33" in result.out
        assert "estimated time 0.0 s" in result.out and "a table answers at once" in result.out
    assert terminal.files() == before and not (terminal.folder.parent / "cache").exists()


@pytest.mark.slow
def test_a_dry_run_says_where_vllms_own_defaults_are_not_among_them(terminal: Terminal) -> None:
    plan = terminal.search("--study", "s", "--dry-run").out
    assert "vLLM's own defaults (page size 32, chunk budget 2048) are not among them" in plan
    assert "own defaults" not in terminal.search("--study", "s", "--chunk-budgets", "2048", "--dry-run").out


@pytest.mark.slow
def test_a_dry_run_knows_what_an_earlier_study_cost(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.launchers.choice.make_launcher", lambda _config: FakeLauncher())
    arguments = [item for item in terminal.search_arguments("--launcher", "local") if item not in ("--table", str(terminal.table))]
    assert "assumed" in terminal.run(*arguments, "--study", "first", "--dry-run").out
    assert terminal.run(*arguments, "--study", "first").code == 0
    assert "study 'first'" in terminal.run(*arguments, "--study", "second", "--dry-run").out


@pytest.mark.slow
def test_a_dry_run_refuses_what_the_search_would_refuse(searched: Terminal) -> None:
    """The fixture's study has an engine, so its settings are not the table's."""
    begin = ["--study", "t", "--trials", "2", "--warm-start"]
    for more, words in (
        (["--study", "s"], "study 's' exists; add --resume"),
        (["--study", "t", "--resume"], "nothing to resume"),
        ([*begin, "nowhere"], "warm_start 'nowhere': there is no such study"),
        ([*begin, "t"], "warm_start 't' is this study itself"),
    ):
        result = searched.search(*more, "--dry-run")
        assert result.code == 2 and is_one_line_error(result) and words in result.err
    assert searched.search(*begin, "s", "--dry-run").code == 0
    assert "was begun with " in searched.search("--study", "s", "--resume", "--seed", "7", "--dry-run").err


@pytest.mark.slow
def test_a_dry_run_of_a_resumed_study_counts_what_is_there(terminal: Terminal) -> None:
    assert terminal.search("--study", "s", "--profile", "none").code == 0
    result = terminal.search("--study", "s", "--profile", "none", "--resume", "--dry-run")
    assert "of these 30 windows are measured already" in result.out
    assert terminal.search("--study", "s", "--resume", "--dry-run", "--json").json["measured_windows"] == 30


@pytest.mark.parametrize("storage", ["tuner.db", "sqlite:////nowhere/tuner.db", "sqlite:///table.csv"])
def test_a_dry_run_names_a_database_that_cannot_be_used(terminal: Terminal, storage: str) -> None:
    result = terminal.search("--study", "s", "--storage", storage, "--dry-run")
    assert result.code == 2 and is_one_line_error(result) and "--storage" in result.err


@pytest.mark.slow
def test_settings_come_from_the_file_and_an_option_wins(ready: Terminal) -> None:
    settings = {
        "model": "tiny-qwen3",
        "study": "from-file",
        "storage": ready.url,
        "page_sizes": [16, 32],
        "chunk_budgets": [128],
        "workload": "demo",
        "rounds": 2,
        "launcher": "table",
        "table": str(ready.table),
        "profile": "none",
    }
    (ready.folder / "study.yaml").write_text(json.dumps(settings))
    result = ready.run("search", "study.yaml", "--chunk-budgets", "256", "--json")
    assert result.code == 0 and result.json["study"]["name"] == "from-file"
    assert {item["max_num_batched_tokens"] for item in result.json["comparisons"]} == {256}


@pytest.mark.slow
def test_a_study_gets_a_name_from_the_date(terminal: Terminal) -> None:
    assert terminal.search("--json").json["study"]["name"].startswith("study-2")


@pytest.mark.slow
def test_resume_adds_exactly_n(ready: Terminal) -> None:
    for more in (["--trials", "3"], ["--trials", "2", "--resume"]):
        assert ready.search("--study", "s", "--sampler", "random", *more).code == 0
    storage = open_storage(ready.url, create=False)
    try:
        trials = storage.list_trials(storage.get_study("s").id)
    finally:
        storage.close()
    assert sum(trial.stage == "search" for trial in trials) == 5


@pytest.mark.slow
def test_a_search_in_which_everything_fails_exits_with_1(ready: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(settings: EngineSettings, nth: int) -> None:
        raise TrialFailed(FailureClass.OUT_OF_MEMORY, "no room for 512 pages")

    monkeypatch.setattr("tuner.launchers.choice.make_launcher", lambda _config: FakeLauncher(on_open=refuse))
    result = ready.search("--study", "s")
    assert result.code == 1
    assert "recommendation: none" in result.out and "out_of_memory" in result.out
    assert result.err.count("failed: out_of_memory: no room for 512 pages") == 8


def test_a_warning_is_printed_and_the_search_goes_on(terminal: Terminal) -> None:
    result = terminal.search("--study", "s", "--engine-arg", "enable_lora=true", "--dry-run")
    assert result.code == 0 and "warning: engine_args: enable_lora (LoRA)" in result.err


@pytest.mark.slow
def test_the_environment_names_database_and_logdir(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNER_STORAGE", f"sqlite:///{terminal.folder / 'other.db'}")
    arguments = [item for item in terminal.search_arguments("--study", "s") if item not in ("--storage", terminal.url)]
    assert terminal.run(*arguments).code == 0
    assert (terminal.folder / "other.db").exists() and not (terminal.folder / "tuner.db").exists()


@pytest.mark.slow
def test_a_profile_is_offered_where_there_is_one(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.launchers.choice.make_launcher", lambda _config: FakeLauncher())
    result = terminal.search("--study", "s")
    assert f"profiles: tuner tensorboard --logdir {terminal.folder / 'profiles'}" in result.out
    assert "profiles:" not in terminal.search("--study", "t", "--profile", "none").out


def test_sigterm_while_it_plans_is_an_interruption_like_ctrl_c(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """It died of the signal, without a word, until the study was open."""

    def terminated(*_arguments: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    before, handlers = terminal.files(), [signal.getsignal(signum) for signum in SIGNALS]
    monkeypatch.setattr("tuner.launchers.choice.check_launcher", terminated)
    result = terminal.search("--study", "s")
    assert result.code == 130 and result.err.strip() == "interrupted: stopped by the user" and result.out == ""
    assert terminal.files() == before and [signal.getsignal(signum) for signum in SIGNALS] == handlers

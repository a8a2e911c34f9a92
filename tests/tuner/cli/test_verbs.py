"""The verbs that read: show, compare, recommend, export, db, tensorboard."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from functools import partial
from pathlib import Path

import pytest
import yaml

from tests.tuner.cli.terminal import Terminal, start_process
from tests.tuner.fake_engine import FakeLauncher, recompiled
from tests.waiting import PATIENCE_S
from tuner.core.contract import WindowResult
from tuner.setup.models import TINY_QWEN3_CONFIG
from tuner.setup.space import Configuration


def test_show_lists_studies(searched: Terminal) -> None:
    text = searched.run("show")
    assert text.code == 0 and text.out.splitlines()[1].split()[:4] == ["s", "COMPLETE", "tiny-qwen3", "throughput"]
    document = searched.run("show", "--json").json
    assert document["total"] == 1 and document["studies"][0]["trials"]["COMPLETE"] == 10


@pytest.mark.slow
def test_show_of_an_empty_database(terminal: Terminal) -> None:
    assert terminal.run("db", "upgrade", "--storage", terminal.url).code == 0
    assert "no study yet" in terminal.run("show", "--storage", terminal.url).out


def test_show_a_study(searched: Terminal) -> None:
    document = searched.run("show", "s", "--json").json
    assert len(document["trials"]) == 10
    first = document["trials"][0]
    assert (first["number"], first["state"], first["measurements"], first["stage"]) == (0, "COMPLETE", 3, "search")
    profiled = [trial["profiles"] for trial in document["trials"] if trial["profiles"]]
    assert [[profile["status"] for profile in profiles] for profiles in profiled] == [["ok", "ok"]] * 2
    assert profiled[0][0]["link"].startswith("http://127.0.0.1:6006/?run=s%2Ftrial-0008-")
    text = searched.run("show", "s").out
    assert text.count("profile of trial 8, all: http://127.0.0.1:6006/?run=s%2Ftrial-0008-") == 1
    assert "study s: COMPLETE" in text and "4 engine starts" in text
    assert len([line for line in text.splitlines() if re.search(r"COMPLETE +3 ", line)]) == 10
    assert "objective throughput (total_token_throughput in tokens/s, more is better)" in text


@pytest.mark.slow
def test_show_tells_failures_and_invalid_windows(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    def hook(configuration: Configuration, nth: int, result: WindowResult) -> WindowResult:
        return recompiled(result) if configuration.arm == "page_aligned" else result

    monkeypatch.setattr("tuner.launchers.choice.make_launcher", lambda _config: FakeLauncher(on_measure=hook))
    terminal.search("--study", "s", "--profile", "none")
    text = terminal.run("show", "s", "--storage", terminal.url).out
    assert "9 (9 invalid)" in text and "invalid_measurement: no valid measurement: 9 x recompiled" in text


@pytest.mark.parametrize("arguments", [["--json"], ["--format", "json"]])
def test_compare_as_json(searched: Terminal, arguments: list[str]) -> None:
    document = searched.run("compare", "s", *arguments).json
    assert document["answer"]["answer"] == "on"
    assert {item["verdict"] for item in document["comparisons"]} == {"better"}
    assert set(document["answers"]) == {"total_token_throughput", "ttft_p99_ms"}


def test_compare_as_text_and_markdown(searched: Terminal) -> None:
    assert "page size  chunk budget  aligned/default" in searched.run("compare", "s").out
    assert "ttft_p99_ms (ms, less is better):" in searched.run("compare", "s", "--metric", "ttft_p99_ms").out
    assert "  better: the whole interval is a gain" in searched.run("compare", "s").out.splitlines()
    assert searched.run("compare", "s", "--format", "markdown").out.startswith("# Page-aligned scheduling: study s")


def test_recommend_in_all_forms(searched: Terminal) -> None:
    document = searched.run("recommend", "s", "--json").json
    assert document["status"] == "recommended" and document["settings"]["block_size"] == 32
    flags = shlex.split(searched.run("recommend", "s", "--format", "flags").out)
    assert flags == document["vllm_args"]
    config = yaml.safe_load(searched.run("recommend", "s", "--format", "yaml").out)
    assert config["block-size"] == 32 and config["max-num-batched-tokens"] == 256
    assert {name.removeprefix("no-") for name in config} == {name.replace("_", "-") for name in document["config"]}
    assert "vllm serve" in searched.run("recommend", "s").out


def test_recommend_by_model_accelerator_and_workload(searched: Terminal) -> None:
    by_model = searched.run("recommend", "--model", "tiny-qwen3", "--json").json
    exact = searched.run("recommend", "--model", "tiny-qwen3", "--accelerator", "fake engine", "--workload", "demo", "--json").json
    assert by_model["config"] == exact["config"] and exact["evidence"]["study"] == "s"
    assert exact["match"] == {"kind": "exact", "distance": 0.0, "parts": {}}
    assert [any("workload demo" in note for note in answer["caveats"]) for answer in (by_model, exact)] == [True, False]


def test_recommend_where_nothing_is_near(searched: Terminal) -> None:
    """vLLM's defaults, never the settings of another machine."""
    asked = ("recommend", "--model", "tiny-qwen3", "--accelerator", "TPU v6e-4")
    document = searched.run(*asked, "--json").json
    assert (document["status"], document["match"]["kind"], document["vllm_args"]) == ("default", "none", [])
    assert "recommendation: default" in searched.run(*asked).out
    assert yaml.safe_load(searched.run(*asked, "--format", "kubernetes").out) == {"command": ["vllm", "serve"], "args": ["tiny-qwen3"]}
    assert "unknown" in searched.run("recommend", "--model", "other", "--json").json["reason"]


@pytest.mark.slow
def test_recommend_the_nearest(searched: Terminal) -> None:
    """A model with one layer more, by its config.json; an SLO is met by measurement or not at all."""
    deeper = searched.folder / "deeper"
    deeper.mkdir()
    (deeper / "config.json").write_text(json.dumps({**TINY_QWEN3_CONFIG, "num_hidden_layers": 3}))
    asked = ("recommend", "--model", str(deeper), "--accelerator", "fake engine", "--workload", "demo")
    document = searched.run(*asked, "--json").json
    assert (document["status"], document["match"]["kind"]) == ("recommended", "nearest")
    assert 0 < document["match"]["distance"] <= 1 and list(document["match"]["parts"]) == ["layers"]
    assert document["config"]["model"] == str(deeper) and "load_format" not in document["config"]
    text = searched.run(*asked).out
    assert "match: nearest" in text and "layers: asked 3, measured 2" in text
    exact = ("recommend", "--model", "tiny-qwen3", "--workload", "demo")
    unmet = searched.run(*exact, "--slo", "ttft_p99_ms<=0.001", "--json").json
    assert (unmet["status"], unmet["config"]) == ("none", {}) and "not shown to be met" in unmet["reason"]
    assert searched.run(*exact, "--slo", "ttft_p99_ms<=0.001", "--format", "flags").code == 1
    met = searched.run(*exact, "--slo", "ttft_p99_ms<=1e9", "--json").json
    assert met["status"] == "recommended" and any("measurements meet it" in note for note in met["caveats"])


@pytest.mark.slow
@pytest.mark.parametrize(("form", "code"), [("table", 0), ("json", 0), ("yaml", 1), ("flags", 1)])
def test_none_is_an_answer_but_no_flags(terminal: Terminal, form: str, code: int) -> None:
    assert terminal.search("--study", "s", "--slo", "ttft_p99_ms<=1").code == 0
    result = terminal.run("recommend", "s", "--format", form, "--storage", terminal.url)
    assert result.code == code
    assert "no configuration meets ttft_p99_ms<=1" in (result.err if code else result.out)


@pytest.mark.slow
def test_export_as_csv_holds_every_window_and_every_failure(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    def hook(configuration: Configuration, nth: int) -> None:
        if configuration.arm == "page_aligned" and configuration.block_size == 16:
            raise KeyError("never")

    monkeypatch.setattr("tuner.launchers.choice.make_launcher", lambda _config: FakeLauncher(on_warm_up=hook))
    terminal.search("--study", "s", "--profile", "none")
    rows = list(csv.DictReader(io.StringIO(terminal.run("export", "s", "--storage", terminal.url).out)))
    measured = [row for row in rows if row["round"]]
    failed = [row for row in rows if row["state"] == "FAIL"]
    assert measured and all(float(row["total_token_throughput"]) > 0 for row in measured)
    assert failed and all(row["error_class"] == "internal" and row["total_token_throughput"] == "" for row in failed)


def test_export_as_json_into_a_file(searched: Terminal) -> None:
    assert searched.run("export", "s", "--json", "--output", "s.json").out == ""
    document = searched.run("export", "s", "--format", "json").json
    assert Path("s.json").read_text() == searched.run("export", "s", "--json").out
    assert len(document["trials"]) == 10 and all(len(trial["measurements"]) == 3 for trial in document["trials"])


@pytest.mark.slow
def test_db_check_upgrade_and_backup(searched: Terminal) -> None:
    assert searched.run("db", "check", "--json").json["ok"] is True
    assert searched.run("db", "upgrade").code == 0
    backup = searched.run("db", "backup", "copy.db", "--json").json
    assert backup["size_bytes"] == Path("copy.db").stat().st_size
    assert searched.run("show", "--storage", "sqlite:///copy.db", "--json").json["total"] == 1
    assert searched.run("db", "backup", "copy.db").code == 2


def test_tensorboard_runs_on_loopback_with_the_logdir(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def ended(arguments: list[str]) -> subprocess.Popen[str]:
        seen.append(arguments)
        return start_ended()

    start_ended = partial(subprocess.Popen[str], ["true"])
    monkeypatch.setattr("tuner.cli.tensorboard.subprocess.Popen", ended)
    (terminal.folder / "profiles").mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    result = terminal.run("tensorboard", "--logdir", "profiles", "--port", port)
    assert result.code == 0 and f"http://127.0.0.1:{port}/" in result.out
    assert "the HParams tab stays empty" in result.err  # no database here
    ((python, _, module, logdir, host, asked),) = seen
    assert (python, module, host, asked) == (sys.executable, "profiles.tensorboard_main", "--host=127.0.0.1", f"--port={port}")
    assert logdir == f"--logdir={terminal.folder / 'profiles'}"


def test_tensorboard_says_that_a_port_is_taken(terminal: Terminal) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = terminal.run("tensorboard", "--logdir", ".", "--port", str(taken.getsockname()[1]))
    assert result.code == 2 and "choose another with --port" in result.err


@pytest.mark.browser
def test_tensorboard_really_answers(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard", reason="needs vllm-tpu-tuner[ui]")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = start_process(
        ["tensorboard", "--logdir", str(terminal.folder), "--port", str(port)], {"PATH": "/usr/bin:/bin", "HOME": str(terminal.folder)}
    )
    try:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                assert b"TensorBoard" in urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).read()
                return
            except OSError:
                assert process.poll() is None, process.communicate()
                time.sleep(0.5)
        raise AssertionError("TensorBoard did not answer within a minute")
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


def test_show_says_what_is_wrong_with_a_profile(searched: Terminal) -> None:
    connection = sqlite3.connect(searched.folder / "tuner.db")
    with connection:
        problems = json.dumps(["unsteady", "few_steps"])
        connection.execute("UPDATE tuner_profiles SET status = 'bad', quality = json_set(quality, '$.problems', json(?))", (problems,))
    connection.close()
    assert searched.run("show", "s").out.count(", all (bad: unsteady, few_steps): http://127.0.0.1:6006/?run=s") == 2

"""Bad input: one line, exit code 2, no traceback, nothing written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.tuner.cli.terminal import Terminal, is_one_line_error

LAST_WINS = [
    (["--page-sizes", "16,48"], "page_sizes: 48 is not a power of two"),
    (["--page-sizes", "512"], "page_sizes: 512 is above the chunk budget 128"),
    (["--page-sizes", "16,x"], "--page-sizes: 'x' is not a whole number"),
    (["--page-sizes", ","], "--page-sizes: must not be empty"),
    (["--chunk-budgets", "96", "--alignment-variant", "strict", "--page-sizes", "64"], "does not divide the chunk budget 96"),
    (["--model", "no-such-model"], "unknown model 'no-such-model'"),
    (["--model", "/nowhere/model"], "unknown model '/nowhere/model'"),
    (["--storage", "tuner.db"], "did you mean sqlite:///tuner.db?"),
    (["--storage", "sqlite:////nowhere/tuner.db"], "the folder /nowhere does not exist"),
    (["--storage", "mysql://h/d"], "'mysql' is not supported"),
    (["--workload", "nonsense"], "workload 'nonsense' is unknown"),
    (["--workload", "synthetic:input=64,outptu=4"], "the key 'outptu' is unknown"),
    (["--max-model-len", "64"], "does not fit max_model_len 64"),
    (["--objective", "speed"], "metric 'speed' is unknown"),
    (["--slo", "ttft<5"], "metric 'ttft' is unknown"),
    (["--arms", "aligned"], "arms: 'aligned' is unknown"),
    (["--rounds", "many"], "--rounds: 'many' is not a number of rounds"),
    (["--time-budget", "soon"], "--time-budget: 'soon' is not a duration"),
    (["--trials", "0"], "--trials: 0 is not above 0"),
    (["--trials", "x"], "'x' is not a valid integer"),
    (["--sampler", "magic"], "'magic' is not one of"),
    (["--launcher", "rocket"], "launcher 'rocket' is unknown"),
    (["--table", "/nowhere/table.csv"], "table /nowhere/table.csv cannot be read"),
    (["--engine-arg", "data_parallel_size=2"], "data_parallel_size 2 (data parallelism)"),
    (["--engine-arg", "speculative_config={method: ngram}"], "speculative_config (speculative decoding)"),
    (["--engine-arg", "nonsense"], "write KEY=VALUE"),
    (["--page-sizes", "0"], "--page-sizes: 0 is not above 0"),
    (["--page-sizes", "9999999999"], "--page-sizes: 9999999999 is not at most 1048576"),
    (["--objective", "troughput"], "did you mean request_throughput?"),
    (["--slo", "ttft_p99_ms>=5"], "write ttft_p99_ms<=5"),
    (["--guard", "maybe"], "guard: SLO 'maybe' cannot be read"),
    (["--guard", "canary_match>=0.9", "--no-guard"], "guard 'canary_match>=0.9' is given beside --no-guard; keep one"),
    (["--no-guard", "--guard", "on"], "guard 'on' is given beside --no-guard; keep one"),
    (["--gate", "throughput>=nan*published"], "gate 'throughput>=nan*published' cannot be read"),
    (["--guard", "ttft_p99_ms<=5"], "guard: ttft_p99_ms says nothing about answers; use canary_match>=0.98"),
    (["--guard", "canary_match>=0.9,canary_match>=0.8"], "guard: canary_match>=0.9 and canary_match>=0.8 limit the same metric"),
    (["--slo", "ttft_p99_ms=<5"], "cannot be read; write METRIC<=NUMBER"),
    (["--kv-write", "fast"], "kv_write: 'fast' is unknown"),
    (["--logdir", ""], "logdir is empty"),
    (
        ["--logdir", "gs://bucket/runs"],
        "logdir gs://bucket/runs: profiles lie in a folder of this machine, not in gs://; name a folder",
    ),
    (["--logdir", "s3://bucket"], "not in s3://"),
    (["--logdir", "hdfs:/runs"], "not in hdfs:/"),
    (["--logdir", "file:///tmp/x"], "not in file://"),
    (["--engine-arg", "a=1:30"], "1:30 is a number to the base of 60 in YAML 1.1"),
    (["--engine-arg", "a=0256"], "0256 is a number to the base of 8"),
    (["--pagesizes", "16"], "Did you mean '--page-sizes'?"),
    (["--engine-arg", "a={"], "the value is not valid YAML"),
    (["--engine-arg", "a={b: 1, b: 2}"], "the value is not valid YAML (the key 'b' is there twice)"),
    (["--engine-arg", "a=1", "--engine-arg", "a=2"], "--engine-arg 'a' is given twice; keep one"),
    (["--engine-arg", "a=2026-01-01"], "engine_args: a: date cannot be kept as JSON"),
    (["--engine-arg", "a={b: .nan}"], "engine_args: a['b']: nan is not a finite number"),
    (
        ["--engine-arg", "hf_token=abc"],
        "hf_token holds a secret, which would be stored and shown; set it as an environment variable (HF_TOKEN)",
    ),
    (["--engine-arg", "model_loader_extra_config={credentials: {password: x1}}"], "model_loader_extra_config holds a secret"),
    (["--engine-arg", "additional_config={api-key: abc}"], "additional_config holds a secret"),
    (["--engine-arg", "tokenizer=https://me:pw@example.org/t"], "tokenizer holds a secret"),
    (["--study", "a/b"], "study 'a/b'"),
    (["--foresight"], "foresight on: needs a TPU here"),
    (["--resume"], "there is no database at"),
    (["--trials", "2", "--warm-start", "nowhere"], "warm_start 'nowhere': there is no such study"),
    (["--warm-start", "nowhere"], "warm_start 'nowhere': sampler grid has no use for earlier results"),
    (["/nowhere/study.yaml"], "/nowhere/study.yaml cannot be read"),
]


@pytest.mark.parametrize(("arguments", "words"), LAST_WINS, ids=[" ".join(arguments) for arguments, _ in LAST_WINS])
def test_one_line_exit_2_and_nothing_written(terminal: Terminal, arguments: list[str], words: str) -> None:
    before = terminal.files()
    for more in ([], ["--dry-run"]):
        result = terminal.search("--study", "s", *arguments, *more)
        assert result.code == 2 and is_one_line_error(result), result.err
        assert words in result.err
    assert terminal.files() == before and not (terminal.folder.parent / "cache").exists()


def test_no_tpu_where_one_is_asked_for(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.launchers.choice.tpu_present", lambda: False)
    before = terminal.files()
    result = terminal.run("search", "--model", "tiny-qwen3", "--study", "s", "--platform", "tpu", "--storage", terminal.url)
    assert result.code == 2 and is_one_line_error(result)
    assert "platform tpu: no TPU found on this machine" in result.err
    assert terminal.files() == before


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("page_size: [16]", "study.yaml: the key 'page_size' is unknown; did you mean page_sizes?"),
        ("workload: demo\nworkload: chat", "study.yaml:4: the key 'workload' is there twice"),
        ("rounds: [1]", "study.yaml: rounds"),
        ("page_sizes: [24]", "study.yaml: page_sizes: 24 is not a power of two"),
        ("slos: [ttft_p99_ms]", "study.yaml: slos: SLO 'ttft_p99_ms' cannot be read; write METRIC<=NUMBER"),
        ("slos: ['tttft_p99_ms<=5']", "study.yaml: slos: metric 'tttft_p99_ms' is unknown; did you mean ttft_p99_ms?"),
        ("objective: speed", "study.yaml: objective: metric 'speed' is unknown"),
    ],
)
def test_a_bad_file(terminal: Terminal, text: str, words: str) -> None:
    (terminal.folder / "study.yaml").write_text(f"model: tiny-qwen3\nstudy: s\n{text}\n")
    before = terminal.files()
    result = terminal.run("search", "study.yaml", "--storage", terminal.url)
    assert result.code == 2 and is_one_line_error(result) and words in result.err
    assert terminal.files() == before


def test_a_database_that_cannot_be_written(terminal: Terminal) -> None:
    """A folder in the file's place: unlike missing permissions this stops root as well."""
    (terminal.folder / "tuner.db").mkdir()
    result = terminal.search("--study", "s")
    assert result.code == 2 and is_one_line_error(result) and "is a folder" in result.err
    assert list((terminal.folder / "tuner.db").iterdir()) == []


def test_a_file_that_is_no_database(terminal: Terminal) -> None:
    (terminal.folder / "tuner.db").write_text(
        "certainly not SQLite, and longer than its header of a hundred bytes, which it looks at first of all"
    )
    before = terminal.files()
    result = terminal.search("--study", "s")
    assert result.code == 2 and is_one_line_error(result) and "file is not a database" in result.err
    assert terminal.files() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(terminal: Terminal) -> None:
    terminal.folder.chmod(0o555)
    try:
        result = terminal.search("--study", "s")
    finally:
        terminal.folder.chmod(0o755)
    assert result.code == 2 and is_one_line_error(result)


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_is_told_before_a_study_exists(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """The study was stored, as failed, and its name taken."""
    monkeypatch.setenv("TUNER_CACHE", str(terminal.table / "cache"))
    result = terminal.search("--study", "s")
    assert result.code == 2 and result.err.endswith("set TUNER_CACHE to another\n")
    monkeypatch.setenv("TUNER_CACHE", str(terminal.folder / "cache"))
    assert terminal.run("show", "s", "--storage", terminal.url).code == 2
    assert terminal.search("--study", "s").code == 0


def test_a_logdir_below_a_file(terminal: Terminal) -> None:
    before = terminal.files()
    result = terminal.search("--study", "s", "--logdir", terminal.table / "profiles")
    assert result.code == 2 and is_one_line_error(result) and "name another with --logdir" in result.err
    assert terminal.files() == before


@pytest.mark.slow
def test_the_name_is_taken(searched: Terminal) -> None:
    before = searched.files()
    result = searched.search("--study", "s")
    assert result.code == 2 and is_one_line_error(result) and "study 's' exists; add --resume" in result.err
    assert {name for name in searched.files() if not name.endswith(("-wal", "-shm"))} == {name for name in before if "-" not in name}


def test_resuming_needs_the_name(terminal: Terminal) -> None:
    result = terminal.search("--resume")
    assert result.code == 2 and is_one_line_error(result) and "study is missing; give --study" in result.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["show", "nope"], "study 'nope' is not in this database; newest: s"),
        (["compare", "nope"], "study 'nope'"),
        (["compare", "s", "--metric", "speed"], "metric 'speed' is unknown"),
        (["compare", "s", "--metric", "tpot_p99_ms"], "metric tpot_p99_ms was not measured in both arms"),
        (["recommend", "nope"], "study 'nope'"),
        (["recommend"], "name either a STUDY or --model"),
        (["recommend", "s", "--model", "m"], "name either a STUDY or --model"),
        (["recommend", "--model", " "], "--model is empty"),
        (["recommend", "s", "--workload", "demo"], "go with --model"),
        (["recommend", "--model", "other", "--objective", "speed"], "metric 'speed' is unknown"),
        (["recommend", "--model", "other", "--slo", "fast"], "SLO 'fast' cannot be read"),
        (["token", "revoke", "ci"], "token 'ci'"),
        (["token", "rotate", "ci"], "token 'ci' does not exist"),
        (["token", "create", " "], "token name ' '"),
        (["export", "nope"], "study 'nope'"),
        (["export", "s", "--output", "/nowhere/x.csv"], "--output /nowhere/x.csv cannot be written"),
        (["tensorboard", "--logdir", "gs://bucket/runs"], "profiles lie in a folder of this machine, not in gs://"),
        (["serve", "--logdir", "gs://bucket/runs"], "profiles lie in a folder of this machine, not in gs://"),
        (["tensorboard", "--logdir", "nope"], "logdir nope does not exist"),
        (["tensorboard", "--logdir", ".", "--host", "0.0.0.0"], "host 0.0.0.0 is not a loopback address"),
        (["tensorboard", "--logdir", ".", "--host", "example.org"], "host example.org is not a loopback address"),
        (["db", "check", "--storage", "sqlite:////nowhere/x.db"], "/nowhere"),
        (["show", "--storage", "sqlite:///none.db"], "there is no database at"),
    ],
)
def test_the_other_verbs(searched: Terminal, arguments: list[str], words: str) -> None:
    result = searched.run(*arguments)
    assert result.code == 2 and is_one_line_error(result), result
    assert words in result.err


def test_an_export_never_replaces_a_file(searched: Terminal) -> None:
    (searched.folder / "x.csv").write_text("mine")
    result = searched.run("export", "s", "--output", "x.csv")
    assert result.code == 2 and is_one_line_error(result) and Path("x.csv").read_text() == "mine"

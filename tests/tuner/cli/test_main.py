"""The command as a whole: lazy verbs, help with examples, one line for an error, exit codes."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from storage.base import StorageUnavailable
from storage.records import Study
from storage.upgrade import open_storage
from tests.tuner.cli.terminal import ROOT, Terminal, is_one_line_error
from tuner.cli.command_line import VERBS, run
from tuner.cli.options import print_json
from tuner.core.errors import BadInput, FailureClass, Interrupted, TrialFailed

HEAVY = ("optuna", "sqlalchemy", "pydantic", "numpy", "jax", "vllm", "rich")


@pytest.mark.slow
def test_help_loads_nothing_heavy_and_is_fast() -> None:
    """Half a second of processor time at most; the best of three, since others may be using the machine."""
    loaded = f"print(*[name for name in {HEAVY!r} if name in sys.modules], sep=',')"
    code = f"import sys; from tuner.cli.command_line import run; run(['--help']); {loaded}"
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert done.stdout.splitlines()[-1] == "", "nothing heavy was imported"
    assert all(verb in done.stdout for verb in VERBS)
    assert min(seconds) < 0.5


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_loads_and_shows_examples(terminal: Terminal, verb: str) -> None:
    result = terminal.run(verb, "--help")
    assert result.code == 0 and "Example" in result.out and f"tuner {verb}" in result.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nosuch"], "No such command 'nosuch'. See tuner --help."),
        (["serach"], "No such command 'serach'. Did you mean 'search'?"),
        (["db", "chekc"], "Did you mean 'check'?"),
        (["show", "--nosuch"], "No such option"),
        (["compare"], "Missing"),
    ],
)
def test_a_wrong_command_line_is_one_line(terminal: Terminal, arguments: list[str], words: str) -> None:
    result = terminal.run(*arguments)
    assert result.code == 2 and is_one_line_error(result) and words in result.err


@pytest.mark.parametrize("arguments", [[], ["db"], ["token"], ["profile"]])
def test_a_group_alone_shows_its_help(terminal: Terminal, arguments: list[str]) -> None:
    result = terminal.run(*arguments)
    assert result.code == 2 and result.out == ""
    assert result.err.startswith("Usage: tuner") and "\nCommands:\n" in result.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["serach"], "Did you mean 'search'?"),
        (["show", "--limit", "0"], "'--limit'"),
        (["show", "--storage", "nonsense"], "did you mean sqlite:///nonsense?"),
        (["search", "--model", "tiny-qwen3", "--page-sizes", "24"], "page_sizes: 24"),
        (["recommend"], "name either a STUDY or --model"),
        (["profile", "show", "nope.xplane.pb"], "no such file"),
        (["token", "list", "--storage", "nonsense"], "not a database URL"),
        (["db", "check", "--storage", "nonsense"], "not a database URL"),
        (["tensorboard", "--logdir", "nope"], "logdir nope does not exist"),
    ],
)
def test_an_error_is_a_document_too_where_json_is_asked_for(terminal: Terminal, arguments: list[str], words: str) -> None:
    result = terminal.run(*arguments, "--json")
    assert result.code == 2 and words in result.json["error"]["message"]
    assert result.json["error"]["exit_code"] == 2
    assert result.err == f"error: {result.json['error']['message']}\n"


def test_never_two_documents(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails after the document was printed adds nothing to standard output."""

    def print_and_fail(*_arguments: object) -> None:
        print_json({"first": 1})
        raise TrialFailed(FailureClass.STARTUP, "late")

    monkeypatch.setattr("tuner.cli.show.reading", print_and_fail)
    result = terminal.run("show", "--json")
    assert (result.code, result.json) == (1, {"first": 1})
    assert terminal.run("show", "--limit", "0", "--json").json["error"]["exit_code"] == 2, "the next command line begins afresh"


@pytest.mark.slow
def test_python_m_tuner_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "tuner", "--version"], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.startswith("tuner, version ")


def test_version(terminal: Terminal) -> None:
    result = terminal.run("--version")
    assert result.code == 0 and "tuner" in result.out


@pytest.mark.parametrize(
    ("raised", "code", "line"),
    [
        (BadInput("two\nlines"), 2, "error: two lines\n"),
        (StorageUnavailable("no database"), 2, "error: no database\n"),
        (TrialFailed(FailureClass.STARTUP, "no engine"), 1, "error: no engine\n"),
        (Interrupted("go on with --resume"), 130, "interrupted: go on with --resume\n"),
        (KeyboardInterrupt(), 130, "interrupted: stopped by the user\n"),
        (ZeroDivisionError("oops"), 1, "error: internal: ZeroDivisionError: oops; TUNER_DEBUG=1 shows where\n"),
    ],
)
def test_exit_codes(terminal: Terminal, monkeypatch: pytest.MonkeyPatch, raised: BaseException, code: int, line: str) -> None:
    def fail(*_arguments: object, **_named: object) -> None:
        raise raised

    monkeypatch.setattr("tuner.cli.options.required_study", fail)
    monkeypatch.setattr("tuner.cli.show.reading", fail)
    result = terminal.run("show", "x")
    assert (result.code, result.err.lstrip(), result.out) == (code, line, "")  # click ends the line of a ^C


def test_debug_shows_the_traceback(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNER_DEBUG", "1")
    result = terminal.run("show", "--storage", "nonsense")
    assert result.code == 2 and "Traceback" in result.err and result.err.splitlines()[-1].startswith("error: ")


@pytest.mark.slow
def test_a_reader_that_leaves_is_no_error(searched: Terminal) -> None:
    pipeline = f"{sys.executable} -c 'from tuner.cli.main import main; main()' export s | head -1"
    done = subprocess.run(
        ["sh", "-c", pipeline],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=searched.folder,
    )
    assert done.stdout.startswith("trial,stage") and "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("redirect", "environment", "words"),
    [
        ("> /dev/full", {}, "error: No space left on device"),
        (">&-", {}, ""),
        ("", {"PYTHONIOENCODING": "ascii"}, "cannot be printed in ascii; set PYTHONIOENCODING=utf-8"),
    ],
    ids=["full disk", "closed", "ascii"],
)
def test_an_output_that_cannot_be_written(searched: Terminal, redirect: str, environment: dict[str, str], words: str) -> None:
    storage = open_storage(searched.url, create=False)
    storage.create_study(Study(name="t", model="modèle", config={}, objective="throughput", model_features={}))
    storage.close()
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m tuner show {redirect}"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        cwd=searched.folder,
    )
    assert done.returncode == (1 if words else 0) and done.stderr.count("\n") == (1 if words else 0), done.stderr
    assert words in done.stderr and "Traceback" not in done.stderr


def test_an_interrupt_while_the_command_is_loaded(tmp_path: Path) -> None:
    """The first import of the command ends like a Ctrl-C."""
    (tmp_path / "click.py").write_text("raise KeyboardInterrupt\n")
    code = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]; from tuner.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr, done.stdout) == (130, "interrupted: stopped by the user\n", "")


def test_run_takes_the_command_line_of_the_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["tuner", "--version"])
    assert run() == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("tuner sea", ["search"]),
        ("tuner search --sam", ["--sampler"]),
        ("tuner compare ", ["s"]),
        ("tuner show s", ["s"]),
        ("tuner show t", []),
    ],
)
def test_a_shell_completes(searched: Terminal, typed: str, offered: list[str]) -> None:
    """Verbs, options, and names of studies."""
    asked = {"_TUNER_COMPLETE": "bash_complete", "COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split(" ")) - 1)}
    code = "from tuner.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT), **asked}, check=False
    )
    assert [line.removeprefix("plain,") for line in done.stdout.split()] == offered and done.stderr == ""


@pytest.mark.slow
def test_completion_is_silent_where_there_is_no_database(terminal: Terminal) -> None:
    asked = {"_TUNER_COMPLETE": "bash_complete", "COMP_WORDS": "tuner show ", "COMP_CWORD": "2", "TUNER_STORAGE": terminal.url}
    code = "from tuner.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT), **asked}, check=False
    )
    assert (done.stdout.strip(), done.stderr) == ("", "") and terminal.files().keys() == {"table.csv"}

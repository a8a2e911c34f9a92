"""The examples that `--help` prints: all are understood, and those that need no engine, profile or port are run as they stand."""

from __future__ import annotations

import shlex
import sqlite3
import subprocess
from collections.abc import Iterator

import click
import pytest

from tests.tuner.cli.command_lines import arguments_of, parse, tuner_lines
from tests.tuner.cli.terminal import Terminal
from tuner.cli.command_line import cli
from tuner.engine.devices import Devices

# Verbs whose examples need more than a database: they are parsed only.
# queue, watch and worker need submissions: tests/tuner/cli/test_queue.py
NOT_RUN = {"capacity", "foresee", "profile", "queue", "serve", "simulate", "tensorboard", "watch", "worker"}
ELSEWHERE = ("--engine-python", "--ray-address", "postgresql://", "mean_step_ms")  # another machine's, or a real engine's


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    yield path, group
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = dict(commands(cli))
EXAMPLES = sorted({line for command in COMMANDS.values() for line in tuner_lines([command.epilog or ""])})
RUN = [line for line in EXAMPLES if arguments_of(line)[0] not in NOT_RUN and not any(word in line for word in ELSEWHERE)]


@pytest.mark.parametrize("path", [path for path in COMMANDS if path], ids=" ".join)
def test_every_command_has_examples_of_itself(path: tuple[str, ...]) -> None:
    lines = list(tuner_lines([COMMANDS[path].epilog or ""]))
    assert lines and all(tuple(arguments_of(line)[: len(path)]) == path for line in lines)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_option_has_help_or_speaks_for_itself(path: tuple[str, ...]) -> None:
    command = COMMANDS[path]
    options = [item for item in command.params if isinstance(item, click.Option)]
    silent = [item.opts[0] for item in options if not item.help and not (item.show_default and item.default is not None)]
    assert command.help and silent == []


@pytest.mark.parametrize("line", EXAMPLES)
def test_every_example_is_understood(line: str) -> None:
    parse(line)


@pytest.mark.slow
@pytest.mark.parametrize("line", RUN)
def test_an_example_runs(searched: Terminal, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    """In a folder with the study "first" and a study.yaml; a search is planned only (--dry-run)."""
    monkeypatch.setattr("tuner.engine.devices.find_devices", lambda *_arguments, **_named: Devices("cpu", "cpu", 1))
    prepare(searched, line)
    arguments = arguments_of(line)
    result = searched.run(*arguments, *(["--dry-run"] if arguments[0] == "search" and "--dry-run" not in arguments else []))
    assert result.code == 0, (result.err, result.out)
    assert result.out.strip() or "--output" in line


def prepare(terminal: Terminal, line: str) -> None:
    """What an example takes for granted."""
    assert terminal.run("db", "check").code == 0
    rename_study(terminal, "taken" if line.startswith("tuner search --model") else "first")
    (terminal.folder / "study.yaml").write_text(
        f"model: tiny-qwen3\nstudy: {'first' if '--resume' in line else 'other'}\npage_sizes: [16, 32]\nchunk_budgets: [128, 256]\n"
        "workload: demo\nrounds: 3\nprofile: finalists\n"
        f"logdir: {stored_logdir(terminal)}\n"
    )
    if "rotate" in line or "revoke" in line:
        assert terminal.run("token", "create", "ci").code == 0


def stored_logdir(terminal: Terminal) -> str:
    document = terminal.run("show", terminal.run("show", "--json").json["studies"][0]["name"], "--json").json
    return str(document["study"]["config"]["logdir"])


def rename_study(terminal: Terminal, name: str) -> None:
    connection = sqlite3.connect(terminal.folder / "tuner.db")
    with connection:
        connection.execute("UPDATE tuner_studies SET name = :name, config = json_set(config, '$.study', :name)", {"name": name})
    connection.close()


@pytest.mark.slow
def test_flags_reach_a_program_through_xargs(searched: Terminal) -> None:
    """As the help says; a plain $(...) would hand over the quotes around the JSON as well."""
    flags = searched.run("recommend", "s", "--format", "flags").out
    words = subprocess.run(["xargs", "printf", "%s\\n"], input=flags, capture_output=True, text=True, check=True).stdout.splitlines()
    assert words == shlex.split(flags) == searched.run("recommend", "s", "--json").json["vllm_args"]
    assert "{" in flags


@pytest.mark.parametrize(
    "line", ["tuner serch", "tuner search --pages 16", "tuner studies tag", "tuner show a b", "tuner foresee check --ops 3"]
)
def test_a_command_line_that_is_wrong_would_be_found(line: str) -> None:
    with pytest.raises(click.UsageError):
        parse(line)

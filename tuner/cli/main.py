"""The `tuner` command. Verbs are imported when they are called, so that `tuner --help` answers at once.

Exit codes: 0 done, 1 ran and failed, 2 bad input, 130 interrupted. Errors are one line on standard error; TUNER_DEBUG=1 adds the traceback.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import override

import click

from storage.base import StorageFault
from tuner.errors import BadInput, Interrupted, TunerError

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130

# verb -> (module, attribute, what `tuner --help` says)
VERBS = {
    "search": ("tuner.cli.search", "search", "Measure page size, chunk budget and page alignment; recommend settings."),
    "show": ("tuner.cli.show", "show", "List the studies, or one study's trials."),
    "compare": ("tuner.cli.compare", "compare", "Page-aligned against default scheduling, cell by cell."),
    "recommend": ("tuner.cli.recommend", "recommend", "The recommended `vllm serve` settings."),
    "export": ("tuner.cli.export", "export", "A study's trials and measurements as CSV or JSON."),
    "profile": ("tuner.cli.profile", "profile", "Read XLA profiles: where step time goes, what differs."),
    "doctor": ("tuner.cli.doctor", "doctor", "What was found: engine, versions, devices, storage."),
    "serve": ("tuner.cli.serve", "serve", "The REST API and the pages."),
    "tensorboard": ("tuner.cli.tensorboard", "tensorboard", "Open the XLA profiles in TensorBoard."),
    "token": ("tuner.cli.token", "token", "Create, list, rotate or revoke tokens of the REST API."),
    "db": ("tuner.cli.db", "db", "Upgrade, check or back up the database."),
}


class LazyGroup(click.Group):
    """Loads a verb's module when the verb is used."""

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module, attribute, _help = VERBS[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    @override
    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_module, _attribute, text) in VERBS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: tuner search --model tiny-qwen3 --study first --page-sizes 16,32 --chunk-budgets 128,256 --workload demo",
)
@click.version_option(package_name="vllm-tpu-tuner", prog_name="tuner")
def cli() -> None:
    """Auto-tuning and profiling of vLLM on TPU: settings settled by measurement, each verdict with its interval."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code."""
    try:
        code = cli.main(args=list(arguments) if arguments is not None else None, prog_name="tuner", standalone_mode=False)
    except click.ClickException as error:
        return _report(_one_line(error.format_message()), EXIT_BAD_INPUT)
    except (BadInput, StorageFault) as error:
        return _report(_one_line(str(error)), EXIT_BAD_INPUT)
    except (Interrupted, KeyboardInterrupt, click.Abort) as error:
        return _report(f"interrupted: {_one_line(str(error)) or 'stopped by the user'}", EXIT_INTERRUPTED)
    except TunerError as error:
        return _report(_one_line(str(error)), EXIT_FAILED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has gone; Python must not complain at exit
        return EXIT_FAILED
    except Exception as error:  # noqa: BLE001  # whatever it is, the user gets one line
        return _report(f"internal: {type(error).__name__}: {_one_line(str(error))}; TUNER_DEBUG=1 shows where", EXIT_FAILED)
    return code if isinstance(code, int) else 0


def main() -> None:
    """The console script."""
    sys.exit(run())


def _report(line: str, code: int) -> int:
    if os.environ.get("TUNER_DEBUG"):
        traceback.print_exc()
    print(f"error: {line}" if code != EXIT_INTERRUPTED else line, file=sys.stderr)
    return code


def _one_line(text: str) -> str:
    return " ".join(text.split())

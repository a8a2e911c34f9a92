"""The `tuner` command. Verbs are imported when they are called, so that `tuner --help` answers at once.

Exit codes: 0 done, 1 ran and failed, 2 bad input, 3 ran and a --gate is undecided, 130 interrupted. Errors are one line on standard error,
with --json also a document on standard output (`{"error": {"message", "exit_code"}}`); TUNER_DEBUG=1 adds the traceback.
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
from tuner.cli.options import JSON_FLAG, examples, json_was_printed, print_json
from tuner.core.errors import BadInput, Interrupted, TunerError
from tuner.core.spelling import closest

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130

# verb -> (module, attribute, what `tuner --help` says)
VERBS = {
    "search": ("tuner.cli.search", "search", "Measure page size, chunk budget and page alignment; recommend settings."),
    "space": ("tuner.cli.space", "space", "Print what a search would vary, and how many configurations that makes."),
    "show": ("tuner.cli.show", "show", "List the studies, or one study's trials."),
    "compare": ("tuner.cli.compare", "compare", "Compare page-aligned with default scheduling, per page size and chunk budget."),
    "recommend": ("tuner.cli.recommend", "recommend", "Print the recommended `vllm serve` settings."),
    "foresee": ("tuner.cli.foresee", "foresee", "Compile for a TPU that is not here: what fits, and for how many requests."),
    "simulate": ("tuner.cli.simulate", "simulate", "Predict how many requests per second a TPU that is not here serves well."),
    "capacity": ("tuner.cli.capacity", "capacity", "Find how many requests per second a configuration serves within its SLOs."),
    "revalidate": ("tuner.cli.revalidate", "revalidate", "Measure published recommendations again where versions have changed."),
    "export": ("tuner.cli.export", "export", "Write a study's trials and measurements as CSV or JSON."),
    "profile": ("tuner.cli.profile", "profile", "Capture and read XLA profiles: where the time of a step goes."),
    "doctor": ("tuner.cli.doctor", "doctor", "Check this machine: engine, versions, devices, storage."),
    "serve": ("tuner.cli.serve", "serve", "Start the REST API and the web pages."),
    "tensorboard": ("tuner.cli.tensorboard", "tensorboard", "Open the XLA profiles in TensorBoard."),
    "submit": ("tuner.cli.submit", "submit", "Put a study into the queue, for a worker to run."),
    "queue": ("tuner.cli.queue", "queue", "List, look at or cancel what was submitted; limits of teams."),
    "worker": ("tuner.cli.worker", "worker", "Run what was submitted and fits this machine."),
    "watch": ("tuner.cli.watch", "watch", "Follow a submitted study to its end."),
    "studies": ("tuner.cli.studies", "studies", "Rename, tag, archive or delete studies; who did what."),
    "token": ("tuner.cli.token", "token", "Create, list, rotate or revoke tokens of the REST API."),
    "db": ("tuner.cli.db", "db", "Upgrade, check or back up the database."),
}


class LazyGroup(click.Group):
    """Imports the module of a verb only when that verb is called."""

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
    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggests a similar verb; click's own suggestion needs all verbs to be imported."""
        if args[0] not in VERBS and not args[0].startswith("-"):
            similar = closest(args[0], VERBS)
            fix = f"Did you mean '{similar}'?" if similar is not None else "See tuner --help."
            raise click.UsageError(f"No such command '{args[0]}'. {fix}", ctx)
        return super().resolve_command(ctx, args)

    @override
    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_module, _attribute, text) in VERBS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        "tuner doctor",
        "tuner search --model tiny-qwen3 --study first --page-sizes 16,32 --chunk-budgets 128,256 --workload demo",
        "tuner recommend first",
    ),
)
@click.version_option(package_name="vllm-tpu-tuner", prog_name="tuner")
def cli() -> None:
    """Find the best vLLM settings for a model, a workload and a TPU by measuring them on the real engine."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    json_was_printed(reset=True)
    try:
        code = cli.main(args=given, prog_name="tuner", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()  # here, where a reader that has gone can still be noticed
    except click.exceptions.NoArgsIsHelpError as error:  # `tuner` or `tuner db` alone
        print(error.format_message(), file=sys.stderr)
        return EXIT_BAD_INPUT
    except click.ClickException as error:
        return _report(error.format_message(), EXIT_BAD_INPUT, given)
    except (BadInput, StorageFault) as error:
        return _report(str(error), EXIT_BAD_INPUT, given)
    except (Interrupted, KeyboardInterrupt, click.Abort) as error:
        return _report(str(error) or "stopped by the user", EXIT_INTERRUPTED, given)
    except TunerError as error:
        return _report(str(error), EXIT_FAILED, given)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has gone; Python must not complain at exit
        return EXIT_FAILED
    except UnicodeEncodeError as error:
        what = error.object[error.start : error.end]
        return _report(f"{what!r} cannot be printed in {error.encoding}; set PYTHONIOENCODING=utf-8", EXIT_FAILED, given)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _report(f"{where}{error.strerror or error}; TUNER_DEBUG=1 shows where", EXIT_FAILED, given)
    except Exception as error:  # noqa: BLE001  # whatever it is, the user gets one line
        return _report(f"internal: {type(error).__name__}: {error}; TUNER_DEBUG=1 shows where", EXIT_FAILED, given)
    return code if isinstance(code, int) else 0


def _report(message: str, code: int, arguments: Sequence[str]) -> int:
    if os.environ.get("TUNER_DEBUG"):
        traceback.print_exc()
    line = " ".join(message.split())
    if JSON_FLAG in arguments and not json_was_printed():
        print_json({"error": {"message": line, "exit_code": code}})
    print(f"{'interrupted' if code == EXIT_INTERRUPTED else 'error'}: {line}", file=sys.stderr)
    return code

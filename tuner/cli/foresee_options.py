"""Options of the commands that ask about a TPU that is not here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from tuner.cli.options import Decorator

if TYPE_CHECKING:
    from tuner.foresight.look import Look

model_option: Decorator = click.option(
    "--model", required=True, metavar="MODEL", help="A folder or file with config.json, a Hugging Face id, or tiny-qwen3."
)


def compiled_engine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What an engine is compiled with, beside page size and chunk budget; as `tuner search` names it."""
    for option in reversed(
        (
            click.option(
                "--max-num-seqs", type=int, metavar="N", help="Most requests that run at once.  [default: 128, at most the budget]"
            ),
            click.option("--max-model-len", type=int, metavar="N", help="Most tokens of one request.  [default: the model's]"),
            click.option("--tensor-parallel-size", type=int, metavar="N", help="Devices that one model is split over.  [default: 1]"),
            click.option("--dtype", metavar="TYPE", help="Type of weights and activations.  [default: auto]"),
            click.option("--kv-cache-dtype", metavar="TYPE", help="Type of the KV cache, for instance fp8.  [default: as the model]"),
        )
    ):
        command = option(command)
    return command


def one_step_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The one configuration whose step is compiled."""
    for option in reversed(
        (
            model_option,
            click.option("--accelerator", required=True, metavar="TPU", help="The TPU to compile for: v5e-N, v5p-N, v6e-N or 7x-N."),
            click.option("--page-size", type=int, default=128, show_default=True, metavar="N", help="Tokens per KV block."),
            click.option("--chunk-budget", type=int, default=1024, show_default=True, metavar="N", help="Tokens per engine step."),
        )
    ):
        command = option(command)
    return command


@contextmanager
def looking(options: Mapping[str, Any], say: Callable[[str], None]) -> Iterator[Look]:
    """With the engine's Python and arguments of `options`, which are checked first. Raises BadInput."""
    from tuner.foresight.compiler import Compiler
    from tuner.foresight.installed import installed
    from tuner.foresight.kept import KeptAnswers
    from tuner.foresight.look import Look
    from tuner.launchers.choice import check_python
    from tuner.serving.engine_arg_names import check_engine_arg_names

    python = options["engine_python"]
    if python is not None:
        check_python(python)
    check_engine_arg_names(options["engine_args"] or {}, python)
    known = installed(python)
    with Compiler(python) as compiler:
        yield Look(compiler, KeptAnswers(), known, say)

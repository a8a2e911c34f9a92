"""Options of the commands that ask about a TPU that is not here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from tuner.cli.options import Decorator

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

"""Options of `tuner serve` that say what a submitted study may ask for."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

_OPTIONS = (
    click.option(
        "--allow-launcher",
        "launchers",
        multiple=True,
        metavar="NAME",
        help="A launcher that submitted studies may use; may be repeated.  [default: local, serve, simulate]",
    ),
    click.option(
        "--allow-engine-args",
        "engine_args",
        multiple=True,
        metavar="NAMES",
        help="Engine arguments that submitted studies may set beside the harmless ones, with commas between; they may load code.",
    ),
    click.option(
        "--allow-model",
        "models",
        multiple=True,
        metavar="PATTERN",
        help="Models of submitted studies: ids as 'Qwen/*', or folders of workers; may be repeated.  [default: any Hugging Face id]",
    ),
    click.option(
        "--allow-file",
        "files",
        multiple=True,
        metavar="PATH",
        help="A table, trace or step times on the workers that submitted studies may name, by exactly this path; may be repeated.",
    ),
)
_NAMES = ("launchers", "engine_args", "models", "files")


def with_allowed(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives the command the options, as one argument `allowed`."""

    @functools.wraps(command)
    def wrapped(**given: Any) -> Any:
        from tuner.fleet.allowed import Allowed

        found = {name: given.pop(name) for name in _NAMES}
        arguments = [name.strip().replace("-", "_") for text in found["engine_args"] for name in text.split(",") if name.strip()]
        allowed = Allowed(
            launchers=found["launchers"] or Allowed.launchers,
            engine_args=frozenset(arguments),
            models=found["models"],
            files=frozenset(found["files"]),
        )
        return command(allowed=allowed, **given)

    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped

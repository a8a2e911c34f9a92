"""Options of `tuner serve` about studies that are submitted and the hosts that run them: what they may ask for, how many, who is told."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import click

from tuner.cli.secret_files import from_file

SECRET_VARIABLE = "TUNER_WEBHOOK_SECRET"  # noqa: S105  # the variable's name
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
    click.option(
        "--allow-webhook-host",
        "webhook_hosts",
        multiple=True,
        metavar="HOST",
        help="A host that submissions may have told of their end: a name, *.example.com, or a private network; may be repeated.",
    ),
    click.option(
        "--host-webhook",
        metavar="URL",
        help="Told when a host goes into quarantine or is released; --allow-webhook-host has to name its host.",
    ),
    click.option(
        "--max-submissions",
        "most_submissions",
        type=click.IntRange(min=1),
        default=50,
        show_default=True,
        help="Studies of one token in the queue at once.",
    ),
)
_NAMES = ("launchers", "engine_args", "models", "files")


def with_submitting(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives the command the options, as one argument `submitting`: settings of the service by name."""

    @functools.wraps(command)
    def wrapped(**given: Any) -> Any:
        from tuner.fleet.allowed import Allowed
        from tuner.fleet.webhook import AllowedHosts

        secret = os.environ.get(SECRET_VARIABLE) or from_file(SECRET_VARIABLE)
        found = {name: given.pop(name) for name in _NAMES}
        arguments = [name.strip().replace("-", "_") for text in found["engine_args"] for name in text.split(",") if name.strip()]
        allowed = Allowed(
            launchers=found["launchers"] or Allowed.launchers,
            engine_args=frozenset(arguments),
            models=found["models"],
            files=frozenset(found["files"]),
        )
        hosts = AllowedHosts.parse(given.pop("webhook_hosts"))
        if (host_webhook := given.pop("host_webhook")) is not None:
            hosts.check(host_webhook)
        submitting = {
            "allowed": allowed,
            "most_submissions": given.pop("most_submissions"),
            "webhook_hosts": hosts,
            "host_webhook": host_webhook,
            "webhook_secret": secret,
        }
        return command(submitting=submitting, **given)

    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped

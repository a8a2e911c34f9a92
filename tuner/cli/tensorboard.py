"""`tuner tensorboard`: TensorBoard of our own environment, on this machine only."""

from __future__ import annotations

import importlib.util
import os
import socket
import sys
from pathlib import Path

import click

from tuner.addresses import is_loopback
from tuner.cli.options import examples, json_option, logdir_option, print_json
from tuner.errors import BadInput


@click.command(epilog=examples("tuner tensorboard", "tuner tensorboard --logdir tuner-profiles --port 6007"))
@logdir_option
@click.option("--host", default="127.0.0.1", show_default=True, help="A loopback address: TensorBoard has no access control.")
@click.option("--port", type=click.IntRange(1, 65535), default=6006, show_default=True)
@json_option
def tensorboard(logdir: str, host: str, port: int, as_json: bool) -> None:
    """Open the XLA profiles in TensorBoard; every profiled trial is a run. Ends with Ctrl-C."""
    folder = Path(logdir).expanduser()
    if not folder.is_dir():
        raise BadInput(f"logdir {logdir} does not exist; run tuner search first or name another with --logdir")
    if not is_loopback(host):
        raise BadInput(f"host {host} is not a loopback address; use 127.0.0.1 and an SSH tunnel to look from elsewhere")
    if importlib.util.find_spec("tensorboard") is None:
        raise BadInput("TensorBoard is not installed; install vllm-tpu-tuner[ui]")
    _require_free(host, port)
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
    if as_json:
        print_json({"url": url, "logdir": str(folder.absolute())})
    else:
        print(f"TensorBoard of {folder.absolute()}: {url}")
    sys.stdout.flush()
    command = [sys.executable, "-m", "tensorboard.main", f"--logdir={folder.absolute()}", f"--host={host}", f"--port={port}"]
    os.execv(command[0], command)  # noqa: S606  # a list, and our own interpreter


def _require_free(host: str, port: int) -> None:
    """Raises BadInput where another program listens on the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise BadInput(f"port {port} on {host} cannot be used: {error.strerror}; choose another with --port") from error

"""`tuner tensorboard`: TensorBoard of our own environment, on this machine only, with every stored trial as a run."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tuner.cli.options import examples, json_option, logdir_option, print_json, storage_option
from tuner.core.errors import BadInput

if TYPE_CHECKING:
    from tuner.report.hparams import HParamsTab

REFRESH_S = 30.0
_END_PATIENCE_S = 10.0


@click.command(epilog=examples("tuner tensorboard", "tuner tensorboard --logdir tuner-profiles --port 6007"))
@logdir_option
@storage_option
@click.option("--host", default="127.0.0.1", show_default=True, help="A loopback address: TensorBoard has no access control.")
@click.option("--port", type=click.IntRange(1, 65535), default=6006, show_default=True)
@json_option
def tensorboard(logdir: str, storage: str, host: str, port: int, as_json: bool) -> None:
    """Open the XLA profiles and all trials in TensorBoard. Every trial of the database is a run; the HParams tab lists their settings and
    results, refreshed every half minute. Ends with Ctrl-C."""
    from profiles.errors import ProfileError
    from profiles.tensorboard import command
    from tuner.cli.interrupts import interruptible
    from tuner.setup.study_setup import refuse_address

    refuse_address(logdir)
    folder = Path(logdir).expanduser()
    if not folder.is_dir():
        raise BadInput(f"logdir {logdir} does not exist; run tuner search first or name another with --logdir")
    try:
        arguments = command(folder, port, host)
    except ProfileError as error:
        raise BadInput(str(error)) from error
    if importlib.util.find_spec("tensorboard") is None:
        raise BadInput("TensorBoard is not installed; install vllm-tpu-tuner[ui]")
    _require_free(host, port)
    with _tab(storage, folder) as tab:
        trials = tab.refresh() if tab is not None else None
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
        if as_json:
            print_json({"url": url, "logdir": str(folder.absolute()), "trials": trials})
        else:
            print(f"TensorBoard of {folder.absolute()}: {url}" + (f" ({trials} trials)" if trials is not None else ""))
        sys.stdout.flush()
        with interruptible():
            _serve(arguments, tab)


@contextmanager
def _tab(url: str, folder: Path) -> Iterator[HParamsTab | None]:
    """None, with a line on standard error, where there is no database: profiles can be looked at without one."""
    from storage.base import StorageFault
    from storage.upgrade import open_storage
    from tuner.report.hparams import HParamsTab

    try:
        storage = open_storage(url, create=False, read_only=True)
    except StorageFault as error:
        print(f"note: the HParams tab stays empty: {' '.join(str(error).split())}", file=sys.stderr)
        yield None
        return
    try:
        yield HParamsTab(storage, folder)
    finally:
        storage.close()


def _serve(arguments: list[str], tab: HParamsTab | None) -> None:
    """Run TensorBoard until it ends or we are interrupted, and leave nothing of it behind."""
    process = subprocess.Popen(arguments)
    try:
        while True:
            try:
                code = process.wait(REFRESH_S)
                break
            except subprocess.TimeoutExpired:
                _refresh(tab)
    finally:
        process.terminate()
        try:
            process.wait(_END_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if code != 0:
        raise click.exceptions.Exit(1)


def _refresh(tab: HParamsTab | None) -> None:
    from profiles.errors import ProfileError
    from storage.base import StorageFault

    if tab is None:
        return
    try:
        tab.refresh()
    except (StorageFault, ProfileError) as error:
        print(f"note: the HParams tab is not up to date: {' '.join(str(error).split())}", file=sys.stderr)


def _require_free(host: str, port: int) -> None:
    """Raises BadInput where another program listens on the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise BadInput(f"port {port} on {host} cannot be used: {error.strerror}; choose another with --port") from error

"""`tuner worker`: runs what was submitted, until it is told to stop."""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tuner.cli.options import (
    engine_python_option,
    examples,
    hang_option,
    json_option,
    logdir_option,
    parsed_time,
    patience_option,
    print_json,
    retries_option,
    spool_option,
    storage_option,
)
from tuner.core.errors import BadInput

if TYPE_CHECKING:
    from tuner.fleet.on_ray import OnRay
    from tuner.fleet.requirements import Machine
    from tuner.fleet.worker import Place


@click.command(
    epilog=examples(
        "tuner worker --storage postgresql://tuner@db/tuner",
        "tuner worker --accelerator v6e --chips 4",
        "tuner worker --once                                    # one study, then end: for jobs and CI",
        "tuner worker --drain-after 8h                          # a machine that is lent for a night",
        "tuner worker --ray 10.0.0.2:6379                       # engines on the nodes of a Ray cluster",
    )
)
@click.option(
    "--accelerator", default="auto", metavar="auto|NAME", help="What this machine has, for submissions that require one.  [default: auto]"
)
@click.option("--chips", type=click.IntRange(1, 65536), metavar="N", help="How many chips.  [default: as many as there are]")
@click.option("--once", is_flag=True, help="Run one study if there is one, then end; exit code 1 where it failed.")
@click.option(
    "--drain-after", callback=parsed_time, metavar="TIME", help="After this long, finish the window, give the study back and end."
)
@click.option(
    "--lease", "lease_s", callback=parsed_time, default="60s", metavar="TIME", help="Silence after which others take over.  [default: 60s]"
)
@click.option("--poll", "poll_s", callback=parsed_time, default="5s", metavar="TIME", help="How often to look for work.  [default: 5s]")
@click.option("--ray", "ray_address", metavar="ADDRESS", help="Run engines on the nodes of this Ray cluster: HOST:6379 or auto.")
@click.option("--ray-resources", metavar="NAME=N,NAME=N", help="With --ray: as in tuner search.")
@click.option("--ray-runtime-env", metavar="FILE", help="With --ray: as in tuner search.")
@click.option("--name", metavar="NAME", help="Of this worker.  [default: made from the host]")
@engine_python_option
@logdir_option
@storage_option
@spool_option
@patience_option
@hang_option
@retries_option
@json_option
@click.pass_context
def worker(
    context: click.Context,
    /,
    *,
    accelerator: str,
    chips: int | None,
    once: bool,
    drain_after: float | None,
    spool: Path | None,
    patience: float,
    hang_factor: float,
    retries: int,
    as_json: bool,
    **options: str | float | None,
) -> None:
    """Claim submitted studies that this machine can run, or with --ray a node of that cluster, and run them, one after the other.

    SIGTERM or Ctrl-C drains: the window that is being measured is finished, the study goes back into the queue, and whoever takes it next
    goes on with it. A second signal ends at once; then too every finished measurement is kept.
    """
    from storage.upgrade import open_storage
    from tuner.cli.interrupts import interruptible
    from tuner.cli.progress_view import say
    from tuner.fleet.worker import Place, Worker
    from tuner.search.running import OnFault

    url, python = str(options["storage"]), options["engine_python"]
    name = options["name"] or f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:4]}"
    place = Place(
        str(name),
        socket.gethostname(),
        url,
        str(options["logdir"]),
        engine_python=None if python is None else str(python),
        lease_s=float(options["lease_s"] or 0.0),
        poll_s=float(options["poll_s"] or 0.0),
        on_fault=OnFault(spool, patience, hang_factor, retries),
        on_ray=_on_ray(accelerator, options),
    )
    machine = _machine(place, accelerator, chips)
    storage = open_storage(url, create=False)
    try:
        running = Worker(storage, machine, place, say)
        timer = None if drain_after is None else threading.Timer(drain_after, running.drain)
        with interruptible(running.drain):
            where = "" if place.on_ray is None else f", on the Ray cluster {place.on_ray.place.address}"
            say(f"worker {place.name}: {machine.accelerator}, {machine.chips} {'chip' if machine.chips == 1 else 'chips'}{where}")
            if timer is not None:
                timer.daemon = True
                timer.start()
            ended = running.work(once=once)
    finally:
        storage.close()
    if as_json:
        print_json({"worker": place.name, "studies": [str(state) for state in ended]})
    context.exit(1 if once and "FAILED" in ended else 0)


def _on_ray(accelerator: str, options: Mapping[str, str | float | None]) -> OnRay | None:
    """Asks nobody yet. Raises BadInput."""
    from tuner.fleet.on_ray import CPU, OnRay
    from tuner.launchers.ray_cluster import RayPlace, read_runtime_env
    from tuner.setup.config import parse_resources

    address, resources, runtime_env = (options[name] for name in ("ray_address", "ray_resources", "ray_runtime_env"))
    if address is None:
        for name in ("ray_resources", "ray_runtime_env"):
            if options[name] is not None:
                raise BadInput("is only for a Ray cluster", setting=name, value=options[name], fix="name it with --ray, or drop this")
        return None
    try:
        wanted = None if resources is None else parse_resources(resources)
    except ValueError as error:
        raise BadInput(str(error), setting="ray_resources") from error
    file = None if runtime_env is None else str(runtime_env)
    return OnRay(RayPlace(str(address), wanted, read_runtime_env(file)), CPU if accelerator == CPU else "tpu", file)


def _machine(place: Place, accelerator: str, chips: int | None) -> Machine:
    """Raises BadInput."""
    from tuner.fleet.machine import find_machine
    from tuner.fleet.on_ray import find_cluster

    if place.on_ray is None:
        return find_machine(accelerator, chips, place.engine_python)
    return find_cluster(place.on_ray.place, accelerator, chips, place.engine_python)

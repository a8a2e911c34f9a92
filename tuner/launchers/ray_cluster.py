"""A Ray cluster as this process sees it: connected to once, its nodes and what they have. Every complaint is one line."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tuner.core.errors import BadInput
from tuner.core.numbers import number

NAMESPACE = "vllm-tpu-tuner"
AUTO = "auto"  # the cluster that runs on this machine
REACH_TIMEOUT_S = 5.0
_SHOWN = ("TPU", "CPU", "GPU")
_HIDDEN = ("node:", "memory", "object_store_memory")

Resources = Mapping[str, float]


@dataclass(frozen=True)
class RayPlace:
    """Where engines run. `address` None: RAY_ADDRESS, else the cluster of this machine. `resources` None: what an engine's chips are.
    `runtime_env`: Ray's, {} for the nodes' own Python as it is."""

    address: str | None = None
    resources: Resources | None = None
    runtime_env: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RayNode:
    """A node that Ray believes alive, which it does for about 15 seconds after it was lost (its health checks). `port`: its raylet's."""

    node_id: str
    address: str
    port: int
    resources: Resources
    labels: Mapping[str, str]

    def has(self, wanted: Resources) -> bool:
        """Whether it has as much at all, busy or not."""
        return all(self.resources.get(name, 0.0) >= count for name, count in wanted.items())

    def answers(self) -> bool:
        """Whether its raylet listens. A client (ray://) is outside of the cluster and cannot know: True."""
        import ray

        if ray.util.client.ray.is_connected():
            return True
        try:
            socket.create_connection((self.address, self.port), timeout=REACH_TIMEOUT_S).close()
        except OSError:
            return False
        return True


def shown(resources: Resources) -> str:
    """ "TPU 4, CPU 8"; what every node has (memory, its own name) is left out."""
    names = [name for name in resources if not name.startswith(_HIDDEN)]
    names.sort(key=lambda name: (_SHOWN.index(name) if name in _SHOWN else len(_SHOWN), name))
    return ", ".join(f"{name} {number(resources[name])}" for name in names) or "nothing"


def connect(place: RayPlace) -> None:
    """Become a driver of the cluster; nothing where this process is one already. Raises BadInput."""
    try:
        import ray
    except ImportError as error:
        raise BadInput("launcher ray needs Ray, which is not installed here; pip install 'vllm-tpu-tuner[ray]'") from error
    if ray.is_initialized():
        return
    address = place.address or os.environ.get("RAY_ADDRESS") or AUTO
    _reach(address)
    try:
        with _own_signals():
            _leave_our_output_alone()
            ray.init(address, namespace=NAMESPACE, runtime_env=place.runtime_env or None, log_to_driver=False, logging_level="WARNING")
    except ConnectionError as error:
        fix = "start one with ray start --head, or name one with --ray-address HOST:6379"
        raise BadInput("no Ray cluster is there", setting="ray_address", value=address, fix=fix) from error
    except Exception as error:  # of another version, or something that Ray says of the runtime_env: its errors have no common type
        raise BadInput(_one_line(error), setting="ray_address", value=f"{address}:") from error


def _reach(address: str) -> None:
    """Ray itself tries a dead address for a minute. Raises BadInput."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if address in (AUTO, "local") or not colon:
        return
    fix = "is the cluster up, and this its address? (HOST:6379, or ray://HOST:10001)"
    if not (port.isascii() and port.isdecimal() and 0 < int(port) < 1 << 16):
        raise BadInput("is no address", setting="ray_address", value=address, fix=fix)
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_TIMEOUT_S).close()
    except OSError as error:
        reason = f"nobody answers there ({error.strerror or error})"
        raise BadInput(reason, setting="ray_address", value=f"{address}:", fix=fix) from error


@contextmanager
def _own_signals() -> Iterator[None]:
    """Ray takes SIGTERM for itself; a search ends in good order at it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _leave_our_output_alone() -> None:
    """Ray prints on stdout, where an answer as JSON goes, what it hears of lost workers; they are told as failures here. It has no setting
    for that."""
    from ray._private import worker

    worker.print_to_stdstream = lambda *_arguments, **_named: None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def alive_nodes() -> list[RayNode]:
    """Of the cluster that this process is connected to."""
    import ray

    return [
        RayNode(
            node["NodeID"],
            node["NodeManagerAddress"],
            int(node["NodeManagerPort"]),
            dict(node["Resources"]),
            dict(node.get("Labels") or {}),
        )
        for node in ray.nodes()
        if node["Alive"]
    ]


def nobody_has(wanted: Resources, nodes: Sequence[RayNode]) -> str | None:
    """One line where no node is large enough, naming what the nodes have; None where one is."""
    nodes = [node for node in nodes if not node.has(wanted) or node.answers()]
    if any(node.has(wanted) for node in nodes):
        return None
    there = "; ".join(f"{node.address} has {shown(node.resources)}" for node in nodes) or "there is none"
    return f"no Ray node has {shown(wanted)}: {there}"


def check_cluster(place: RayPlace, wanted: Resources) -> None:
    """Raises BadInput where there is no cluster or none of its nodes could ever run the engine."""
    connect(place)
    if (complaint := nobody_has(wanted, alive_nodes())) is not None:
        raise BadInput(complaint, setting="ray_resources", fix="start such a node, or name other resources, for instance TPU=4")

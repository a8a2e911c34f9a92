"""A Ray cluster as this process sees it: connected to once, its nodes and what they have. Every complaint is one line."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tuner.core.errors import BadInput
from tuner.core.numbers import number
from tuner.core.yaml_file import read_yaml
from tuner.engine.on_slice import NAMESPACE
from tuner.setup.hardware import accelerator_limits

AUTO = "auto"  # the cluster that runs on this machine
REACH_TIMEOUT_S = 5.0
_SHOWN = ("TPU", "CPU", "GPU")
_HIDDEN = ("node:", "memory", "object_store_memory")
_KIND_LABEL, _KIND_RESOURCE = (
    "ray.io/accelerator-type",
    "accelerator_type:",
)  # Ray's names: "TPU-V6E" as the label's value, or in a resource's name

Resources = Mapping[str, float]


@dataclass(frozen=True)
class RayPlace:
    """Where engines run. `address` None: RAY_ADDRESS, else the cluster of this machine. `resources` None: what an engine's chips are.
    `runtime_env`: Ray's, {} for the nodes' own Python as it is."""

    address: str | None = None
    resources: Resources | None = None
    runtime_env: dict[str, Any] = field(default_factory=dict)


def read_runtime_env(file: str | None) -> dict[str, Any]:
    """{} where no file is named. Raises BadInput."""
    return {} if file is None else read_yaml(Path(file).expanduser(), what="ray_runtime_env", holds="Ray's keys, such as env_vars")


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

    @property
    def tpu_kind(self) -> str:
        """ "TPU v6e": what Ray found, or the node was started with. "TPU" alone where nothing says which."""
        named = [name.removeprefix(_KIND_RESOURCE) for name in self.resources if name.startswith(_KIND_RESOURCE)]
        said = self.labels.get(_KIND_LABEL) or next(iter(named), "")
        kind = said.removeprefix("TPU-").lower()
        try:
            limits = accelerator_limits(kind) if kind else None
        except BadInput:  # a newer one than this version knows
            limits = None
        return limits.name if limits is not None else f"TPU {kind}".strip()

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
        raise BadInput("a Ray cluster needs Ray, which is not installed here; pip install 'vllm-tpu-tuner[ray]'") from error
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
        raise BadInput(one_line(error), setting="ray_address", value=f"{address}:") from error


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


def one_line(error: Exception) -> str:
    """What Ray says, whose texts have many."""
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


def free_nodes() -> list[RayNode]:
    """alive_nodes with what is free there now as their resources; all of it where a client (ray://) cannot know. Raises BadInput where the
    cluster does not answer."""
    import ray
    from ray._private.state import available_resources_per_node  # there is no public one for each node

    try:
        nodes = alive_nodes()
        if ray.util.client.ray.is_connected():
            return nodes
        free = available_resources_per_node()
    except Exception as error:  # Ray's errors have no common type
        raise BadInput(f"the Ray cluster does not answer ({one_line(error)})") from error
    return [replace(node, resources=free.get(node.node_id, {})) for node in nodes]


def wanted_resources(place: RayPlace, platform: str, chips: int) -> Resources:
    """What a node must have for one engine: what was asked for, else its chips; a CPU where there is no TPU to be used."""
    if place.resources is not None:
        return place.resources
    return {"CPU": 1.0} if platform == "cpu" else {"TPU": float(chips)}


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

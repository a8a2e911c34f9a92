"""Slices of several TPU hosts on a Ray cluster. An engine whose chips span hosts gets a whole slice, as a placement group with a bundle for
each host: libtpu runs on whole slices, and chips of two have no fast links between them.

Inside the group tpu-inference's Ray executor makes a worker of each bundle. Without one it would take every node that has TPU.
"""

from __future__ import annotations

import contextlib
import math
import re
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tuner.core.errors import BadInput, FailureClass, TrialFailed
from tuner.core.numbers import number
from tuner.launchers.ray_cluster import RayNode, RayPlace, Resources, alive_nodes, check_cluster, connect, free_nodes, wanted_resources
from tuner.serving.engine_args import OUR_BACKENDS
from tuner.setup.hardware import TPU_LIMITS

_NAME, _WORKER, _TOPOLOGY = "ray.io/tpu-slice-name", "ray.io/tpu-worker-id", "ray.io/tpu-topology"  # labels that Ray gives TPU hosts
_HEAD = re.compile(r"TPU-.+-head")  # Ray's resource of a slice's first host: whoever reserves the slice takes it
_LOOK_EVERY_S = 0.5
_PLACED_S = 20.0  # for a group whose hosts are all free; above it another one was faster


@dataclass(frozen=True)
class Slice:
    """`hosts`: those that Ray believes alive, in the order of their worker ids."""

    name: str
    hosts: tuple[RayNode, ...]

    @property
    def devices(self) -> int:
        """What tensor parallelism counts, of the hosts that are there."""
        limits = TPU_LIMITS.get(self.hosts[0].tpu_kind)
        return int(self._chips * (1 if limits is None else limits.devices_per_chip))

    @property
    def _chips(self) -> float:
        return sum(node.resources["TPU"] for node in self.hosts)

    @property
    def is_whole(self) -> bool:
        """Whether the hosts have as many chips as the topology says, and all as many as the first."""
        topology = self.hosts[0].labels.get(_TOPOLOGY, "")
        alike = {node.resources["TPU"] for node in self.hosts}
        expected = math.prod(map(int, topology.split("x"))) if re.fullmatch(r"\d+(x\d+)*", topology) else self._chips
        return len(alike) == 1 and self._chips == expected

    @property
    def bundles(self) -> list[dict[str, float]]:
        """All chips of each host; with the head's resource, so that nobody else reserves the slice."""
        return [{"TPU": node.resources["TPU"], **{name: 1.0 for name in node.resources if _HEAD.fullmatch(name)}} for node in self.hosts]

    def __str__(self) -> str:
        topology = self.hosts[0].labels.get(_TOPOLOGY)
        of = f" of a {topology}" if topology else ""
        return f"slice {self.name} has {len(self.hosts)} hosts{of}, {self.devices} devices{'' if self.is_whole else ', and is not whole'}"


def slices(nodes: Sequence[RayNode]) -> list[Slice]:
    """Those of several hosts, by name."""
    found: dict[str, list[RayNode]] = {}
    for node in nodes:
        if (name := node.labels.get(_NAME)) is not None and node.has({"TPU": 1.0}):
            found.setdefault(name, []).append(node)
    return [Slice(name, tuple(sorted(hosts, key=_worker_id))) for name, hosts in sorted(found.items()) if len(hosts) > 1]


def _worker_id(node: RayNode) -> tuple[int, str]:
    text = node.labels.get(_WORKER, "")
    return (int(text) if text.isdecimal() else 1 << 31, node.node_id)


def needs_slice(place: RayPlace, platform: str, devices: int, nodes: Sequence[RayNode]) -> bool:
    """Whether an engine of so many devices needs a slice. Resources that the user names are those of one node."""
    return (
        place.resources is None
        and platform == "tpu"
        and not any(node.has({"TPU": float(devices)}) for node in nodes)
        and bool(slices(nodes))
    )


def no_slice_has(devices: int, nodes: Sequence[RayNode]) -> str | None:
    """One line where no whole slice has exactly so many devices; None where one has."""
    there = slices(nodes)
    if any(item.is_whole and item.devices == devices for item in there):
        return None
    return f"no slice of {devices} devices is there: {'; '.join(map(str, there))}"


def check_cluster_has(place: RayPlace, platform: str, devices: int, attention_backend: str, engine_python: str | None) -> None:
    """Raises BadInput where there is no cluster, or nothing on it that could ever run such an engine."""
    connect(place)
    nodes = alive_nodes()
    if not needs_slice(place, platform, devices, nodes):
        check_cluster(place, wanted_resources(place, platform, devices))
        return
    check_slice_settings(attention_backend, engine_python)
    if (complaint := no_slice_has(devices, nodes)) is not None:
        fix = "use all devices of one slice, or no more than one host has"
        raise BadInput(complaint, setting="tensor_parallel_size", value=f"{devices}:", fix=fix)


def check_slice_settings(attention_backend: str, engine_python: str | None) -> None:
    """What cannot work on several hosts. Raises BadInput."""
    if attention_backend in OUR_BACKENDS:
        fix = "use rpa or auto, or fewer chips than one host has"
        reason = "runs on one host only: tpu-inference refuses registered backends on several"
        raise BadInput(reason, setting="attention_backend", value=attention_backend, fix=fix)
    if engine_python is not None:
        fix = "drop it, and start Ray with that Python on the nodes"
        reason = "is not the Python of the other hosts' workers, which is Ray's own"
        raise BadInput(reason, setting="engine_python", value=engine_python, fix=fix)


class SliceGroup:
    """The placement group of one engine. It ends with this process, too."""

    def __init__(self, devices: int, timeout_s: float) -> None:
        """Takes a slice of so many devices as soon as all its hosts are free. Raises TrialFailed: TIMEOUT with what is in use, or
        STARTUP where there is no such slice any more."""
        deadline = time.monotonic() + timeout_s
        while True:
            nodes = alive_nodes()
            if (complaint := no_slice_has(devices, nodes)) is not None:
                raise TrialFailed(FailureClass.STARTUP, complaint)
            wanted = [item for item in slices(nodes) if item.is_whole and item.devices == devices]
            free = free_by_node()
            for item in wanted:
                if not _in_use(item, free) and self._take(item, min(_PLACED_S, max(1.0, deadline - time.monotonic()))):
                    return
            if time.monotonic() >= deadline:
                busy = "; ".join(f"slice {item.name}: {', '.join(_in_use(item, free)) or 'taken meanwhile'}" for item in wanted)
                raise TrialFailed(FailureClass.TIMEOUT, f"no slice of {devices} devices was free within {number(timeout_s)} s: {busy}")
            time.sleep(_LOOK_EVERY_S)

    def _take(self, item: Slice, patience_s: float) -> bool:
        from ray.util import placement_group, remove_placement_group

        selector = [{_NAME: item.name} for _ in item.hosts]
        name = f"tuner-{uuid.uuid4().hex[:12]}"
        group = placement_group(item.bundles, strategy="STRICT_SPREAD", name=name, bundle_label_selector=selector)
        with contextlib.ExitStack() as undo:
            undo.callback(remove_placement_group, group)
            deadline = time.monotonic() + patience_s
            while not group.wait(1):
                if time.monotonic() >= deadline:
                    return False
            undo.pop_all()
        self.slice, self.group, self.name = item, group, name
        return True

    def options(self) -> dict[str, Any]:
        """Ray's options of an actor that drives the engine: on the first host, and none of its chips, which are its workers'."""
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        where = PlacementGroupSchedulingStrategy(self.group, placement_group_bundle_index=0, placement_group_capture_child_tasks=False)
        return {"num_cpus": 0, "scheduling_strategy": where}

    @property
    def resources(self) -> Resources:
        return {"TPU": float(sum(bundle["TPU"] for bundle in self.slice.bundles))}

    def remove(self) -> None:
        """Ends every actor in it. Idempotent."""
        from ray.util import remove_placement_group

        remove_placement_group(self.group)


def free_by_node() -> dict[str, Resources]:
    """Node id -> what is free there. Raises BadInput where the cluster does not answer."""
    return {node.node_id: node.resources for node in free_nodes()}


def is_free(devices: int, nodes: Sequence[RayNode], free: dict[str, Resources]) -> bool:
    """Whether all hosts of a slice of so many devices are."""
    return any(item.is_whole and item.devices == devices and not _in_use(item, free) for item in slices(nodes))


def _in_use(item: Slice, free: dict[str, Resources]) -> list[str]:
    """What of its hosts is not free, for each of them."""

    def said() -> Iterator[str]:
        for node in item.hosts:
            there = free.get(node.node_id, {}).get("TPU", 0.0)
            if there < node.resources["TPU"]:
                yield f"{node.address} ({node.node_id[:8]}) has TPU {number(there)} of {number(node.resources['TPU'])} free"

    return list(said())

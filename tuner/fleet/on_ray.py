"""What a Ray cluster offers to submitted studies, and what of a study runs there: for `tuner worker --ray`.

A worker runs one study at a time. Several workers on one cluster share its nodes, because each takes a study only while chips for its
engines are free there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from storage.records import Json, Study
from tuner.core.errors import BadInput
from tuner.engine.environment import cpu_name, package_version
from tuner.engine.protocol import PROTOCOL_VERSION
from tuner.fleet.machine import AUTO, engine_versions
from tuner.fleet.requirements import Machine, words
from tuner.launchers.ray_cluster import RayNode, RayPlace, alive_nodes, connect, free_nodes, one_line, shown, wanted_resources
from tuner.launchers.ray_slices import is_free, needs_slice, slices
from tuner.setup.config import StudyConfig
from tuner.setup.stored_study import StoredStudy

CPU = "cpu"
ANSWER_TIMEOUT_S = 60.0  # of a node that is asked for its versions; a worker process of Ray is started for that
_HERE = ("local", "ray")  # launchers with an engine of ours: alike in what they measure, not in where


@dataclass(frozen=True)
class OnRay:
    """The cluster of a worker. `platform`: of its engines, "tpu" or "cpu"; `runtime_env`: the file that place.runtime_env was read from."""

    place: RayPlace
    platform: str
    runtime_env: str | None = None

    def settings(self, given: Mapping[str, Any]) -> Json:
        """What becomes different in a study's settings; {} where it has no engine that could run there."""
        if given.get("launcher", "local") not in _HERE:
            return {}
        own: Json = {"launcher": "ray", "ray_address": self.place.address}
        if self.place.resources is not None:
            own["ray_resources"] = dict(self.place.resources)
        if self.runtime_env is not None:
            own["ray_runtime_env"] = self.runtime_env
        if self.platform == CPU and given.get("platform", AUTO) == AUTO:
            own["platform"] = CPU
        return own

    def room(self) -> Callable[[Mapping[str, object]], bool]:
        """Whether a node, or a slice, has now what a submission's requirements ask for. The cluster is asked here, once. Raises BadInput
        where it does not answer."""
        free = free_nodes()
        nodes = alive_nodes()

        def has_room(requirements: Mapping[str, object]) -> bool:
            asked = requirements.get("chips")
            chips = asked if isinstance(asked, int) else 1
            if needs_slice(self.place, self.platform, chips, nodes):
                return is_free(chips, nodes, {node.node_id: node.resources for node in free})
            wanted = wanted_resources(self.place, self.platform, chips)
            return any(node.has(wanted) for node in free)

        return has_room


@dataclass(frozen=True)
class NodeFacts:
    """`tuner`: the release of this package there; `versions`: of the engine's Python."""

    tuner: str | None
    protocol: int
    cpu: str
    versions: Mapping[str, str]


def describe_node(python: str | None) -> NodeFacts:
    """Runs on a node."""
    return NodeFacts(package_version("vllm-tpu-tuner"), PROTOCOL_VERSION, cpu_name(), engine_versions(python))


def find_cluster(place: RayPlace, accelerator: str, chips: int | None, python: str | None) -> Machine:
    """What the cluster offers; this process is connected to it afterwards. `accelerator`: "auto" (its TPU), a TPU's name, or "cpu".
    `python`: the nodes' engine Python. Raises BadInput."""
    connect(place)
    nodes = alive_nodes()
    offered = _offered(nodes, accelerator, place)
    facts = ask_node(offered[0], python)
    ours = package_version("vllm-tpu-tuner")
    if (facts.protocol, facts.tuner) != (PROTOCOL_VERSION, ours):
        reason = f"the node {offered[0].address} has vllm-tpu-tuner {facts.tuner} and this side {ours}"
        fix = "install the same release on both, or ship it with --ray-runtime-env"
        raise BadInput(reason, setting="ray", value=f"{place.address}:", fix=fix)
    if accelerator == CPU:
        return Machine(facts.cpu, 1 if chips is None else chips, facts.versions)
    largest = 0 if place.resources is not None else max((item.devices for item in slices(offered) if item.is_whole), default=0)
    there = max(largest, int(offered[0].resources["TPU"]))
    return Machine(_name(offered[0]), there if chips is None else chips, facts.versions)


def _offered(nodes: Sequence[RayNode], accelerator: str, place: RayPlace) -> Sequence[RayNode]:
    """The nodes that have the accelerator, the largest first; never empty. Raises BadInput."""
    if accelerator == CPU:
        wanted = wanted_resources(place, CPU, 1)
        offered = [node for node in nodes if node.has(wanted)]
    else:
        asked = frozenset() if accelerator == AUTO else words(accelerator)
        offered = [node for node in nodes if node.has({"TPU": 1.0, **(place.resources or {})}) and asked <= words(_name(node))]
        offered.sort(key=lambda node: -node.resources["TPU"])
    value = f"{accelerator}:"
    if not offered:
        there = "; ".join(f"{node.address} has {shown(node.resources)}" for node in nodes) or "there is none"
        what = "TPU" if accelerator == AUTO else accelerator
        besides = "" if place.resources is None else f" and {shown(place.resources)}"
        fix = "name what there is with --accelerator (cpu for engines without a TPU), or start nodes that have it (docs/ray.md)"
        raise BadInput(f"no Ray node has {what}{besides}: {there}", setting="accelerator", value=value, fix=fix)
    kinds = sorted({node.tpu_kind for node in offered})
    if len(kinds) > 1 and accelerator != CPU:
        fix = "name one with --accelerator, and with --ray-resources what only its nodes have, TPU=4,accelerator_type:TPU-V6E=0.001"
        raise BadInput(f"the cluster has {', '.join(kinds)}", setting="accelerator", value=value, fix=fix)
    return offered


def _name(node: RayNode) -> str:
    return f"{node.tpu_kind}-{int(node.resources['TPU'])}"


def ask_node(node: RayNode, python: str | None) -> NodeFacts:
    """Needs nothing free there. Raises BadInput where it has not this package, or does not answer."""
    import ray
    from ray.exceptions import GetTimeoutError, RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    where = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
    asked = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=where)(describe_node).remote(python)
    try:
        facts: NodeFacts = ray.get(asked, timeout=ANSWER_TIMEOUT_S)
    except GetTimeoutError as error:
        ray.cancel(asked, force=True)
        raise BadInput(f"the Ray node {node.address} did not say within {ANSWER_TIMEOUT_S:g} s which versions it has") from error
    except RayError as error:
        fix = "install vllm-tpu-tuner of this release there, or ship it with --ray-runtime-env"
        raise BadInput(f"the Ray node {node.address} cannot run this package ({one_line(error)})", fix=fix) from error
    return facts


def left_to_others(config: StudyConfig, existing: Study | None, on_ray: OnRay | None) -> str | None:
    """Why another kind of worker has to run this study, or to go on with it; None where this one can. `config`: as it would run here."""
    if on_ray is not None and "serve" in (config.launcher, config.finalists_via):
        return "it asks for vllm serve, which a worker with --ray does not run"
    begun = None if existing is None else StoredStudy.from_record(existing).value("launcher")
    if begun in _HERE and config.launcher in _HERE and begun != config.launcher:
        how = ("on a Ray cluster", "with --ray") if begun == "ray" else ("without a Ray cluster", "without --ray")
        return f"it was begun {how[0]}: for a worker {how[1]}"
    return None

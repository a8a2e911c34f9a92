"""What a Ray cluster offers to submissions. The real cluster: tests/tuner/launchers/test_ray_launcher.py."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from storage.records import Study
from tests.tuner.workbench import config_of
from tuner.core.errors import BadInput
from tuner.engine.environment import package_version
from tuner.engine.protocol import PROTOCOL_VERSION
from tuner.fleet import on_ray
from tuner.fleet.on_ray import NodeFacts, OnRay, find_cluster, left_to_others
from tuner.fleet.requirements import fits
from tuner.launchers.ray_cluster import RayNode, RayPlace
from tuner.launchers.ray_cluster import connect as connect_really

PLACE = RayPlace("10.0.0.2:6379")
HEAD = RayNode("h", "10.0.0.2", 1, {"CPU": 8.0}, {})
V6E = RayNode("a", "10.0.0.3", 1, {"CPU": 8.0, "TPU": 4.0, "accelerator_type:TPU-V6E": 1.0}, {})
V5E = RayNode("b", "10.0.0.4", 1, {"CPU": 8.0, "TPU": 8.0}, {"ray.io/accelerator-type": "TPU-V5LITEPOD"})
UNKNOWN = RayNode("c", "10.0.0.5", 1, {"TPU": 1.0}, {})


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A cluster of these nodes, each with this release."""

    def of(*nodes: RayNode) -> None:
        monkeypatch.setattr(on_ray, "connect", lambda _place: None)
        monkeypatch.setattr(on_ray, "alive_nodes", lambda: list(nodes))
        monkeypatch.setattr(on_ray, "free_nodes", lambda: list(nodes))
        facts = NodeFacts(package_version("vllm-tpu-tuner"), PROTOCOL_VERSION, "cpu x", {"vllm": "0.32.0"})
        monkeypatch.setattr(on_ray, "ask_node", lambda _node, _python: facts)

    return of


@pytest.mark.parametrize(
    ("nodes", "accelerator", "name", "chips"),
    [
        ([HEAD, V6E], "auto", "TPU v6e-4", 4),
        ([HEAD, V6E, V5E], "v5e", "TPU v5e-8", 8),
        ([HEAD, UNKNOWN], "auto", "TPU-1", 1),
        ([HEAD], "cpu", "cpu x", 1),
    ],
)
def test_what_a_cluster_offers(cluster: Any, nodes: list[RayNode], accelerator: str, name: str, chips: int) -> None:
    cluster(*nodes)
    machine = find_cluster(PLACE, accelerator, None, None)
    assert (machine.accelerator, machine.chips, machine.versions) == (name, chips, {"vllm": "0.32.0"})
    assert fits({"accelerator": accelerator, "chips": chips, "versions": {"vllm": ">=0.30"}}, machine) is (accelerator != "auto")


@pytest.mark.parametrize(
    ("nodes", "accelerator", "words"),
    [
        ([HEAD], "auto", r"^accelerator auto: no Ray node has TPU: 10\.0\.0\.2 has CPU 8; name what there is"),
        ([HEAD, V5E], "v6e", r"^accelerator v6e: no Ray node has v6e: 10\.0\.0\.2 has CPU 8; 10\.0\.0\.4 has TPU 8, CPU 8"),
        ([V6E, V5E], "auto", r"^accelerator auto: the cluster has TPU v5e, TPU v6e; name one with --accelerator"),
        ([], "auto", r"there is none"),
    ],
)
def test_what_a_cluster_has_not_is_refused_in_one_line(cluster: Any, nodes: list[RayNode], accelerator: str, words: str) -> None:
    cluster(*nodes)
    with pytest.raises(BadInput, match=words) as caught:
        find_cluster(PLACE, accelerator, None, None)
    assert "\n" not in str(caught.value)


def test_another_release_on_the_nodes_is_refused(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster(V6E)
    monkeypatch.setattr(on_ray, "ask_node", lambda _node, _python: NodeFacts("0.0.9", 1, "cpu x", {}))
    with pytest.raises(BadInput, match=r"^ray 10\.0\.0\.2:6379: the node 10\.0\.0\.3 has vllm-tpu-tuner 0\.0\.9 and this side"):
        find_cluster(PLACE, "auto", None, None)


def test_without_ray_the_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BadInput, match=r"which is not installed here; pip install 'vllm-tpu-tuner\[ray\]'"):
        connect_really(PLACE)


def test_a_study_is_taken_while_its_chips_are_free(cluster: Any) -> None:
    cluster(HEAD, V6E)
    room = OnRay(PLACE, "tpu").room()
    assert room({}) and room({"chips": 4}) and not room({"chips": 8})
    cluster(HEAD)  # another worker has the chips
    assert not OnRay(PLACE, "tpu").room()({})
    assert OnRay(PLACE, "cpu").room()({})
    assert not OnRay(RayPlace("auto", {"spare": 1.0}), "cpu").room()({})


def test_a_slice_of_two_hosts_is_offered_whole(cluster: Any) -> None:
    labels = {"ray.io/tpu-slice-name": "s", "ray.io/accelerator-type": "TPU-V6E"}
    hosts = [RayNode(name, "10.0.0.6", 1, {"TPU": 4.0}, labels) for name in "mn"]
    cluster(*hosts)
    machine = find_cluster(PLACE, "auto", None, None)
    assert (machine.accelerator, machine.chips) == ("TPU v6e-4", 8)
    assert find_cluster(RayPlace("auto", {"TPU": 4.0}), "auto", None, None).chips == 4, "resources are of one node"
    room = OnRay(PLACE, "tpu").room()
    assert room({"chips": 8}) and room({"chips": 4}) and not room({"chips": 6})


def test_an_engine_runs_there_and_what_has_none_stays_as_it_is() -> None:
    there = OnRay(RayPlace("10.0.0.2:6379", {"TPU": 4.0}), "tpu", "env.yaml")
    own = {"launcher": "ray", "ray_address": "10.0.0.2:6379", "ray_resources": {"TPU": 4.0}, "ray_runtime_env": "env.yaml"}
    assert there.settings({}) == there.settings({"launcher": "local", "platform": "tpu"}) == own
    assert there.settings({"launcher": "table"}) == there.settings({"launcher": "serve"}) == {}
    assert OnRay(PLACE, "cpu").settings({})["platform"] == "cpu"
    assert "platform" not in OnRay(PLACE, "cpu").settings({"platform": "tpu"})


@pytest.mark.parametrize(
    ("begun", "launcher", "with_ray", "why"),
    [
        ("ray", "local", False, "on a Ray cluster: for a worker with --ray"),
        ("local", "ray", True, "without a Ray cluster: for a worker without --ray"),
        (None, "serve", True, "it asks for vllm serve"),
        ("ray", "ray", True, None),
        ("local", "local", False, None),
        ("table", "table", True, None),
        (None, "serve", False, None),
        (None, "local", False, None),
    ],
)
def test_a_study_stays_with_the_kind_of_worker_that_began_it(begun: str | None, launcher: str, with_ray: bool, why: str | None) -> None:
    config = config_of(launcher=launcher)
    existing = None if begun is None else Study("s", "tiny-qwen3", {"launcher": begun}, "throughput")
    found = left_to_others(config, existing, OnRay(PLACE, "tpu") if with_ray else None)
    assert found is None if why is None else why in str(found)

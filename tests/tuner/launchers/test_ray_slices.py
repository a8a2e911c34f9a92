"""Which slices a cluster has, and what is refused. The real cluster: test_ray_launcher.py."""

from __future__ import annotations

import pytest

from tuner.core.errors import BadInput
from tuner.launchers.ray_cluster import RayNode, RayPlace
from tuner.launchers.ray_slices import check_slice_settings, is_free, needs_slice, no_slice_has, slices

PLACE = RayPlace()


def host(name: str, worker: int, chips: float = 4.0, topology: str = "4x4", kind: str = "TPU-V6E") -> RayNode:
    labels = {"ray.io/tpu-slice-name": name, "ray.io/tpu-worker-id": str(worker), "ray.io/tpu-topology": topology}
    head = {"TPU-v6e-16-head": 1.0} if worker == 0 else {}
    return RayNode(f"{name}{worker}", f"10.0.{worker}.1", 1, {"CPU": 8.0, "TPU": chips, **head}, labels | {"ray.io/accelerator-type": kind})


WHOLE = [host("a", worker) for worker in (2, 0, 1, 3, 10)][:4]
ALONE = RayNode("x", "10.0.9.9", 1, {"TPU": 4.0}, {})


def test_the_bundles_are_the_hosts_in_their_order() -> None:
    (found,) = slices([*WHOLE, ALONE])
    assert [node.node_id for node in found.hosts] == ["a0", "a1", "a2", "a3"]
    assert found.devices == 16
    assert found.bundles == [{"TPU": 4.0, "TPU-v6e-16-head": 1.0}, {"TPU": 4.0}, {"TPU": 4.0}, {"TPU": 4.0}]
    assert slices([host("single", 0), ALONE]) == [], "a slice of one host is a node"


def test_a_chip_with_two_devices_counts_twice() -> None:
    (found,) = slices([host("i", worker, topology="2x2x2", kind="TPU-V7X") for worker in (0, 1)])
    assert (found.devices, found.is_whole) == (16, True)


@pytest.mark.parametrize(
    ("nodes", "devices", "words"),
    [
        (WHOLE, 16, None),
        (WHOLE, 8, "no slice of 8 devices is there: slice a has 4 hosts of a 4x4, 16 devices"),
        (WHOLE[:3], 12, "slice a has 3 hosts of a 4x4, 12 devices, and is not whole"),
        ([*WHOLE[:3], host("a", 3, chips=2.0)], 14, "is not whole"),
    ],
)
def test_only_a_whole_slice_will_do(nodes: list[RayNode], devices: int, words: str | None) -> None:
    found = no_slice_has(devices, nodes)
    assert found is None if words is None else words in str(found)


def test_a_slice_is_needed_beyond_one_host() -> None:
    assert needs_slice(PLACE, "tpu", 16, WHOLE)
    assert not needs_slice(PLACE, "tpu", 4, WHOLE)
    assert not needs_slice(PLACE, "cpu", 16, WHOLE)
    assert not needs_slice(RayPlace(resources={"TPU": 4.0}), "tpu", 16, WHOLE), "what is named is of one node"
    assert not needs_slice(PLACE, "tpu", 16, [ALONE]), "no slice at all: no node has it"


def test_a_slice_is_free_where_all_its_hosts_are() -> None:
    free = {node.node_id: node.resources for node in WHOLE}
    assert is_free(16, WHOLE, free)
    assert not is_free(16, WHOLE, {**free, "a2": {"TPU": 3.0}})
    assert not is_free(8, WHOLE, free)


@pytest.mark.parametrize(
    ("backend", "python", "words"), [("tuner_xla", None, "attention_backend"), ("auto", "/opt/python", "engine_python")]
)
def test_what_cannot_span_hosts_is_refused_in_one_line(backend: str, python: str | None, words: str) -> None:
    check_slice_settings("rpa", None)
    with pytest.raises(BadInput, match=rf"^{words} ") as caught:
        check_slice_settings(backend, python)
    assert "\n" not in str(caught.value)

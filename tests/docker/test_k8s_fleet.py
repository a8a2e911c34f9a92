"""Workers of the queue on Kubernetes: Deployment and Job run another command than the Job of one search, and have time to drain."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
import yaml

from tests.docker.files import DOCKER, compose, manifests
from tests.tuner.cli.command_lines import parse
from tests.tuner.workbench import config_of

KINDS = {name: yaml.safe_load((DOCKER / "k8s" / "fleet" / f"{name}.yaml").read_text()) for name in ("deployment", "job")}


def pod(manifest: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = manifest["spec"]["template"]["spec"]
    return spec


@pytest.mark.parametrize("kind", KINDS)
def test_a_worker_of_the_queue_is_locked_down_and_has_its_secret_as_the_searchs_job(kind: str) -> None:
    ours, search = pod(KINDS[kind]), pod(manifests()["Job"])
    [container], [other] = ours["containers"], search["containers"]
    for name in ("automountServiceAccountToken", "nodeSelector", "securityContext"):
        assert ours[name] == search[name]
    for name in ("image", "env", "securityContext", "resources"):
        assert container[name] == other[name]
    assert container["image"] == compose()["services"]["worker"]["image"]
    assert container["resources"]["limits"]["google.com/tpu"] == container["resources"]["requests"]["google.com/tpu"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in ours["volumes"]}
    assert [volume for volume in search["volumes"] if volume["name"] != "study"] == ours["volumes"], "no study: the queue has it"


@pytest.mark.parametrize("kind", KINDS)
def test_the_command_line_takes_it(kind: str) -> None:
    arguments = pod(KINDS[kind])["containers"][0]["args"]
    assert arguments[0] == "worker"
    assert ("--once" in arguments) is (kind == "job"), "a job ends, a deployment's pods stay"
    parse(shlex.join(["tuner", *arguments]))


@pytest.mark.parametrize("kind", KINDS)
def test_there_is_time_to_drain(kind: str) -> None:
    """A window, and before it what the worker does not stop in: the engine's start and a warm-up."""
    study = config_of()
    assert pod(KINDS[kind])["terminationGracePeriodSeconds"] >= study.engine_start_timeout + 2 * study.trial_timeout


def test_a_worker_does_not_wait_for_the_chips_of_the_one_that_it_replaces() -> None:
    assert KINDS["deployment"]["spec"]["strategy"] == {"type": "Recreate"}
    labels = KINDS["deployment"]["spec"]["template"]["metadata"]["labels"]
    assert KINDS["deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert labels != manifests()["Service"]["spec"]["selector"], "no request of the service reaches a worker"


def test_the_schedule_calls_what_the_service_image_has() -> None:
    job = yaml.safe_load((DOCKER / "k8s" / "fleet" / "revalidate.yaml").read_text())["spec"]["jobTemplate"]["spec"]
    ours, service = pod({"spec": job}), pod(manifests()["Deployment"])
    [container], [other] = ours["containers"], service["containers"]
    assert ours["securityContext"] == service["securityContext"] and ours["automountServiceAccountToken"] is False
    assert (container["image"], container["securityContext"]) == (other["image"], other["securityContext"])
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in ours["volumes"]}
    assert container["command"][:3] == ["tuner", "revalidate", "--submit"]
    parse(shlex.join(container["command"]))

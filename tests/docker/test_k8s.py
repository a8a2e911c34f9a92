"""The Kubernetes manifests: they name what exists, run what the images run, and run it locked down."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import pytest
import yaml

from tests.docker.files import DOCKER, compose, manifests, stages, words
from tests.waiting import PATIENCE_S

KINDS = manifests()


def _pod(kind: str) -> dict[str, Any]:
    spec: dict[str, Any] = KINDS[kind]["spec"]["template"]["spec"]
    return spec


@pytest.mark.parametrize("kind", ["Deployment", "Job"])
def test_pods_are_locked_down(kind: str) -> None:
    pod = _pod(kind)
    assert pod["automountServiceAccountToken"] is False
    assert (pod["securityContext"]["runAsNonRoot"], pod["securityContext"]["runAsUser"]) == (True, 10001)
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("kind", ["Deployment", "Job"])
def test_volumes_claims_and_secrets_are_those_that_exist(kind: str) -> None:
    pod = _pod(kind)
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    secret = next(volume["secret"] for volume in volumes.values() if "secret" in volume)
    assert secret["secretName"] == "tuner"
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        assert {mount["name"] for mount in container["volumeMounts"]} <= set(volumes)
        for variable in container["env"]:
            assert variable["name"].endswith("_FILE")
            assert variable["value"].startswith("/run/secrets/tuner/")
            assert variable["value"].rpartition("/")[2] in compose()["secrets"]
    assert volumes["profiles"]["persistentVolumeClaim"]["claimName"] == KINDS["PersistentVolumeClaim"]["metadata"]["name"]


def test_the_commands_are_those_of_the_images_and_of_compose() -> None:
    deployment, services = _pod("Deployment"), compose()["services"]
    assert deployment["containers"][0]["command"] == words(stages(DOCKER / "Dockerfile.service")[-1], "CMD")
    assert deployment["initContainers"][0]["command"] == services["upgrade"]["command"]
    assert _pod("Job")["containers"][0]["args"] == services["worker"]["command"]
    assert {container["image"] for container in (*deployment["containers"], *deployment["initContainers"])} == {
        services["service"]["image"]
    }
    assert _pod("Job")["containers"][0]["image"] == services["worker"]["image"]


def test_the_study_is_the_one_of_compose() -> None:
    assert yaml.safe_load(KINDS["ConfigMap"]["data"]["study.yaml"]) == yaml.safe_load((DOCKER / "study.yaml").read_text())


def test_the_service_finds_the_pods() -> None:
    labels = KINDS["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert KINDS["Service"]["spec"]["selector"] == labels == KINDS["Deployment"]["spec"]["selector"]["matchLabels"]


def test_a_tpu_is_asked_for_and_limited_alike() -> None:
    resources = _pod("Job")["containers"][0]["resources"]
    assert resources["requests"]["google.com/tpu"] == resources["limits"]["google.com/tpu"]
    assert set(_pod("Job")["nodeSelector"]) == {"cloud.google.com/gke-tpu-accelerator", "cloud.google.com/gke-tpu-topology"}


@pytest.mark.slow
def test_kustomize_takes_the_folder() -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    built = subprocess.run(["kubectl", "kustomize", str(DOCKER / "k8s")], capture_output=True, text=True, timeout=PATIENCE_S)
    assert built.returncode == 0, built.stderr
    kinds = {item["kind"] for item in yaml.safe_load_all(built.stdout)}
    assert kinds == set(KINDS) - {"Job", "Kustomization"}

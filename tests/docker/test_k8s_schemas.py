"""The Kubernetes manifests against Kubernetes' own schemas, and what the folders beside the service's say."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.docker.files import DOCKER, compose, manifests
from tests.tuner.cli.command_lines import parse
from tests.waiting import PATIENCE_S

FILES = sorted(path for path in (DOCKER / "k8s").rglob("*.yaml") if path.name != "kustomization.yaml")
JOBSET = yaml.safe_load((DOCKER / "k8s" / "ray" / "search.yaml").read_text())
JOBS = {job["name"]: job for job in JOBSET["spec"]["replicatedJobs"]}


def objects(path: Path) -> Iterator[dict[str, Any]]:
    """Of built-in kinds. A JobSet's schema is not among Kubernetes' own: its jobs are checked as the Jobs that its controller makes."""
    for document in yaml.safe_load_all(path.read_text()):
        if document["kind"] != "JobSet":
            yield document
            continue
        for job in document["spec"]["replicatedJobs"]:
            yield {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": job["name"]}, "spec": job["template"]["spec"]}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(DOCKER)))
def test_kubernetes_knows_every_field(path: Path) -> None:
    found = list(objects(path))
    assert found
    for item in found:
        kubernetes_validate.validate(item, kubernetes_validate.latest_version(), strict=True)


def pod(job: str) -> dict[str, Any]:
    spec: dict[str, Any] = JOBS[job]["template"]["spec"]["template"]["spec"]
    return spec


def lines(job: str) -> list[list[str]]:
    """The shell lines of a job's container, as words."""
    [container] = pod(job)["containers"]
    assert container["command"] == ["sh", "-ec"]
    [script] = container["args"]
    return [shlex.split(line.removeprefix("exec ")) for line in script.splitlines()]


def test_the_jobset_ends_with_its_search_and_only_the_hosts_ask_for_chips() -> None:
    spec = JOBSET["spec"]
    assert set(spec) == {"network", "successPolicy", "failurePolicy", "ttlSecondsAfterFinished", "replicatedJobs"}
    assert spec["successPolicy"] == {"operator": "All", "targetReplicatedJobs": ["search"]}
    host, search = (pod(name)["containers"][0]["resources"] for name in ("host", "search"))
    assert host["requests"]["google.com/tpu"] == host["limits"]["google.com/tpu"]
    assert "google.com/tpu" not in search["limits"]
    assert set(pod("host")["nodeSelector"]) == {"cloud.google.com/gke-tpu-accelerator", "cloud.google.com/gke-tpu-topology"}


def test_hosts_find_the_head_by_the_name_that_jobset_gives_it_and_chips_are_the_same_three_times() -> None:
    (_head, _wait, search), (host,) = lines("search"), lines("host")
    options = dict(word.split("=", 1) for word in host if word.startswith("--") and "=" in word)
    name, subdomain = JOBSET["metadata"]["name"], JOBSET["spec"]["network"]["subdomain"]
    assert options["--address"] == f"{name}-search-0-0.{subdomain}:6379"
    chips = int(pod("host")["containers"][0]["resources"]["limits"]["google.com/tpu"])
    assert json.loads(options["--resources"]) == {"TPU": chips}
    assert f"TPU={chips}" in search


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Ray Serve, which Ray's command line loads
def test_ray_and_the_tuner_take_the_commands() -> None:
    from ray.scripts.scripts import start

    (head, _wait, search), (host,) = lines("search"), lines("host")
    for line in (head, host):
        assert re.fullmatch(r"(/usr/local/bin/)?ray", line[0]) and line[1] == "start"
        start.make_context("start", line[2:])
    parse(shlex.join(search))


def test_the_jobs_are_locked_down_and_use_what_exists() -> None:
    there = manifests()
    for name in JOBS:
        spec = pod(name)
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"] == there["Job"]["spec"]["template"]["spec"]["securityContext"]
        [container] = spec["containers"]
        assert container["securityContext"] == there["Job"]["spec"]["template"]["spec"]["containers"][0]["securityContext"]
        assert container["image"] == compose()["services"]["worker"]["image"]
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in spec["volumes"]}
    assert "TUNER_STORAGE_FILE" in {variable["name"] for variable in pod("search")["containers"][0]["env"]}
    claims = [volume["persistentVolumeClaim"]["claimName"] for volume in pod("search")["volumes"] if "persistentVolumeClaim" in volume]
    assert claims == [there["PersistentVolumeClaim"]["metadata"]["name"]]


def test_kustomize_takes_the_folder_of_postgres() -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    built = subprocess.run(["kubectl", "kustomize", str(DOCKER / "k8s" / "postgres")], capture_output=True, text=True, timeout=PATIENCE_S)
    assert built.returncode == 0, built.stderr
    assert sorted(item["kind"] for item in yaml.safe_load_all(built.stdout)) == ["Service", "StatefulSet"]


def test_postgres_is_the_one_of_compose_under_the_name_in_the_secret() -> None:
    service, stateful = yaml.safe_load_all((DOCKER / "k8s" / "postgres" / "postgres.yaml").read_text())
    [container] = stateful["spec"]["template"]["spec"]["containers"]
    ours = compose()["services"]["postgres"]
    assert container["image"] == ours["image"]
    assert container["readinessProbe"]["exec"]["command"] == ours["healthcheck"]["test"][1:]
    assert {item["name"] for item in container["env"]} == set(ours["environment"])
    url = re.search(r"@(\w+):(\d+)/", (DOCKER / "make-secrets").read_text())
    assert url is not None
    assert (service["metadata"]["name"], service["spec"]["ports"][0]["port"]) == (url[1], int(url[2]))
    assert {mount["name"] for mount in container["volumeMounts"]} == {
        *(volume["name"] for volume in stateful["spec"]["template"]["spec"]["volumes"]),
        *(claim["metadata"]["name"] for claim in stateful["spec"]["volumeClaimTemplates"]),
    }

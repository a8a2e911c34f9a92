"""The kustomize overlays: what they build is what Kubernetes takes, and chips agree wherever they stand."""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.docker.files import DOCKER
from tests.waiting import PATIENCE_S

CHIPS = "google.com/tpu"
pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")


@cache
def built(overlay: str) -> dict[str, dict[str, Any]]:
    """Kind -> object."""
    done = subprocess.run(["kubectl", "kustomize", str(DOCKER / "k8s" / overlay)], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    return {item["kind"]: item for item in yaml.safe_load_all(done.stdout)}


@pytest.mark.slow
@pytest.mark.parametrize("overlay", ["fleet", "ray", "single-host", "multi-host", "slices"])
def test_kubernetes_knows_every_field_of_what_is_built(overlay: str) -> None:
    found = built(overlay)
    jobs = [{"spec": item["template"]["spec"]} for item in found.get("JobSet", {"spec": {"replicatedJobs": []}})["spec"]["replicatedJobs"]]
    plain = [item for kind, item in found.items() if kind != "JobSet"]
    assert plain or jobs
    for item in (*plain, *({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job"}, **job} for job in jobs)):
        kubernetes_validate.validate(item, kubernetes_validate.latest_version(), strict=True)


def test_a_single_host_has_as_many_chips_as_its_topology() -> None:
    base, ours = (built(name)["Deployment"]["spec"] for name in ("fleet", "single-host"))
    pod, [container] = ours["template"]["spec"], ours["template"]["spec"]["containers"]
    rows, columns = pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"].split("x")
    assert int(container["resources"]["limits"][CHIPS]) == int(container["resources"]["requests"][CHIPS]) == int(rows) * int(columns)
    assert ours["replicas"] > base["replicas"]
    [before] = base["template"]["spec"]["containers"]
    assert {**container, "resources": 0} == {**before, "resources": 0}, "nothing else is another"
    assert built("single-host")["CronJob"] == built("fleet")["CronJob"]


def test_chips_of_several_hosts_are_the_same_in_all_four_places() -> None:
    search, hosts = built("multi-host")["JobSet"]["spec"]["replicatedJobs"]
    before = built("ray")["JobSet"]["spec"]["replicatedJobs"]
    assert hosts["replicas"] > before[1]["replicas"]
    [container] = hosts["template"]["spec"]["template"]["spec"]["containers"]
    chips = {*container["resources"]["requests"].items(), *container["resources"]["limits"].items()}
    [asked] = re.findall(r"TPU=(\d+)", search["template"]["spec"]["template"]["spec"]["containers"][0]["args"][0])
    [given] = re.findall(r'"TPU": (\d+)', container["args"][0])
    assert {value for name, value in chips if name == CHIPS} == {asked} == {given}
    commands, base = (
        [item["template"]["spec"]["template"]["spec"]["containers"][0]["args"][0].strip() for item in jobs]
        for jobs in ((search, hosts), before)
    )
    assert [re.sub(rf'(TPU"?[=:] ?){asked}', r"\g<1>1", text) for text in commands] == base, "nothing else is another"

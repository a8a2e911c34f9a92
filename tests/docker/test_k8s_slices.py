"""Slices of several hosts on Kubernetes: what the overlay builds, and its commands run on one machine."""

from __future__ import annotations

import math
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from storage.upgrade import open_storage
from tests.docker.files import DOCKER
from tests.plugins.small_ray import small_cluster
from tests.tuner.cli.command_lines import parse
from tests.waiting import PATIENCE_S, wait_until
from tuner.setup.hardware import accelerator_limits

CHIPS = "google.com/tpu"
BIN = Path(sys.executable).parent
pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")


@pytest.fixture(scope="module")
def jobset() -> dict[str, Any]:
    command = ["kubectl", "kustomize", str(DOCKER / "k8s" / "slices")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    [found] = yaml.safe_load_all(done.stdout)
    assert found["kind"] == "JobSet"
    return dict(found)


def container(jobset: dict[str, Any], number: int) -> dict[str, Any]:
    [found] = jobset["spec"]["replicatedJobs"][number]["template"]["spec"]["template"]["spec"]["containers"]
    assert found["command"] == ["sh", "-ec"] and len(found["args"]) == 1
    return dict(found)


def lines(jobset: dict[str, Any], number: int) -> list[list[str]]:
    """The shell lines of a job's container, as words."""
    return [shlex.split(line.removeprefix("exec ")) for line in container(jobset, number)["args"][0].splitlines()]


def test_a_job_is_one_slice_and_chips_agree_wherever_they_stand(jobset: dict[str, Any]) -> None:
    job = jobset["spec"]["replicatedJobs"][1]["template"]
    selector, resources = job["spec"]["template"]["spec"]["nodeSelector"], container(jobset, 1)["resources"]
    topology, hosts = selector["cloud.google.com/gke-tpu-topology"], job["spec"]["parallelism"]
    assert (job["spec"]["completions"], job["spec"]["completionMode"]) == (hosts, "Indexed")
    assert job["metadata"]["annotations"] == {"alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"}
    assert hosts > 1 and resources["limits"][CHIPS] == resources["requests"][CHIPS]
    chips = int(resources["limits"][CHIPS])
    devices = math.prod(map(int, topology.split("x")))
    assert hosts * chips == devices
    (labels,), host = lines(jobset, 1)[0], container(jobset, 1)["args"][0]
    assert f'"TPU": {chips}' in host and f"ray.io/tpu-topology={topology}" in labels
    kind = re.search(r"ray\.io/accelerator-type=TPU-(\w+)", host)
    limits = None if kind is None else accelerator_limits(kind[1].lower())
    assert limits is not None
    assert selector["cloud.google.com/gke-tpu-accelerator"] == f"tpu-{limits.name.removeprefix('TPU ')}-slice"
    assert f"/{devices}.0 TPU" in container(jobset, 0)["args"][0], "the worker waits for one whole slice"
    assert CHIPS not in container(jobset, 0)["resources"]["limits"]


def test_a_host_says_which_slice_it_belongs_to_and_finds_the_head(jobset: dict[str, Any]) -> None:
    worker, _slice = jobset["spec"]["replicatedJobs"]
    names = [item for item in container(jobset, 1)["env"] if item["name"] == "TPU_NAME"]
    assert names == [{"name": "TPU_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['batch.kubernetes.io/job-name']"}}}]
    _labels, host = lines(jobset, 1)
    head = f"{jobset['metadata']['name']}-{worker['name']}-0-0.{jobset['spec']['network']['subdomain']}"
    assert f"--address={head}:6379" in host
    assert jobset["spec"]["successPolicy"]["targetReplicatedJobs"] == [worker["name"]]
    pod = worker["template"]["spec"]["template"]["spec"]
    assert {mount["name"] for mount in container(jobset, 0)["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    drain = yaml.safe_load((DOCKER / "k8s" / "fleet" / "deployment.yaml").read_text())["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == drain["terminationGracePeriodSeconds"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Ray Serve, which Ray's command line loads
def test_ray_and_the_tuner_take_the_commands(jobset: dict[str, Any]) -> None:
    from ray.scripts.scripts import start

    (head, _wait, worker), (_labels, host) = lines(jobset, 0), lines(jobset, 1)
    for line in (head, host):
        assert line[0].rpartition("/")[2] == "ray" and line[1] == "start"
        start.make_context("start", line[2:])
    parse(shlex.join(worker))


@contextmanager
def running(script: str, log: Path, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, "PATH": f"{os.environ['PATH']}:{BIN}", **variables}
    with log.open("wb") as output:
        process = subprocess.Popen(["sh", "-ec", script], env=environment, cwd=log.parent, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def has_joined(log: Path) -> bool:
    return "Ray runtime started" in log.read_text()


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_run_on_one_machine_the_worker_offers_the_slice(jobset: dict[str, Any], tmp_path: Path) -> None:
    """The scripts of the manifest; the head is a cluster of this test's own, so that nobody else's is taken for it."""
    storage = f"sqlite:///{tmp_path / 'tuner.db'}"
    open_storage(storage).close()
    _head, *waits = container(jobset, 0)["args"][0].splitlines(keepends=True)
    log = tmp_path / "worker.log"
    (small := tmp_path / "small").mkdir()
    with small_cluster(small, cpus=0) as cluster, ExitStack() as hosts:
        host = re.sub(r"--address=\S+", f"--address={cluster.address}", container(jobset, 1)["args"][0])
        host = host.replace("/usr/local/bin", str(small))
        count = jobset["spec"]["replicatedJobs"][1]["template"]["spec"]["completions"]
        for number in range(count):
            if number == count - 1:  # until the last has joined, it waits
                worker = hosts.enter_context(running("".join(waits), log, RAY_ADDRESS=cluster.address, TUNER_STORAGE=storage))
            own = {"TPU_NAME": "tuner-ray-slice-0", "JOB_COMPLETION_INDEX": str(number)}
            said = tmp_path / f"host-{number}.log"
            hosts.enter_context(running(host, said, **own))
            wait_until(partial(has_joined, said), f"host {number} to join")
        wait_until(lambda: "chips" in log.read_text() or worker.poll() is not None, "the worker to begin", patience_s=400)
        assert re.search(r": TPU v6e-4, 16 chips, on the Ray cluster auto", log.read_text())
        worker.terminate()
        assert worker.wait(PATIENCE_S) == 0, log.read_text()

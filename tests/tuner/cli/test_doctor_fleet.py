"""`tuner doctor --fleet`: the queue, the workers, their versions, and a Ray cluster that is not there."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest

from storage.queue_records import Claim, FleetWorker, Quarantine, Submission
from storage.upgrade import open_storage
from tests.tuner.cli.terminal import Terminal

WORKER = FleetWorker("host-1", "tpu-vm-1", "TPU v6e-4", 4, {"jax": "0.11.2", "vllm_tpu": "0.32.0"})


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def look(terminal: Terminal, *arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
    result = terminal.run("doctor", "--fleet", "--storage", terminal.url, "--json", *arguments)
    return result.code, {check["name"]: check for check in result.json["checks"]}


@pytest.mark.slow
def test_queued_studies_without_a_worker_are_not_ready(terminal: Terminal) -> None:
    with closing(open_storage(terminal.url)) as storage:
        code, checks = look(terminal)
        assert (code, checks["queue"]["found"], checks["workers"]["ok"]) == (0, "empty", False)
        storage.submit(Submission("first", {"model": "tiny-qwen3"}, "ada"))
        code, checks = look(terminal)
        assert (code, checks["queue"]["ok"], checks["queue"]["found"]) == (1, False, "1 QUEUED")
        storage.put_worker(WORKER)
        code, checks = look(terminal)
    assert (code, checks["queue"]["ok"]) == (0, True)
    assert checks["workers"]["found"] == "host-1: idle, 4 x TPU v6e-4 on tpu-vm-1"
    assert checks["versions"]["found"] == "the same on 1 worker"


@pytest.mark.slow
def test_a_study_in_the_hands_of_nobody_who_was_seen_is_named(terminal: Terminal) -> None:
    with closing(open_storage(terminal.url)) as storage:
        storage.submit(Submission("first", {"model": "tiny-qwen3"}, "ada"))
        assert storage.claim_submission(Claim("host-9", "token", 60.0)) is not None
        storage.put_worker(WORKER)
    _, checks = look(terminal)
    assert (checks["running"]["ok"], checks["running"]["found"]) == (False, "no worker was seen of late for first (host-9)")


@pytest.mark.slow
def test_versions_that_differ_are_named_with_who_has_them(terminal: Terminal) -> None:
    with closing(open_storage(terminal.url)) as storage:
        storage.put_worker(WORKER)
        storage.put_worker(FleetWorker("host-2", "tpu-vm-2", "TPU v6e-4", 4, {"jax": "0.11.1", "vllm_tpu": "0.32.0"}))
    _, checks = look(terminal)
    assert (checks["versions"]["ok"], checks["versions"]["found"]) == (False, "jax 0.11.1 (host-2), 0.11.2 (host-1)")


@pytest.mark.slow
def test_without_a_database_or_a_cluster_it_says_so_in_words(terminal: Terminal) -> None:
    result = terminal.run("doctor", "--fleet", "--storage", terminal.url, "--ray-address", "127.0.0.1:1")
    assert result.code == 1
    assert "ray_address 127.0.0.1:1: nobody answers there" in result.out
    assert result.out.splitlines()[-1] == "not ready for submitted studies: queue, ray"


@pytest.mark.slow
def test_a_host_in_quarantine_is_told_with_the_way_out(terminal: Terminal) -> None:
    with closing(open_storage(terminal.url)) as storage:
        _, checks = look(terminal)
        assert (checks["hosts"]["ok"], checks["hosts"]["found"]) == (True, "nothing was measured of late")
        storage.quarantine_host(Quarantine("tpu-vm-1", "-12.0 % beside its peers", "host-2"))
        code, checks = look(terminal)
    assert (code, checks["hosts"]["ok"], checks["hosts"]["found"]) == (0, False, "tpu-vm-1: in quarantine, -12.0 % beside its peers")
    assert "tuner queue release" in checks["hosts"]["fix"]

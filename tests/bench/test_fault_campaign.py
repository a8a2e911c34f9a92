"""The campaign's short form: a few faults of each part, after which nothing may be lost, there twice, left over or wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from bench.fault_campaign import PARTS, main
from bench.lib.fault_engines import KILLS, REPORTS, EngineCampaign, runs
from bench.lib.fault_findings import Found
from bench.lib.fault_searches import SearchCampaign
from bench.lib.fault_workers import ON_ANY, ON_POSTGRESQL, WorkerCampaign
from bench.lib.forked_tuner import ROOT
from bench.lib.own_postgres import OwnPostgres
from tests.waiting import wait_until


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.lib.fault_workers.WAITING", 1)  # fewer studies, and so less to wait for at the end
    monkeypatch.setattr("bench.lib.fault_workers.STOPPED_S", (1.2, 1.5))
    monkeypatch.setattr("bench.lib.fault_workers.LATEST_S", 1.0)


@pytest.mark.slow
def test_workers_that_are_stopped_and_out_of_disk_lose_nothing(tmp_path: Path) -> None:
    kinds = {name: ON_ANY[name] for name in ("full disk", "SIGSTOP of a worker")}
    found = WorkerCampaign(tmp_path, seed=0).run(2, kinds)
    assert found.faults.total() == 2
    assert found.windows >= found.studies * 30, "each study has all its windows"
    assert found.is_clean, found


@pytest.mark.slow
@pytest.mark.postgres
def test_a_database_that_is_cut_off_and_put_back_loses_nothing(tmp_path: Path) -> None:
    kinds = {name: ON_POSTGRESQL[name] for name in ("SIGKILL of a worker that was cut off", "backup restored")}
    postgres = OwnPostgres(tmp_path)
    try:
        found = WorkerCampaign(tmp_path, 0, postgres).run(2, kinds)
    finally:
        postgres.close()
    assert found.faults.total() == 2
    assert found.is_clean, found


@pytest.mark.slow
def test_a_search_that_is_killed_loses_nothing(tmp_path: Path) -> None:
    found = SearchCampaign(tmp_path, seed=0).run(1)
    assert found.faults.total() == 1 and found.is_clean, found


@pytest.mark.slow
def test_engines_that_are_killed_and_fail_spoil_no_answer(tmp_path: Path) -> None:
    found = EngineCampaign(tmp_path, seed=0).run(2)
    assert found.faults.total() >= 1 and found.is_clean, found


@pytest.mark.slow
@pytest.mark.postgres
def test_a_campaign_that_is_told_to_stop_leaves_nothing(tmp_path: Path) -> None:
    """Its workers have sessions of their own, and PostgreSQL is a daemon."""
    command = [sys.executable, "-m", "bench.fault_campaign", "--only", "database", "--faults", "100"]
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, "TMPDIR": str(tmp_path)}, stderr=subprocess.PIPE) as campaign:
        try:
            wait_until(lambda: list(tmp_path.glob("tuner-faults-*/w*/log")), "a worker", patience_s=120)
        except AssertionError:
            campaign.terminate()
            raise
        workers = psutil.Process(campaign.pid).children(recursive=True)
        servers = [process for process in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(process.info["cmdline"] or ())]
        campaign.terminate()
        assert campaign.wait(timeout=60) == 128 + signal.SIGTERM
    assert len(workers) >= 2 and servers, "the worker and what forked it"
    wait_until(lambda: not any(map(runs, [*workers, *servers])), "all processes to end", patience_s=10)
    assert not list(tmp_path.glob("tuner-*"))


def test_each_loss_is_told() -> None:
    assert Found(studies=1, windows=30, second=1).is_clean
    for bad in (Found(lost=1), Found(twice=1), Found(orphans=1), Found(wrong=1), Found(unclassified=1), Found(not_complete=1)):
        found = Found()
        found.add(bad)
        assert not found.is_clean and any(line.endswith(" 1") for line in found.lines())


def test_a_campaign_hits_everything() -> None:
    assert sum(share for share, _ in PARTS.values()) == pytest.approx(1.0)
    assert len({*ON_ANY, *ON_POSTGRESQL, *KILLS, *REPORTS}) >= 22


def test_faults_that_followed_are_the_exit_status(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("bench.fault_campaign.PARTS", {"engines": (1.0, lambda *_: Found(lost=1, notes=["study s: gone"]))})
    assert main(["--faults", "1"]) == 1
    assert "study s: gone" in capsys.readouterr().out

"""Faults of real `tuner worker` processes, of their network and of their database, at random moments of their studies.

Each worker believes to be on a machine of its own, claims studies from the queue and runs them with the fake engine of the tests, which
takes a moment for each window and has a process of its own. Some faults end the worker, and another goes on; the others it has to survive.
"""

from __future__ import annotations

import random
import resource
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.lib.fault_findings import MOST_STUDIES, Found, Kept, alive, judge, orphans
from bench.lib.forked_tuner import ForkedTuner, TunerForks
from bench.lib.own_postgres import OwnPostgres
from storage.queue_records import ENDED, SubmissionState
from storage.upgrade import open_storage
from tests.tuner.workbench import config_of
from tests.waiting import wait_until
from tuner.fleet.submission import submission_of
from tuner.trials.spool import read_spool, spool_files

LEASE_S = 1.0
WINDOW_S = 0.05
LATEST_S = 2.0  # after a claim: about as long as a study takes
AWAY_S = (0.3, 1.5)
STOPPED_S = (1.5, 3.0)  # longer than the lease
A_DAY_S = 86400
WAITING = 2  # studies that are always there to be claimed

type Inject = Callable[[WorkerCampaign, Worker], Worker]


@dataclass(frozen=True)
class Worker:
    """A process that was started; `folder` is its own, `host` the machine that it believes to be on."""

    name: str
    host: str
    folder: Path
    process: ForkedTuner

    def engines(self) -> list[psutil.Process]:
        """Those of its engines that live."""
        file = self.folder / "engines.txt"
        started = [int(line) for line in file.read_text().split()] if file.exists() else []
        found = [alive(pid, lambda process: "time.sleep" in " ".join(process.cmdline())) for pid in started]
        return [engine for engine in found if engine is not None]


class WorkerCampaign:
    """`folder`: the workers' logs, profiles and spools. Without `postgres` the database is a SQLite file in it."""

    def __init__(self, folder: Path, seed: int, postgres: OwnPostgres | None = None) -> None:
        self.postgres = postgres
        self._forks = TunerForks()
        self.random = random.Random(seed)  # no secret: which faults and when can be repeated
        url = f"sqlite:///{folder}/faults.db" if postgres is None else postgres.url
        self._url = url if postgres is None else postgres.cut_url
        self._folder = folder
        self._storage = open_storage(url)
        self.kept = Kept(self._storage)
        self._workers: list[Worker] = []
        self.found = Found()

    def run(self, faults: int, kinds: Mapping[str, Inject]) -> Found:
        try:
            worker = self.start()
            names = list(kinds)
            for number in range(faults):
                name = names[number % len(names)]
                wait_until(lambda: self._has_a_study(worker), f"{worker.name} to claim a study")  # noqa: B023  # called at once
                time.sleep(self.random.uniform(0.0, LATEST_S))
                self.kept.look()
                worker = kinds[name](self, worker)
                self.found.faults[name] += 1
                self.kept.look()
            worker.process.send(signal.SIGTERM)
            self.ended(worker)
            last = self.start()  # one that leaves no study alone
            wait_until(lambda: not self._open(), "the studies to end")
            last.process.send(signal.SIGTERM)
            self.ended(last)
        finally:
            for started in self._workers:
                started.process.send(signal.SIGKILL)
            self._forks.close()
        self._judge()
        self._storage.close()
        return self.found

    def start(self, host: str | None = None) -> Worker:
        """`host`: the machine, where it is that of an earlier worker."""
        name = f"w{len(self._workers)}"
        host, folder = host or f"host-{name}", self._folder / name
        folder.mkdir()
        places = ["--storage", self._url, "--logdir", str(folder / "profiles"), "--spool", str(self._folder / f"spool-{host}")]
        times = ["--lease", f"{LEASE_S:g}s", "--poll", "0.2s", "--patience", "60s"]
        env = {"TUNER_TEST_WINDOWS": "1000000", "TUNER_TEST_WINDOW_S": str(WINDOW_S), "TUNER_TEST_HOST": host}
        process = self._forks.start(["worker", "--name", name, *places, *times], folder, env)
        self._workers.append(Worker(name, host, folder, process))
        return self._workers[-1]

    def ended(self, worker: Worker) -> None:
        worker.process.wait()
        self.found.orphans += orphans(worker.engines)

    def pause(self, bounds: tuple[float, float] = AWAY_S) -> None:
        time.sleep(self.random.uniform(*bounds))

    def _top_up(self) -> None:
        for _ in range(WAITING - len(self._storage.list_submissions(states=frozenset({SubmissionState.QUEUED})))):
            self.found.studies += 1
            self._storage.submit(submission_of(config_of(f"s{self.found.studies}", seed=self.found.studies), "campaign"))

    def _has_a_study(self, worker: Worker) -> bool:
        assert worker.process.alive, f"{worker.name} ended: {worker.process.log()}"
        self._top_up()
        running = self._storage.list_submissions(states=frozenset({SubmissionState.RUNNING}))
        return any(item.claimed_by == worker.name for item in running)

    def _open(self) -> bool:
        return any(count for state, count in self._storage.count_submissions().items() if state not in ENDED)

    def _judge(self) -> None:
        self.found.lost += self.kept.lost()
        judge(self.found, self._storage)
        for item in self._storage.list_submissions(limit=MOST_STUDIES):
            if item.state is not SubmissionState.COMPLETE:
                self.found.not_complete += 1
                self.found.notes.append(f"study {item.study} is {item.state} after {item.attempts} attempts: {item.reason}")
        for path in (path for folder in self._folder.glob("spool-*") for path in spool_files(folder)):
            for kept in read_spool(path).windows:  # of machines that did not come back: mostly measured again meanwhile
                window = kept.measurement
                there = {item.id for item in self._storage.list_measurements(trial_id=window.trial_id)}
                stored = kept.store(self._storage)
                if stored is not None and stored.id not in there:
                    trial = self._storage.get_trial(window.trial_id)
                    self.found.waiting += 1
                    self.found.notes.append(f"{path.parent.name} keeps round {window.round} of trial {trial.id}, which is {trial.state}")


def killed(campaign: WorkerCampaign, worker: Worker) -> Worker:
    return _over(campaign, worker, signal.SIGKILL)


def terminated(campaign: WorkerCampaign, worker: Worker) -> Worker:
    return _over(campaign, worker, signal.SIGTERM)


def _over(campaign: WorkerCampaign, worker: Worker, sent: signal.Signals) -> Worker:
    worker.process.send(sent)
    after = campaign.start()
    campaign.ended(worker)
    return after


def stopped(campaign: WorkerCampaign, worker: Worker) -> Worker:
    """For longer than its leases, and then it goes on."""
    worker.process.send(signal.SIGSTOP)
    after = campaign.start()
    campaign.pause(STOPPED_S)
    worker.process.send(signal.SIGCONT)
    campaign.pause()
    worker.process.send(signal.SIGTERM)
    campaign.ended(worker)
    return after


def clock_forward(_campaign: WorkerCampaign, worker: Worker) -> Worker:
    (worker.folder / "clock").write_text(str(A_DAY_S))
    return worker


def clock_back(_campaign: WorkerCampaign, worker: Worker) -> Worker:
    (worker.folder / "clock").write_text(str(-A_DAY_S))
    return worker


def full_disk(campaign: WorkerCampaign, worker: Worker) -> Worker:
    """No file of the worker can grow: what RLIMIT_FSIZE does to a process is what a full disk does, and needs no root."""
    before = resource.prlimit(worker.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(worker.process.pid, resource.RLIMIT_FSIZE, (0, before[1]))
    campaign.pause()
    resource.prlimit(worker.process.pid, resource.RLIMIT_FSIZE, before)
    return worker


def network_cut(campaign: WorkerCampaign, worker: Worker) -> Worker:
    assert campaign.postgres is not None
    campaign.postgres.proxy.cut()
    campaign.pause()
    campaign.postgres.proxy.mend()
    return worker


def network_stalled(campaign: WorkerCampaign, worker: Worker) -> Worker:
    assert campaign.postgres is not None
    campaign.postgres.proxy.stall()
    campaign.pause()
    campaign.postgres.proxy.mend()
    return worker


def killed_while_cut_off(campaign: WorkerCampaign, worker: Worker) -> Worker:
    """And started again on its machine, where its spool is."""
    assert campaign.postgres is not None
    campaign.postgres.proxy.cut()
    campaign.pause()
    worker.process.send(signal.SIGKILL)
    campaign.ended(worker)
    campaign.postgres.proxy.mend()
    return campaign.start(worker.host)


def database_restarted(campaign: WorkerCampaign, worker: Worker) -> Worker:
    assert campaign.postgres is not None
    campaign.postgres.stop()
    campaign.pause()
    campaign.postgres.start()
    return worker


def database_crashed(campaign: WorkerCampaign, worker: Worker) -> Worker:
    assert campaign.postgres is not None
    campaign.postgres.crash()
    campaign.pause()
    campaign.postgres.start()
    return worker


def backup_restored(campaign: WorkerCampaign, worker: Worker) -> Worker:
    """A backup that was made a moment before takes the database's place while the worker measures."""
    assert campaign.postgres is not None
    dump = campaign.postgres.backup()
    campaign.pause((0.2, 1.0))
    campaign.postgres.proxy.cut()
    campaign.postgres.restore(dump)
    campaign.kept.begin_anew()
    campaign.postgres.proxy.mend()
    return worker


ON_ANY: Mapping[str, Inject] = {
    "SIGKILL of a worker": killed,
    "full disk": full_disk,
    "SIGTERM of a worker": terminated,
    "clock a day ahead": clock_forward,
    "SIGSTOP of a worker": stopped,
    "clock a day behind": clock_back,
}
ON_POSTGRESQL: Mapping[str, Inject] = {
    "network cut": network_cut,
    "SIGKILL of a worker": killed,
    "database restarted": database_restarted,
    "full disk": full_disk,
    "network stalled": network_stalled,
    "SIGKILL of a worker that was cut off": killed_while_cut_off,
    "database crashed": database_crashed,
    "SIGSTOP of a worker": stopped,
    "backup restored": backup_restored,
}
ALL: Sequence[str] = sorted({*ON_ANY, *ON_POSTGRESQL})

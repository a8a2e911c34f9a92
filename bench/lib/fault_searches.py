"""`tuner search` processes that are killed at random moments and resumed, with the fake engine of the tests."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import psutil

from bench.lib.fault_findings import Found, Kept, alive, judge, orphans
from bench.lib.forked_tuner import TunerForks
from storage.upgrade import open_storage

WINDOW_S = 0.05
LATEST_S = 2.0  # after its first window
SETTINGS = "--model tiny-qwen3 --page-sizes 16,32 --chunk-budgets 128,256 --workload demo --rounds 3 --profile none"
MOST_RESUMED = 20


class SearchCampaign:
    """One SQLite database in `folder`; each study is killed until it comes to its end."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._url = f"sqlite:///{folder}/searches.db"
        self._random = random.Random(seed)  # no secret: when can be repeated
        self._storage = open_storage(self._url)
        self._kept = Kept(self._storage)
        self._forks = TunerForks()
        self.found = Found()

    def run(self, faults: int) -> Found:
        while self.found.faults.total() < faults:
            self.found.studies += 1
            name = f"c{self.found.studies}"
            resumed = 0
            while not self._run(name, resume=resumed > 0, kill=self.found.faults.total() < faults):
                resumed += 1
                if resumed > MOST_RESUMED:
                    self.found.not_complete += 1
                    break
        self._forks.close()
        self.found.lost += self._kept.lost()
        judge(self.found, self._storage)
        self._storage.close()
        return self.found

    def _run(self, name: str, *, resume: bool, kill: bool) -> bool:
        """Whether it came to its end."""
        before = len(self._engines())
        places = ["--storage", self._url, "--logdir", str(self._folder / "profiles"), "--study", name]
        arguments = ["search", *SETTINGS.split(), *places, *(["--resume"] if resume else [])]
        env = {"TUNER_TEST_WINDOWS": "1000000", "TUNER_TEST_WINDOW_S": str(WINDOW_S)}
        process = self._forks.start(arguments, self._folder, env)
        if kill:
            while process.alive and len(self._engines()) == before:
                time.sleep(0.02)
            time.sleep(self._random.uniform(0.0, LATEST_S))
            self._kept.look()
            if process.alive:
                process.send(signal.SIGKILL)
                self.found.faults["SIGKILL of tuner search"] += 1
        process.wait()
        self._kept.look()
        self.found.orphans += orphans(self._alive)
        assert process.exit_code in (0, None), process.log()
        return process.exit_code == 0

    def _engines(self) -> list[int]:
        file = self._folder / "engines.txt"
        return [int(line) for line in file.read_text().split()] if file.exists() else []

    def _alive(self) -> list[psutil.Process]:
        found = [alive(pid, lambda process: "time.sleep" in " ".join(process.cmdline())) for pid in self._engines()]
        return [process for process in found if process is not None]

"""Whether two workers find of a study what one finds: the same study on the real engine, measured by one worker and by two.

    python -m bench.fleet_verdicts [--in-turn] [--page-sizes 16,32] [--budgets 256] [--rounds 4-8]

Workers are processes of `tuner worker` with engines of their own. `--in-turn`: where memory or cores are for one engine only, the first
worker drains once it has measured one engine, and the second one measures the others and ends the study. Prints, for each cell, the ratio
page-aligned / default that each of the two studies found, with its interval. Exit status 1 where two intervals have nothing in common, one
study calls better what the other calls worse, a window is there twice, or rounds of a pair come from two engine starts.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.lib.options import numbers
from bench.lib.real_engine import device_line, say
from storage.base import Storage
from storage.queue_records import SubmissionState
from storage.records import Comparison, Stage, TrialState
from storage.upgrade import open_storage
from tests.waiting import wait_until
from tuner.fleet.submission import submission_of
from tuner.setup.config_file import load_config

LATEST_S = 1800.0
CONTRARY = frozenset({"better", "worse"})

type Cell = tuple[str, int, int]


@dataclass(frozen=True)
class Both:
    """A cell by one worker, and by two."""

    one: Comparison
    two: Comparison

    @property
    def agrees(self) -> bool:
        """Their intervals overlap, and neither says the contrary of the other."""
        lows = [item.low for item in (self.one, self.two) if item.low is not None]
        highs = [item.high for item in (self.one, self.two) if item.high is not None]
        if len(lows) + len(highs) < 4:
            return self.one.verdict == self.two.verdict
        return max(lows) <= min(highs) and {self.one.verdict, self.two.verdict} != CONTRARY


def cell_of(item: Comparison) -> Cell:
    return item.metric, item.block_size, item.max_num_batched_tokens


def beside(one: Sequence[Comparison], two: Sequence[Comparison]) -> list[Both]:
    """By cell; raises SystemExit where the studies compared different ones."""
    first, second = ({cell_of(item): item for item in items} for items in (one, two))
    if first.keys() != second.keys() or not first:
        raise SystemExit(f"one worker compared {sorted(first)}, two compared {sorted(second)}")
    return [Both(first[cell], second[cell]) for cell in sorted(first)]


class Studies:
    """On one SQLite database in `folder`."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self._folder = folder
        self._settings = settings
        self._url = f"sqlite:///{folder / 'tuner.db'}"
        self.storage = open_storage(self._url)

    def run(self, name: str, workers: int, *, in_turn: bool) -> Sequence[Comparison]:
        config = load_config(None, {**self._settings, "study": name})
        submitted = self.storage.submit(submission_of(config, "bench", workers=workers))
        processes = [self._start(f"{name}-{number}") for number in range(1 if in_turn else workers)]
        try:
            if in_turn:
                wait_until(lambda: self._engine_done(name), "the first engine", patience_s=LATEST_S, every_s=0.2)
                processes[0].terminate()
                processes[0].wait(LATEST_S)
                processes.append(self._start(f"{name}-1"))
            wait_until(lambda: self.storage.get_submission(submitted.id).finished_at, f"{name} to end", patience_s=LATEST_S)
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(120)
        ended = self.storage.get_submission(submitted.id)
        if ended.state is not SubmissionState.COMPLETE:
            logs = "\n".join(log.read_text() for log in self._folder.glob("*.log"))
            raise SystemExit(f"{name} is {ended.state}: {ended.reason}\n{logs}")
        return self.storage.list_comparisons(self.storage.get_study(name).id)

    def _engine_done(self, name: str) -> bool:
        found = [study for study in self.storage.list_studies() if study.name == name]
        return any(trial.state is TrialState.COMPLETE for study in found for trial in self.storage.list_trials(study.id))

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        options = ["--name", name, "--storage", self._url, "--logdir", str(self._folder / name), "--poll", "0.5s"]
        with (self._folder / f"{name}.log").open("wb") as log:
            command = [sys.executable, "-c", "from tuner.cli.main import main; main()", "worker", *options]
            return subprocess.Popen(command, stdout=log, stderr=log)


def faults(storage: Storage, name: str) -> list[str]:
    """Windows that are there twice, and rounds of a page size that come from two engine starts."""
    study = storage.get_study(name).id
    pages = {trial.id: trial.block_size for trial in storage.list_trials(study, stage=Stage.SEARCH)}
    windows = [item for item in storage.list_measurements(study_id=study) if item.trial_id in pages and item.valid]
    twice = len(windows) - len({(item.trial_id, item.round) for item in windows})
    starts: dict[tuple[int, int], set[object]] = {}
    for item in windows:
        starts.setdefault((pages[item.trial_id], item.round), set()).add(item.details["engine_start"])
    split = sum(len(found) > 1 for found in starts.values())
    return [f"{count} {what}" for count, what in ((twice, "windows there twice"), (split, "rounds of two engine starts")) if count]


def _words(item: Comparison) -> str:
    interval = "" if item.low is None or item.high is None else f" [{item.low:.3f}, {item.high:.3f}]"
    return f"{'-' if item.ratio is None else f'{item.ratio:.3f}'}{interval} {item.verdict}, {item.pairs} pairs"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page-sizes", type=numbers, default=[16, 32])
    parser.add_argument("--budgets", type=numbers, default=[256])
    parser.add_argument("--rounds", default="4-8")
    parser.add_argument("--in-turn", action="store_true", help="one engine at a time")
    options = parser.parse_args(arguments)
    settings = {"model": "tiny-qwen3", "workload": "demo", "sampler": "grid", "profile": "none", "rounds": options.rounds}
    settings |= {"page_sizes": options.page_sizes, "chunk_budgets": options.budgets}
    with tempfile.TemporaryDirectory(prefix="tuner-fleet-") as folder:
        studies = Studies(Path(folder), settings)
        found = {}
        for name, workers in (("one", 1), ("two", 2)):
            say(f"{name}: {workers} worker(s)")
            found[name] = studies.run(name, workers, in_turn=options.in_turn and workers == 2)
        wrong = [f"{name}: {fault}" for name in found for fault in faults(studies.storage, name)]
        cells = beside(found["one"], found["two"])
        studies.storage.close()
    print(f"Device: {device_line()}; workload demo; rounds {options.rounds}; two workers {'in turn' if options.in_turn else 'at once'}\n")
    print("| metric | page size | budget | one worker | two workers | |\n|---|---|---|---|---|---|")
    for both in cells:
        metric, page, budget = cell_of(both.one)
        print(f"| {metric} | {page} | {budget} | {_words(both.one)} | {_words(both.two)} | {'' if both.agrees else 'DIFFER'} |")
    print("\n".join(wrong))
    return 1 if wrong or not all(both.agrees for both in cells) else 0


if __name__ == "__main__":
    sys.exit(main())

"""A study of the real engine (tests/assets/real_study) as pages show it: finished, halfway in a search that runs, and interrupted there."""

from __future__ import annotations

import gzip
import json
import os
import socket
import time
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from storage.base import Storage
from storage.queue_records import Claim, FleetWorker, Submission
from storage.records import Lease, Stage, Study, StudyState, TrialState
from storage.upgrade import open_storage, upgrade
from tests.storage.restore import restore

ASSET = Path(__file__).resolve().parents[2] / "assets" / "real_study"
NAME, RUNNING, INTERRUPTED = "demo", "demo-running", "demo-interrupted"
_AHEAD_S = 600.0  # the running search is heard of as long as the tests last
_HALF = 14  # trials that have begun, of which the last few are measured or wait


@dataclass(frozen=True)
class RealStudy:
    url: str
    logdir: Path
    pages: dict[str, str]  # name -> address


def _submitted(storage: Storage) -> int:
    """Two in the queue, one of which a worker has; the other one's number."""
    config = {"study": "next", "model": "tiny-qwen3", "page_sizes": [16, 32], "slos": ["ttft_p99_ms<=80"]}
    storage.submit(Submission(RUNNING, {**config, "study": RUNNING}, "ci", team="ci", priority=5))
    held = storage.claim_submission(Claim("tpu-host-0", "held", 3600.0))
    storage.put_worker(FleetWorker("tpu-host-0", "tpu-host-0", "TPU v6e", 4, {"vllm": "0.32.0"}, "running", held.id if held else None))
    waiting = Submission("next", config, "nightly", team="nightly", requirements={"accelerator": "TPU v6e-4"})
    return storage.submit(waiting).id


def restored(folder: Path) -> RealStudy:
    """In a folder of its own."""
    dump, url, logdir = folder / "dump.sql", f"sqlite:///{folder / 'tuner.db'}", folder / "profiles"
    dump.write_bytes(gzip.decompress((ASSET / "database.sqlite.sql.gz").read_bytes()))
    restore(dump, url)
    assert upgrade(url)["ok"] is True
    for place, summary in json.loads(gzip.decompress((ASSET / "summaries.json.gz").read_bytes())).items():
        (logdir / place).parent.mkdir(parents=True, exist_ok=True)
        (logdir / place).write_text(json.dumps(summary))
    storage = open_storage(url, create=False)
    begun_at, heard_at = psutil.Process().create_time(), time.time() + _AHEAD_S
    running, interrupted = _halfway(storage, RUNNING), _halfway(storage, INTERRUPTED)
    storage.swap_lease(running.id, None, Lease(running.id, "t", os.getpid(), socket.gethostname(), begun_at, heard_at))
    storage.update_study(interrupted.id, state=StudyState.INTERRUPTED)
    study = storage.get_study(NAME)
    default, aligned = (_finalist(storage, study, arm) for arm in ("default", "page_aligned"))
    (recommendation,) = storage.list_recommendations(study_id=study.id)
    storage.close()
    pages = {
        "studies": "/studies",
        "study": f"/studies/{NAME}",
        "running": f"/studies/{RUNNING}",
        "interrupted": f"/studies/{INTERRUPTED}",
        "trade-off": f"/studies/{NAME}/trade-off",
        "trial": f"/trials/{aligned}",
        "compare": f"/compare?baseline={default}&candidate={aligned}",
        "compare-studies": f"/compare-studies?baseline={INTERRUPTED}&candidate={NAME}",
        "recommendation": f"/recommendations/{recommendation.id}",
        "recommendations": "/recommendations",
        "queue": "/queue",
        "submission": f"/queue/{_submitted(storage)}",
        "submit": "/submit?study=next&model=tiny-qwen3&page_sizes=16,32&workload=demo",
    }
    return RealStudy(url, logdir, {f"real-{name}": address for name, address in pages.items()})


def _finalist(storage: Storage, study: Study, arm: str) -> int:
    """A finalist of each arm in one cell."""
    finalists = storage.list_trials(study.id, stage=Stage.CONFIRM)
    cells = [(trial.block_size, trial.max_num_batched_tokens) for trial in finalists]
    both = next(cell for cell in cells if cells.count(cell) == 2)
    return next(trial.id for trial in finalists if (trial.block_size, trial.max_num_batched_tokens) == both and trial.arm == arm)


def _halfway(storage: Storage, name: str) -> Study:
    """The same search when it had measured the first trials: later ones are running with a few windows, or wait."""
    whole = storage.get_study(NAME)
    cost = {phase: seconds / 2 for phase, seconds in whole.cost.items()}
    config = {**whole.config, "study": name}
    study = storage.create_study(replace(whole, id=0, name=name, state=StudyState.RUNNING, engine_starts=3, config=config, cost=cost))
    for place, trial in enumerate(storage.list_trials(whole.id)[:_HALF]):
        state = TrialState.WAITING if place >= _HALF - 2 else TrialState.RUNNING
        begun = replace(trial, id=0, study_id=study.id, state=state, values=None, finished_at=None, optuna_trial_id=None)
        begun = storage.create_trial(begun)
        if state is TrialState.WAITING:
            continue
        done = place < _HALF - 6
        windows = storage.list_measurements(trial_id=trial.id)
        for window in windows if done else windows[: 2 + place % 2]:
            storage.add_measurement(replace(window, id=0, trial_id=begun.id))
        if done:
            storage.finish_trial(begun.id, TrialState.COMPLETE, values=trial.values, notes=trial.notes)
    return study

"""A database with everything that the pages can show: finished, failing, running, empty and hostile studies, profiles with summaries."""

from __future__ import annotations

import math
import socket
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import psutil

from profiles.links import ProfileFile
from profiles.summary import write_summary
from storage.base import Storage
from storage.queue_records import Quarantine
from storage.records import Comparison, Lease, Recommendation, Stage, StudyState, Trial, TrialState
from tests.profiles.summaries import summary
from tests.service.builders import a_capacity
from tests.storage.builders import (
    ANNA,
    FINGERPRINT,
    a_comparison,
    a_measurement,
    a_profile,
    a_recommendation,
    a_study,
    a_trial,
    a_workload,
    an_environment,
)
from tests.tuner.evidence_builder import answered
from tests.tuner.fake_engine import FakeLauncher, crash
from tests.tuner.search.foreseen import kept_predictions
from tests.tuner.workbench import Workbench
from tuner.core.contract import EngineSettings, WindowResult
from tuner.setup.space import Configuration

STATUSES = {"not-found": 404, "ask-wrong": 422}  # of pages by name; 200 for all others
FINISHED, RUNNING, HOSTILE, EMPTY = "qwen3-v6e", "still-going", "hostile", "no-trials"
KILLED, STOPPED = "killed", "stopped-halfway"
SIMULATED = "org/simulated"  # a model
LARGE, ONE_CELL, ALL_FAILED = "many-cells", "one-cell", "all-failed"
LONG = "a-study-whose-name-is-as-long-as-a-name-may-be-" + 60 * "x"
EVIL = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>\"'"
_FAILING_PAGE = 128


@dataclass(frozen=True)
class Gallery:
    """`winner` and `twin` are the finalists of the finished study; both are profiled."""

    storage: Storage
    url: str
    logdir: Path
    winner: Trial
    twin: Trial
    failed: Trial
    hostile: Trial
    recommendation: Recommendation
    hostile_recommendation: Recommendation
    capacity_id: int
    hostile_capacity_id: int

    def pages(self) -> dict[str, str]:
        """Name -> address of every page."""
        return {
            "ask": "/",
            "ask-answer": f"/?{urlencode({'model': self.recommendation.model, 'slo': 'ttft_p99_ms<=400'})}",
            "ask-nothing": f"/?{urlencode({'model': self.recommendation.model, 'slo': 'ttft_p99_ms<=1'})}",
            "ask-default": f"/?{urlencode({'model': 'org/never-measured', 'accelerator': 'TPU v6e-4'})}",
            "ask-predicted": f"/?{urlencode({'model': SIMULATED, 'accelerator': 'TPU v6e-1', 'accept': 'predicted'})}",
            "ask-wrong": f"/?{urlencode({'accelerator': EVIL, 'slo': 'soon', 'layers': 'many'})}",
            "studies": "/studies",
            "studies-archived": "/studies?archived=1",
            "studies-none": "/studies?q=nobody",
            "study": f"/studies/{FINISHED}",
            "study-running": f"/studies/{RUNNING}",
            "study-killed": f"/studies/{KILLED}",
            "study-stopped": f"/studies/{STOPPED}",
            "study-hostile": f"/studies/{HOSTILE}",
            "study-empty": f"/studies/{EMPTY}",
            "study-large": f"/studies/{LARGE}",
            "study-one-cell": f"/studies/{ONE_CELL}",
            "study-all-failed": f"/studies/{ALL_FAILED}",
            "study-long-name": f"/studies/{LONG}",
            "study-keep": f"/studies/{FINISHED}/keep",
            "study-keep-running": f"/studies/{RUNNING}/keep",
            "audit": "/audit",
            "queue": "/queue",
            "hosts": "/hosts?host=tpu-7",
            "trade-off": f"/studies/{FINISHED}/trade-off",
            "trial": f"/trials/{self.winner.id}",
            "trial-failed": f"/trials/{self.failed.id}",
            "trial-hostile": f"/trials/{self.hostile.id}",
            "compare": f"/compare?baseline={self.twin.id}&candidate={self.winner.id}",
            "compare-studies": f"/compare-studies?baseline={LARGE}&candidate={FINISHED}",
            "recommendations": "/recommendations",
            "recommendation": f"/recommendations/{self.recommendation.id}",
            "recommendation-hostile": f"/recommendations/{self.hostile_recommendation.id}",
            "capacities": "/capacity",
            "capacity": f"/capacity/{self.capacity_id}?load=40&price=1.2",
            "capacity-hostile": f"/capacity/{self.hostile_capacity_id}",
            "reference": "/docs",
            "not-found": "/studies/nothing-of-that-name",
        }


def build_gallery(bench: Workbench) -> Gallery:
    """Runs a study on the fake engine and stores the others beside it."""
    storage = bench.storage
    _run(bench)
    trials = storage.list_trials(storage.get_study(FINISHED).id)
    finalists = [trial for trial in trials if trial.stage is Stage.CONFIRM]
    winner = next(trial for trial in finalists if trial.arm == "page_aligned")
    twin = next(trial for trial in finalists if trial.arm == "default")
    logdir = bench.folder / "profiles"
    _write_summaries(storage, bench.folder, winner, twin)
    hostile, hostile_recommendation = _hostile(storage)
    _quarantine(storage)
    here, running, killed = psutil.Process(), _measuring(storage, RUNNING), _measuring(storage, KILLED)
    storage.swap_lease(running, None, _lease(running, here.pid, here.create_time(), heartbeat=1764000000.0))
    storage.swap_lease(killed, None, _lease(killed, 2**22 + 1, 1.0, heartbeat=1764000000.0))
    storage.update_study(_measuring(storage, STOPPED), state=StudyState.INTERRUPTED)
    storage.create_study(a_study(name=EMPTY, state=StudyState.INTERRUPTED, objective="throughput"))
    _stored(storage, LARGE, [8, 32, 128], [128 * 2**power for power in range(8)])
    _stored(storage, ONE_CELL, [32], [16384])
    _stored(storage, ALL_FAILED, [16, 32], [128, 256], fails=True)
    storage.create_study(a_study(name=LONG, model="an-organisation/" + "A-Model-" * 12, objective="throughput", state=StudyState.COMPLETE))
    storage.label_study(storage.create_study(a_study(name="put-away", state=StudyState.COMPLETE)).id, archived=True, by=ANNA)
    storage.label_study(winner.study_id, tags=["nightly", EVIL[:20]], by=ANNA)
    storage.put_foresight(kept_predictions(4100.0, 4300.0, model=SIMULATED))
    found = storage.list_recommendations(study_id=winner.study_id)[0]
    failed = next(trial for trial in trials if trial.state is TrialState.FAIL)
    return Gallery(
        storage=storage,
        url=bench.url,
        logdir=logdir,
        winner=winner,
        twin=twin,
        failed=failed,
        hostile=hostile,
        recommendation=found,
        hostile_recommendation=hostile_recommendation,
        capacity_id=a_capacity(storage, model=found.model).id,
        hostile_capacity_id=a_capacity(storage, model=EVIL, slos=[EVIL], requested={EVIL: EVIL, "arm": EVIL}).id,
    )


def _run(bench: Workbench) -> None:
    rng = np.random.default_rng(4)

    def no_room(settings: EngineSettings, _nth: int) -> None:
        if settings.block_size == _FAILING_PAGE:
            raise crash("the engine process ended by signal SIGKILL, most likely out of memory")

    def measured(configuration: Configuration, nth: int, result: WindowResult) -> WindowResult:
        noise = math.exp(0.004 * float(rng.standard_normal()) + 0.02 * math.sin(nth))
        value = _throughput(configuration) * noise
        metrics = {
            "total_token_throughput": value,
            "output_token_throughput": 0.31 * value,
            "request_throughput": value / 410,
            "ttft_p50_ms": 4.1e5 / value + configuration.max_num_batched_tokens / 40,
            "ttft_p99_ms": 9.4e5 / value + configuration.max_num_batched_tokens / 12,
            "tpot_p50_ms": 9.0e4 / value,
            "tpot_p99_ms": 1.7e5 / value,
            "mean_step_ms": 5.2e4 / value,
        }
        return replace(result, reported_metrics=metrics)

    bench.run(
        FakeLauncher(value=_throughput, on_open=no_room, on_measure=measured),
        study=FINISHED,
        page_sizes=[16, 32, 64, _FAILING_PAGE],
        chunk_budgets=[128, 256, 512],
        rounds=5,
        profile="finalists",
        slos=["ttft_p99_ms<=400"],
    )


def _throughput(configuration: Configuration) -> float:
    """Alignment wins on large pages and small budgets, and costs a little on small pages."""
    page, budget = configuration.block_size, configuration.max_num_batched_tokens
    gain = {16: 0.985, 32: 1.002, 64: 1.035}.get(page, 1.05) + (0.02 if budget == 128 and page > 16 else 0.0)
    base = 4100 + 260 * math.log2(page / 16) + 420 * math.log2(budget / 128)
    return base * (gain if configuration.arm == "page_aligned" else 1.0)


def _write_summaries(storage: Storage, folder: Path, winner: Trial, twin: Trial) -> None:
    for trial, factor in ((twin, {}), (winner, {"tuner_kv_write": 0.5})):
        for profile in storage.list_profiles(trial_id=trial.id):
            file = ProfileFile(Path(profile.logdir), profile.run, profile.session, profile.host)
            write_summary(summary(folder, trial.arm, factor=factor), file.path)


def _quarantine(storage: Storage) -> None:
    """One host that was released, one that is held, and one with a hostile name."""
    storage.quarantine_host(Quarantine("tpu-3", "put there by hand", "ann"))
    storage.release_host("tpu-3", by="bob", reason="new fan")
    storage.quarantine_host(Quarantine("tpu-7", "its default arm measures 6.2 % less than 4 peers", "tpu-2-311-9f3a"))
    storage.quarantine_host(Quarantine(EVIL, EVIL, EVIL))


def _hostile(storage: Storage) -> tuple[Trial, Recommendation]:
    """Markup wherever free text goes."""
    storage.put_environment(an_environment(details={EVIL: {EVIL: EVIL}}, versions={"jax": EVIL}, accelerator=EVIL))
    storage.put_workload(a_workload(name=EVIL))
    study = storage.create_study(a_study(name=HOSTILE, model=EVIL, objective="throughput", config={"slos": [EVIL]}))
    requested = {EVIL: EVIL, "block_size": 32}
    trial = storage.create_trial(
        a_trial(
            study.id, requested=requested, state=TrialState.RUNNING, effective={EVIL: "other", "block_size": 16}, environment=FINGERPRINT
        )
    )
    storage.add_measurement(a_measurement(trial.id, metrics={EVIL: 1.0, "total_token_throughput": 3.0}))
    storage.add_profile(a_profile(trial.id, run=EVIL, host=EVIL, session="../../../etc", logdir=EVIL))
    failed = storage.finish_trial(
        trial.id, TrialState.FAIL, error_class="engine_crash", error_message=EVIL, log_excerpt=f"before\n{EVIL}\n</pre>\x1b[31mafter"
    )
    storage.replace_comparisons(
        study.id, answered([a_comparison(study.id, metric="total_token_throughput", details={"reason": EVIL, "log_ratio_sd": 0.01})])
    )
    body = {
        "status": "recommended",
        "reason": EVIL,
        "config": {"model": EVIL, "block_size": 32},
        "vllm_args": ["--block-size", EVIL],
        "env": {EVIL: EVIL},
        "settings": {"arm": "default", "block_size": 32, "max_num_batched_tokens": 256},
        "caveats": [EVIL],
        "stale": {"stale": True, "reasons": [EVIL]},
        "expected": {EVIL: {"value": 1.0, "low": None, "high": None, "unit": EVIL, "measurements": 1}},
        "scope": {"model": EVIL, "versions": {EVIL: EVIL}},
        "evidence": {"trial_ids": [trial.id, 2**31 - 1]},
    }
    recommendation = storage.add_recommendation(a_recommendation(study.id, model=EVIL, accelerator=EVIL, body=body))
    storage.update_study(study.id, state=StudyState.COMPLETE)
    return failed, recommendation


def _stored(storage: Storage, name: str, pages: list[int], budgets: list[int], fails: bool = False) -> None:
    """A finished study without a run: values grow with both settings, and page alignment gains on large pages only."""
    study = storage.create_study(
        a_study(name=name, objective="throughput", cost={"measure": 5400.0, "start": 700.0}, engine_starts=len(pages))
    )
    cells = [(page, budget) for page in pages for budget in budgets]
    for number, (page, budget, arm) in enumerate((*cell, arm) for cell in cells for arm in ("default", "page_aligned")):
        state = {"block_size": page, "max_num_batched_tokens": budget, "arm": arm, "state": TrialState.RUNNING}
        trial = storage.create_trial(a_trial(study.id, number, **state))
        if fails:
            storage.finish_trial(trial.id, TrialState.FAIL, error_class="out_of_memory", error_message=f"no room for pages of {page}")
            continue
        value = 10_000 * math.log2(page * budget) * (1 + 0.01 * math.log2(page / 32) if arm == "page_aligned" else 1)
        storage.add_measurement(a_measurement(trial.id, metrics={"total_token_throughput": value, "ttft_p99_ms": budget / 10 + page}))
        storage.finish_trial(trial.id, TrialState.COMPLETE, values={"throughput": value})
    if not fails:
        storage.replace_comparisons(study.id, answered([_judged(study.id, page, budget) for page, budget in cells]))
    storage.update_study(study.id, state=StudyState.COMPLETE)


def _judged(study_id: int, page: int, budget: int) -> Comparison:
    gain = 0.01 * math.log2(page / 32)
    verdict = "better" if gain > 0.005 else "worse" if gain < -0.005 else "equivalent"
    ends = {"ratio": 1 + gain, "low": 1 + gain - 0.004, "high": 1 + gain + 0.004, "verdict": verdict, "pairs": 8}
    place = {"metric": "total_token_throughput", "block_size": page, "max_num_batched_tokens": budget, "details": {"log_ratio_sd": 0.006}}
    return a_comparison(study_id, **place, **ends)


def _measuring(storage: Storage, name: str) -> int:
    """A study with one cell measured in both arms, and a trial that still runs; its id."""
    study = storage.create_study(a_study(name=name, objective="throughput", cost={"measure": 60.0, "start": 40.0, "wall": 101.0}))
    for number, page in enumerate((16, 16, 32, 32)):
        arm = "page_aligned" if number % 2 else "default"
        trial = storage.create_trial(a_trial(study.id, number, block_size=page, arm=arm, state=TrialState.RUNNING, environment=FINGERPRINT))
        for round_number in range(3):
            metrics = {"total_token_throughput": 100.0 + number + round_number, "ttft_p99_ms": 9.0}
            storage.add_measurement(a_measurement(trial.id, round=round_number, metrics=metrics))
        if number < 3:
            storage.finish_trial(trial.id, TrialState.COMPLETE, values={"throughput": 100.0 + number})
    return study.id


def _lease(study_id: int, pid: int, started_at: float, heartbeat: float) -> Lease:
    return Lease(study_id, f"token-{study_id}", pid, socket.gethostname(), started_at, heartbeat)

"""A small filled database for tests of the service: a study with trials, windows, a profile, verdicts and two recommendations."""

from __future__ import annotations

from dataclasses import dataclass

from storage.base import Storage
from storage.records import CapacityRun, CapacityState, Recommendation, Study, Trial, TrialState
from tests.storage.builders import (
    FINGERPRINT,
    a_capacity_run,
    a_capacity_window,
    a_comparison,
    a_measurement,
    a_profile,
    a_recommendation,
    a_study,
    a_trial,
    a_workload,
    an_environment,
    stored_study,
)

BODY = {
    "status": "recommended",
    "reason": "the best of 4",
    "objective": "output_token_throughput",
    "slos": [],
    "config": {"model": "tiny-qwen3", "block_size": 32, "max_num_batched_tokens": 256},
    "vllm_args": ["--block-size", "32", "--max-num-batched-tokens", "256"],
    "env": {"JAX_PLATFORMS": "cpu"},
    "expected": {"ttft_p99_ms": {"value": 12.5, "low": None, "high": None, "unit": "ms", "measurements": 1, "confidence": 0.95}},
    "evidence": {"study": "first", "trial_ids": [1], "profile_ids": [1]},
    "scope": {"model": "tiny-qwen3", "accelerator": "cpu x86_64", "workload": {"name": "chat"}, "versions": {"jax": "0.11.2"}},
    "match": {"kind": "exact", "distance": 0.0},
    "stale": {"stale": False, "reasons": []},
    "caveats": [],
}


@dataclass(frozen=True)
class Filled:
    study: Study
    default: Trial
    aligned: Trial
    failed: Trial
    recommended: Recommendation
    nothing: Recommendation


def fill(storage: Storage) -> Filled:
    study = stored_study(storage, model_features={"layers": 2})
    storage.create_study(a_study(name="second", model="other/model"))
    arms = [storage.create_trial(a_trial(study.id, number, arm=arm)) for number, arm in enumerate(("default", "page_aligned"))]
    for trial in arms:
        storage.start_trial(trial.id, environment="e" * 64, effective={"block_size": 32})
        for place in range(3):
            value = 100.0 + place + 10 * trial.number
            storage.add_measurement(a_measurement(trial.id, round=place, metrics={"output_token_throughput": value, "ttft_p99_ms": 12.5}))
    finished = [storage.finish_trial(trial.id, TrialState.COMPLETE, values={"output_token_throughput": 101.0}) for trial in arms]
    broken = storage.create_trial(a_trial(study.id, 2, block_size=64))
    failed = storage.finish_trial(
        broken.id, TrialState.FAIL, error_class="out_of_memory", error_message="no room", log_excerpt="<script>alert(1)</script>"
    )
    storage.add_profile(a_profile(arms[0].id))
    storage.add_profile(a_profile(arms[1].id, host="", status="missing", quality={"error": "timeout"}))
    storage.replace_comparisons(study.id, [a_comparison(study.id, baseline_trial_id=arms[0].id, candidate_trial_id=arms[1].id)])
    nothing = storage.add_recommendation(a_recommendation(study.id, status="none", body={"reason": "no trial completed"}, created_at=1.0))
    recommended = storage.add_recommendation(a_recommendation(study.id, body=BODY, created_at=2.0))
    return Filled(study, finished[0], finished[1], failed, recommended, nothing)


WINDOW = {"request_throughput": 4.0, "total_token_throughput": 800.0, "output_token_throughput": 200.0, "goodput": 3.9}


def a_capacity(storage: Storage, **changes: object) -> CapacityRun:
    """Found: 4 requests/s [3.5, 4.5], from two windows that count and one that does not."""
    storage.put_workload(a_workload())
    storage.put_environment(an_environment())
    run = storage.create_capacity_run(a_capacity_run(**changes))
    storage.add_capacity_window(a_capacity_window(run.id, metrics=WINDOW))
    storage.add_capacity_window(a_capacity_window(run.id, number=1, load=5.0, held=False, metrics=WINDOW | {"goodput": 2.0}))
    storage.add_capacity_window(a_capacity_window(run.id, number=2, held=False, invalid_reason="recompiled"))
    return storage.update_capacity_run(
        run.id, state=CapacityState.FOUND, environment=FINGERPRINT, edge=4.0, low=3.5, high=4.5, finished_at=2.0
    )

"""Small valid records for tests; every field can be replaced by keyword."""

from __future__ import annotations

from typing import Any

from storage.base import Storage
from storage.queue_records import Submission
from storage.records import (
    Actor,
    ApiToken,
    CapacityRun,
    CapacityWindow,
    Comparison,
    Environment,
    ForesightAnswer,
    Lease,
    Measurement,
    Profile,
    Recommendation,
    Study,
    Trial,
    Workload,
)

WORKLOAD_HASH = "a" * 64
FINGERPRINT = "e" * 64
ANNA = Actor("anna", "measured again", "req-1")


def a_study(**changes: Any) -> Study:
    values: dict[str, Any] = {"name": "first", "model": "tiny-qwen3", "config": {"trials": 4}, "objective": "output_token_throughput"}
    return Study(**values | changes)


def a_workload(**changes: Any) -> Workload:
    values: dict[str, Any] = {"content_hash": WORKLOAD_HASH, "name": "chat", "spec": {"seed": 0}, "summary": {"requests": 12}}
    return Workload(**values | changes)


def an_environment(**changes: Any) -> Environment:
    values: dict[str, Any] = {
        "fingerprint": FINGERPRINT,
        "platform": "cpu",
        "accelerator": "cpu x86_64",
        "device_count": 1,
        "versions": {"jax": "0.11.2"},
    }
    return Environment(**values | changes)


def a_trial(study_id: int, number: int = 0, **changes: Any) -> Trial:
    values: dict[str, Any] = {
        "study_id": study_id,
        "number": number,
        "arm": "default",
        "block_size": 32,
        "max_num_batched_tokens": 256,
        "requested": {"block_size": 32},
        "workload_hash": WORKLOAD_HASH,
    }
    return Trial(**values | changes)


def a_submission(**changes: Any) -> Submission:
    values: dict[str, Any] = {"study": "first", "config": {"model": "tiny-qwen3"}, "submitted_by": "anna"}
    return Submission(**values | changes)


def a_lease(study_id: int, token: str = "t1", **changes: Any) -> Lease:
    values: dict[str, Any] = {"pid": 7, "host": "here", "process_started_at": 900.5, "heartbeat": 1000.0}
    return Lease(study_id, token, **values | changes)


def a_measurement(trial_id: int, **changes: Any) -> Measurement:
    values: dict[str, Any] = {
        "trial_id": trial_id,
        "round": 0,
        "position": 0,
        "started_at": 1000.0,
        "duration_s": 0.5,
        "metrics": {"ttft_p99_ms": 12.5},
    }
    return Measurement(**values | changes)


def a_profile(trial_id: int, **changes: Any) -> Profile:
    values: dict[str, Any] = {
        "trial_id": trial_id,
        "logdir": "tuner-profiles",
        "run": "first/trial-0",
        "session": "s1",
        "host": "h",
        "phase": "all",
        "size_bytes": 5 * 2**30,  # beyond 32 bits
    }
    return Profile(**values | changes)


def a_comparison(study_id: int, **changes: Any) -> Comparison:
    values: dict[str, Any] = {
        "study_id": study_id,
        "metric": "step_time",
        "block_size": 32,
        "max_num_batched_tokens": 256,
        "verdict": "better",
        "pairs": 8,
        "ratio": 1.05,
        "low": 1.03,
        "high": 1.07,
    }
    return Comparison(**values | changes)


def a_recommendation(study_id: int, **changes: Any) -> Recommendation:
    values: dict[str, Any] = {
        "study_id": study_id,
        "status": "recommended",
        "model": "tiny-qwen3",
        "accelerator": "cpu x86_64",
        "device_count": 1,
        "workload_hash": WORKLOAD_HASH,
        "objective": "output_token_throughput",
        "body": {"vllm_args": ["--block-size", "32"]},
    }
    return Recommendation(**values | changes)


def a_foresight(**changes: Any) -> ForesightAnswer:
    values: dict[str, Any] = {
        "key": "f" * 64,
        "kind": "configuration",
        "model": "tiny-qwen3",
        "accelerator": "TPU v6e",
        "device_count": 1,
        "question": {"format": 1},
        "answer": {"block_size": 32},
    }
    return ForesightAnswer(**values | changes)


def a_capacity_run(**changes: Any) -> CapacityRun:
    values: dict[str, Any] = {
        "model": "tiny-qwen3",
        "workload_hash": WORKLOAD_HASH,
        "launcher": "local",
        "slos": ["ttft_p99_ms<=500"],
        "question": {},
        "requested": {"block_size": 32},
    }
    return CapacityRun(**values | changes)


def a_capacity_window(run_id: int, **changes: Any) -> CapacityWindow:
    values: dict[str, Any] = {
        "number": 0,
        "load": 4.0,
        "started_at": 1000.0,
        "duration_s": 30.0,
        "held": True,
        "metrics": {"ttft_p99_ms": 412.5},
        "readings": {"keeps_up": {"held": True}},
    }
    return CapacityWindow(run_id, **values | changes)


def a_token(**changes: Any) -> ApiToken:
    values: dict[str, Any] = {"name": "ci", "key": "k1", "digest": "0" * 64, "scopes": ["read", "publish"]}
    return ApiToken(**values | changes)


def stored_study(storage: Storage, **changes: Any) -> Study:
    """A stored study, with the workload and the environment that its trials refer to."""
    storage.put_workload(a_workload())
    storage.put_environment(an_environment())
    return storage.create_study(a_study(**changes))


def stored_trial(storage: Storage, number: int = 0, **changes: Any) -> Trial:
    """A stored trial; its study is the one named "first", made where it is missing."""
    existing = storage.list_studies()
    study = existing[0] if existing else stored_study(storage)
    return storage.create_trial(a_trial(study.id, number, **changes))

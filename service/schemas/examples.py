"""One example for each form of answer in the OpenAPI document; together they tell one story (a study, its trial 31, recommendation 7)."""

from __future__ import annotations

from storage.records import Json

ANSWER: Json = {
    "id": 7,
    "status": "recommended",
    "reason": "total_token_throughput 5120 tokens/s, the best of 24 feasible configurations",
    "objective": "throughput",
    "slos": ["ttft_p99_ms<=500"],
    "config": {"model": "Qwen/Qwen3-0.6B", "block_size": 64, "max_num_batched_tokens": 1024},
    "vllm_args": ["--block-size", "64", "--max-num-batched-tokens", "1024"],
    "env": {},
    "expected": {"ttft_p99_ms": {"value": 412.0, "low": 398.1, "high": 430.7, "unit": "ms", "measurements": 6, "confidence": 0.95}},
    "evidence": {"study": "qwen3-chat", "trial_ids": [31, 32], "profile_ids": [12]},
    "scope": {"model": "Qwen/Qwen3-0.6B", "accelerator": "TPU v6e-1", "device_count": 1, "versions": {"vllm": "0.32.0"}},
    "match": {"kind": "exact", "distance": 0.0},
    "stale": {"stale": False, "reasons": []},
    "caveats": ["holds for the model, workload, versions and machine in scope and says nothing about others"],
    "settings": {"arm": "page_aligned", "block_size": 64, "max_num_batched_tokens": 1024, "page_aligned": True},
    "changes": [
        {"setting": "block_size", "default": 32, "recommended": 64},
        {"setting": "max_num_batched_tokens", "default": 2048, "recommended": 1024},
        {"setting": "page_aligned", "default": False, "recommended": True},
    ],
    "prediction": None,
    "published_at": None,
    "withdrawn_at": None,
    "created_at": 1764000900.0,
    "created_at_rfc3339": "2025-11-24T16:15:00.000Z",
    "published_at_rfc3339": None,
    "withdrawn_at_rfc3339": None,
    "links": {"self": "/v1/recommendations/7", "config": "/v1/recommendations/7/config"},
}
PAGE: Json = {"limit": 1, "offset": 0, "next": "/v1/studies?limit=1&offset=1"}
ANSWER_PAGE: Json = {"items": [ANSWER], "page": {**PAGE, "next": "/v1/recommendations/stored?limit=1&offset=1"}}
_CHANGE: Json = {"at": 1764001000.0, "at_rfc3339": "2025-11-24T16:16:40.000Z", "actor": "ci", "request_id": "5f1c2d3e4a5b-0000002a"}
HISTORY: Json = {
    "recommendation_id": 7,
    "items": [{**_CHANGE, "action": "publish", "detail": "", "reason": "seen on staging"}],
}
STUDY_HISTORY: Json = {
    "study": "qwen3-chat",
    "items": [{**_CHANGE, "action": "rename", "detail": "first -> qwen3-chat", "reason": "found more easily"}],
}
STUDY: Json = {
    "name": "qwen3-chat",
    "state": "COMPLETE",
    "model": "Qwen/Qwen3-0.6B",
    "objective": "throughput",
    "engine_starts": 6,
    "cost_s": {"start": 212.4, "measure": 610.2},
    "created_at": 1764000000.0,
    "created_at_rfc3339": "2025-11-24T16:00:00.000Z",
    "updated_at": 1764000900.0,
    "updated_at_rfc3339": "2025-11-24T16:15:00.000Z",
    "tags": ["nightly"],
    "archived_at": None,
    "archived_at_rfc3339": None,
    "trials": {"WAITING": 0, "RUNNING": 0, "COMPLETE": 26, "PRUNED": 1, "FAIL": 1},
    "last_sign_of_life": None,
    "last_sign_of_life_rfc3339": None,
    "no_sign_of_life": None,
}
STUDY_DETAIL: Json = {
    **STUDY,
    "model_features": {"layers": 28, "hidden_size": 1024, "heads": 16, "kv_heads": 8, "head_size": 128, "dtype": "bfloat16"},
    "config": {"page_sizes": [16, 32, 64], "chunk_budgets": [512, 1024], "arms": ["default", "page_aligned"], "workload": "chat"},
}
STUDY_PAGE: Json = {"items": [STUDY], "page": PAGE}
TRIAL: Json = {
    "id": 31,
    "number": 24,
    "stage": "confirm",
    "state": "COMPLETE",
    "arm": "page_aligned",
    "block_size": 64,
    "max_num_batched_tokens": 1024,
    "factors": {"max_num_seqs": 64},
    "values": {"throughput": 5120.4},
    "error_class": None,
    "error_message": None,
    "started_at": 1764000700.0,
    "started_at_rfc3339": "2025-11-24T16:11:40.000Z",
    "finished_at": 1764000780.0,
    "finished_at_rfc3339": "2025-11-24T16:13:00.000Z",
}
TRIAL_PAGE: Json = {"items": [TRIAL], "page": {**PAGE, "next": "/v1/studies/qwen3-chat/trials?limit=1&offset=1"}}
PROFILE: Json = {
    "id": 12,
    "run": "qwen3-chat/trial-24",
    "session": "2026_11_26_18_30_00",
    "host": "tpu-vm-0",
    "phase": "decode",
    "size_bytes": 18874368,
    "status": "ok",
    "created_at": 1764000790.0,
    "created_at_rfc3339": "2025-11-24T16:13:10.000Z",
    "quality": {"complete_steps": 40},
    "summary": {"attention": 1.9, "kv_write": 0.2},
    "tensorboard": "/tensorboard/?run=qwen3-chat%2Ftrial-24%2F2026_11_26_18_30_00&tool=trace_viewer&host=tpu-vm-0#profile",
}
TRIAL_PROFILES: Json = {"trial_id": 31, "items": [PROFILE]}
TRIAL_DETAIL: Json = {
    **TRIAL,
    "study": "qwen3-chat",
    "workload_hash": "a" * 64,
    "requested": {"block_size": 64, "max_num_seqs": 64, "max_model_len": 4096},
    "effective": {"block_size": 64, "max_num_batched_tokens": 1024, "num_gpu_blocks": 2048},
    "environment": {
        "fingerprint": "e" * 64,
        "platform": "tpu",
        "accelerator": "TPU v6e-1",
        "device_count": 1,
        "versions": {"vllm": "0.32.0"},
    },
    "log_excerpt": None,
    "notes": {},
    "measurements": [
        {
            "id": 301,
            "round": 0,
            "position": 0,
            "started_at": 1764000710.0,
            "started_at_rfc3339": "2025-11-24T16:11:50.000Z",
            "duration_s": 12.1,
            "valid": True,
            "invalid_reason": None,
            "metrics": {"total_token_throughput": 5120.4, "ttft_p99_ms": 412.0},
        }
    ],
    "profiles": [PROFILE],
}
CAUSE: Json = {
    "sentence": "the same 410 steps and tokens, 6.1 % fewer padded tokens: padding (+3.4 %)",
    "causes": ["padding"],
    "default": {"steps": 410.0, "scheduled_tokens": 81920.0, "padded_tokens": 98304.0, "prefill_tokens": 73728.0, "step_ms": 11.2},
    "page_aligned": {"steps": 410.0, "scheduled_tokens": 81920.0, "padded_tokens": 92308.0, "prefill_tokens": 73728.0, "step_ms": 10.75},
    "changes": {"steps": 0.0, "scheduled_tokens": 0.0, "padded_tokens": -0.061, "prefill_tokens": 0.0, "step_ms": -0.0402},
    "rounds": 6,
    "identical": False,
    "steady": True,
    "parts": {
        "schedule": {"ratio": 1.0, "low": 1.0, "high": 1.0},
        "padding": {"ratio": 1.034, "low": 1.029, "high": 1.039},
        "other": {"ratio": 1.008, "low": 0.992, "high": 1.023},
    },
    "padded_fraction": {"value": 0.55, "low": 0.47, "high": 0.62, "differences": 12},
    "kv_write_at_most": None,
}
COMPARISON: Json = {
    "study": "qwen3-chat",
    "state": "COMPLETE",
    "items": [
        {
            "metric": "total_token_throughput",
            "block_size": 64,
            "max_num_batched_tokens": 1024,
            "verdict": "better",
            "ratio": 1.042,
            "low": 1.031,
            "high": 1.053,
            "pairs": 6,
            "reason": None,
            "cause": CAUSE,
            "baseline_trial_id": 11,
            "candidate_trial_id": 12,
        }
    ],
    "answer": {
        "metric": "total_token_throughput",
        "answer": "on",
        "sentence": "on: page-aligned scheduling wins in the only cell (page size 64, chunk budget 1024: +4.2 % throughput)",
    },
}
PROFILE_DIFF: Json = {
    "baseline_trial_id": 30,
    "candidate_trial_id": 31,
    "phase": "decode",
    "comparable": True,
    "caveats": [],
    "baseline_steps": 40,
    "candidate_steps": 40,
    "step": {"baseline_ms": 4.1, "candidate_ms": 3.9, "difference_ms": -0.2},
    "categories": [{"category": "kv_write", "baseline_ms": 0.4, "candidate_ms": 0.2, "difference_ms": -0.2}],
    "scopes": [],
    "explained": {"share": 0.97},
    "rules_version": "3",
}
CAPACITY: Json = {
    "id": 3,
    "status": "measured",
    "state": "found",
    "sentence": "4.1 requests/s [3.9, 4.4] with ttft_p99_ms<=500",
    "hint": None,
    "by": "rate",
    "max_request_rate": 4.1,
    "max_concurrency": None,
    "low": 3.9,
    "high": 4.4,
    "slos": ["ttft_p99_ms<=500"],
    "model": "Qwen/Qwen3-0.6B",
    "workload": "chat",
    "accelerator": "TPU v6e-1",
    "devices": 1,
    "launcher": "local",
    "settings": {"arm": "default", "block_size": 64, "max_num_batched_tokens": 2048, "max_num_seqs": 128, "max_model_len": 4096},
    "windows": 12,
    "tokens_per_request": 812.0,
    "curve": [
        {"rate": 2.0, "windows": 1, "held": 1, "goodput": 2.0, "metrics": {"ttft_p99_ms": 212.0}},
        {"rate": 4.2, "windows": 2, "held": 1, "goodput": 4.1, "metrics": {"ttft_p99_ms": 505.0}},
    ],
    "sizing": {"load": 40.0, "engines": 11, "chips": 11, "at_least": 10},
    "cost": {
        "price_per_chip_hour": 1.2,
        "per_million_tokens": 0.1,
        "per_million_output_tokens": 0.35,
        "low": 0.093,
        "high": 0.105,
    },
    "created_at": 1764000900.0,
    "created_at_rfc3339": "2025-11-24T16:15:00.000Z",
}
CAPACITY_PAGE: Json = {**PAGE, "next": "/v1/capacity?limit=1&offset=1"}

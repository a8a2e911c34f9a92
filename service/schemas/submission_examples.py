"""Examples of submissions for the OpenAPI document; tests/service/test_openapi.py holds them against the schemas."""

from __future__ import annotations

from service.schemas.examples import PAGE
from storage.records import Json

SUBMITTED: Json = {
    "study": "qwen3-chat",
    "model": "Qwen/Qwen3-0.6B",
    "page_sizes": [16, 32, 64],
    "chunk_budgets": [512, 1024],
    "workload": "chat",
    "slos": ["ttft_p99_ms<=500"],
    "time_budget": "8h",
}
DRY_RUN: Json = {
    "study": "qwen3-chat",
    "plan": {
        "sampler": "grid",
        "cold_groups": [{"block_size": 16, "compiled_max": 1024, "configurations": 4}],
        "cells": 6,
        "trials": 12,
        "finalists": 3,
        "engine_starts": 6,
        "windows": 306,
        "estimate_s": 5400.0,
    },
    "reason": None,
    "warnings": ["page size 128 needs 40 KiB of SMEM, of 1 MiB (skipped)"],
}
QUEUED: Json = {
    "id": 12,
    "study": "qwen3-chat",
    "state": "QUEUED",
    "priority": 0,
    "team": "ci",
    "submitted_by": "ci",
    "requirements": {"accelerator": "TPU v6e-4"},
    "claimed_by": None,
    "workers": 1,
    "attempts": 0,
    "reason": None,
    "submitted_at": 1764000000.0,
    "submitted_at_rfc3339": "2025-11-24T16:00:00.000Z",
    "heartbeat_at": None,
    "heartbeat_at_rfc3339": None,
    "finished_at": None,
    "finished_at_rfc3339": None,
}
QUEUED_DETAIL: Json = {
    **QUEUED,
    "config": SUBMITTED,
    "parts": [],
    "changes": [
        {"id": 31, "what": "QUEUED", "by": "ci", "at": 1764000000.0, "at_rfc3339": "2025-11-24T16:00:00.000Z", "reason": ""},
    ],
}
QUEUED_PAGE: Json = {"items": [QUEUED], "page": {**PAGE, "next": "/v1/submissions?limit=1&offset=1"}}
SUBMITTED_ANSWER: Json = {"submission": QUEUED, **DRY_RUN}

"""Examples of submissions for the OpenAPI document; tests/service/test_openapi.py holds them against the schemas."""

from __future__ import annotations

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

"""Stored searches -> answers."""

from __future__ import annotations

from dataclasses import asdict

from storage.base import Storage
from storage.records import CapacityRun, Json
from tuner.capacity.answer import CapacityAnswer, CurvePoint
from tuner.capacity.loads import CONCURRENCY, RATE

SHOWN = ("request_throughput", "total_token_throughput", "ttft_p50_ms", "ttft_p99_ms", "tpot_p50_ms", "tpot_p99_ms", "e2el_p99_ms")


def answer_of(storage: Storage, run: CapacityRun) -> CapacityAnswer:
    """Raises NotFound and DamagedRecord."""
    windows = tuple(item for item in storage.list_capacity_windows(run.id) if item.invalid_reason is None)
    environment = None if run.environment is None else storage.get_environment(run.environment)
    return CapacityAnswer(run, storage.get_workload(run.workload_hash), environment, windows)


def answer_json(answer: CapacityAnswer, *, load: float | None = None, price: float | None = None) -> Json:
    """What `tuner capacity --json` and GET /v1/capacity give. `load`: to be served, in the unit of `by`; `price`: of a chip for an hour."""
    run, environment = answer.run, answer.environment
    sizing = None if load is None else answer.sizing(load)
    cost = None if price is None else answer.cost(price)
    names = ("arm", "block_size", "max_num_batched_tokens", "max_num_seqs", "max_model_len")
    return {
        "id": run.id,
        "status": "predicted" if answer.predicted else "measured",
        "state": str(run.state),
        "sentence": answer.sentence,
        "hint": answer.hint,
        "by": answer.kind.by,
        "max_request_rate": run.edge if answer.kind is RATE else None,
        "max_concurrency": run.edge if answer.kind is CONCURRENCY else None,
        "low": run.low,
        "high": run.high,
        "slos": run.slos,
        "model": run.model,
        "workload": answer.workload.name,
        "accelerator": None if environment is None else environment.accelerator,
        "devices": answer.devices,
        "launcher": run.launcher,
        "settings": {name: run.requested.get(name) for name in names},
        "windows": len(answer.windows),
        "tokens_per_request": answer.tokens_per_request("total_token_throughput"),
        "curve": [_point_json(point) for point in answer.curve()],
        "sizing": None if sizing is None else asdict(sizing),
        "cost": None if cost is None else asdict(cost),
        "created_at": run.created_at,
    }


def _point_json(point: CurvePoint) -> Json:
    shown = {name: point.metrics[name] for name in SHOWN if name in point.metrics}
    return {**asdict(point), "metrics": shown}

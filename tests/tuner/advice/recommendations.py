"""Stored recommendations for one question, made up."""

from __future__ import annotations

from typing import Any

from storage.base import Storage
from storage.records import Recommendation
from tests.storage.builders import a_study, a_workload
from tests.tuner.advice.models import QWEN
from tuner.advice.lookup import Query

NOW = 1_000_000_000.0
QUANTILES = {"input_quantiles": {"p50": 300.0, "p99": 1900.0}, "output_quantiles": {"p50": 150.0, "p99": 800.0}}
SUMMARY = {**QUANTILES, "prefix_share": 0.5, "max_concurrency": 32}
ASKED = Query(model="m", accelerator="v6e", device_count=4, workload="chat", objective="throughput", now=NOW, versions={"vllm": "1"})


def stored(storage: Storage, name: str, **changes: Any) -> Recommendation:
    """A study with its recommendation; `block_size`, `slos`, `expected`, `features`, `summary`, `versions` shape the body."""
    options = {"block_size": 32, "slos": [], "expected": {}, "features": QWEN, "summary": SUMMARY, "versions": {"vllm": "1"}} | changes
    fields: dict[str, Any] = {"model": "m", "accelerator": "TPU v6e-4", "device_count": 4, "status": "recommended", "created_at": NOW - 100}
    fields["objective"] = "total_token_throughput"
    fields |= {key: value for key, value in changes.items() if key in fields}
    workload = str(changes.get("workload", "chat"))
    storage.put_workload(a_workload(content_hash=f"hash-{workload}", name=workload, summary=options["summary"]))
    study = storage.create_study(a_study(name=name, model=fields["model"], model_features=options["features"]))
    config = {"model": f"/models/{fields['model']}", "load_format": "dummy", "block_size": options["block_size"]}
    scope = {"accelerator": fields["accelerator"], "device_count": fields["device_count"], "versions": options["versions"]}
    body = {
        "reason": f"says {name}",
        "objective": fields["objective"],
        "slos": options["slos"],
        "config": {} if fields["status"] == "none" else config,
        "vllm_args": ["--load-format", "dummy", "--block-size", str(options["block_size"])],
        "env": {},
        "settings": {"block_size": options["block_size"], "arm": "default"},
        "expected": options["expected"],
        "evidence": {"study": name},
        "scope": {**scope, "workload": {"content_hash": f"hash-{workload}", "name": workload}},
        "caveats": [],
    }
    return storage.add_recommendation(Recommendation(study_id=study.id, workload_hash=f"hash-{workload}", body=body, **fields))

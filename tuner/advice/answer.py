"""The one answer to a question, as plain data. Pure.

`status` recommended, default or none; `reason`; `config`, `vllm_args`, `env`; `expected`, `evidence`, `scope`; `objective`, `slos`;
`match` {"kind": exact, nearest or none, "distance", "parts": feature -> {"asked", "measured", "distance"}}; `stale` {"stale", "reasons"};
`caveats`; `id`, `created_at`, `published_at` of the stored recommendation it rests on, None where there is none.
"""

from __future__ import annotations

from collections.abc import Sequence

from storage.records import Json, Recommendation
from tuner.advice.lookup import Near, Query, slo_standing
from tuner.serving.vllm_args import vllm_flags
from tuner.verdict.recommend import STATUS_DEFAULT, STATUS_NONE

_OF_THE_OTHER_MODEL = ("model", "tokenizer", "served_model_name", "load_format", "skip_tokenizer_init", "hf_overrides", "quantization")


def exact_answer(query: Query, chosen: Recommendation, stale: Sequence[str]) -> Json:
    notes = [*_unasked(query, chosen.body), *(slo_standing(chosen.body, query.slos).notes if chosen.status != STATUS_NONE else ())]
    return _of(chosen, {"kind": "exact", "distance": 0.0, "parts": {}}, stale, notes)


def nearest_answer(query: Query, chosen: Recommendation, near: Near, stale: Sequence[str]) -> Json:
    """The settings of something near, for the model that was asked for: what names the other model's files goes."""
    parts = {
        name: {"asked": part.asked, "measured": part.measured, "distance": part.distance}
        for name, part in near.parts.items()
        if part.distance > 0
    }
    workload = (chosen.body.get("scope", {}).get("workload") or {}).get("name", chosen.workload_hash)
    notes = [
        f"carried over from {chosen.model} under workload {workload}, {near.distance:.2f} away: measure before you rely on it",
        "the expected metrics are those measured there, not a forecast for what was asked",
        *slo_standing(chosen.body, query.slos).notes,
    ]
    answer = _of(chosen, {"kind": "nearest", "distance": near.distance, "parts": parts}, stale, notes)
    if query.model != chosen.model:
        config = {name: value for name, value in answer["config"].items() if name not in _OF_THE_OTHER_MODEL}
        answer["config"] = ({"model": query.model} if query.model is not None else {}) | config
        answer["vllm_args"] = vllm_flags(config)
    return answer


def unmet_answer(query: Query, closest: Recommendation, failing: Sequence[str]) -> Json:
    """Measured, but not shown to meet the SLOs: nothing is recommended, and what was measured says why."""
    answer = _of(closest, {"kind": "exact", "distance": 0.0, "parts": {}}, (), ())
    empty: Json = {
        "config": {},
        "vllm_args": [],
        "env": {},
        "settings": {},
        "status": STATUS_NONE,
        "slos": [str(slo) for slo in query.slos],
    }
    return {**answer, **empty, "reason": "; ".join(failing) or "nothing measured meets the SLO", "caveats": []}


def default_answer(query: Query, reason: str) -> Json:
    """vLLM's own defaults: no flag is better founded."""
    notes = ["no measurement stands behind this"]
    if query.slos:
        notes.append(f"whether {', '.join(map(str, query.slos))} is met is unknown")
    return {
        "status": STATUS_DEFAULT,
        "reason": f"vLLM's defaults: {reason}",
        "objective": query.objective,
        "slos": [str(slo) for slo in query.slos],
        "config": {} if query.model is None else {"model": query.model},
        "vllm_args": [],
        "env": {},
        "expected": {},
        "evidence": {},
        "scope": {},
        "match": {"kind": "none", "distance": None, "parts": {}},
        "stale": {"stale": False, "reasons": []},
        "caveats": notes,
        "id": None,
        "created_at": None,
        "published_at": None,
        "withdrawn_at": None,
    }


def _of(chosen: Recommendation, match: Json, stale: Sequence[str], notes: Sequence[str]) -> Json:
    changed: Json = {
        "match": match,
        "stale": {"stale": bool(stale), "reasons": list(stale)},
        "caveats": [*chosen.body.get("caveats", ()), *notes],
        "id": chosen.id,
        "created_at": chosen.created_at,
        "published_at": chosen.published_at,
        "withdrawn_at": chosen.withdrawn_at,
    }
    whole: Json = {"reason": "", "vllm_args": []} | {name: {} for name in ("config", "env", "expected", "evidence", "scope")}
    return {**whole, "objective": chosen.objective, "slos": [], **chosen.body, "status": chosen.status, **changed}


def _unasked(query: Query, body: Json) -> list[str]:
    """What the question left open and the answer is about."""
    scope = body.get("scope", {})
    open_parts = {
        "accelerator": (query.accelerator, scope.get("accelerator")),
        "workload": (query.workload or query.workload_features, (scope.get("workload") or {}).get("name")),
        "objective": (query.objective, body.get("objective")),
    }
    said = [f"{name} {value}" for name, (asked, value) in open_parts.items() if asked is None and value is not None]
    return [f"not asked, so the newest was taken: {', '.join(said)}"] if said else []

"""From what the look-up found to the answer: exact, nearest, measured but not meeting the SLOs, or vLLM's defaults. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from tuner.advice.lookup import Found, Near, Query
from tuner.serving.vllm_args import vllm_flags
from tuner.verdict.answer import STATUS_DEFAULT, STATUS_NONE, Answer, Grounds, Match, Scope, Stale

_OF_THE_OTHER_MODEL = ("model", "tokenizer", "served_model_name", "load_format", "skip_tokenizer_init", "hf_overrides", "quantization")


def exact_answer(query: Query, chosen: Found, stale: Sequence[str]) -> Answer:
    notes = [*_unasked(query, chosen.answer), *_slo_notes(chosen.answer)]
    return _matched(chosen.answer, Match(kind="exact", distance=0.0, parts={}), stale, notes)


def nearest_answer(query: Query, chosen: Found, near: Near, stale: Sequence[str]) -> Answer:
    """The settings of something near, for the model that was asked for: what names the other model's files goes."""
    record = chosen.record
    parts = {
        name: {"asked": part.asked, "measured": part.measured, "distance": part.distance}
        for name, part in near.parts.items()
        if part.distance > 0
    }
    workload = (chosen.answer.scope.get("workload") or {}).get("name", record.workload_hash)
    notes = [
        f"carried over from {record.model} under workload {workload}, {near.distance:.2f} away: measure before you rely on it",
        "the expected metrics are those measured there, not a forecast for what was asked",
        *_slo_notes(chosen.answer),
    ]
    answer = _matched(chosen.answer, Match(kind="nearest", distance=near.distance, parts=parts), stale, notes)
    if query.model == record.model:
        return answer
    config = {name: value for name, value in answer.config.items() if name not in _OF_THE_OTHER_MODEL}
    return answer.changed(config=({"model": query.model} if query.model is not None else {}) | config, vllm_args=vllm_flags(config))


def unmet_answer(query: Query, closest: Found) -> Answer:
    """Measured, but not shown to meet the SLOs: nothing is recommended, and what was measured says why."""
    standing = closest.answer.standing
    failing = standing.failing if standing is not None else ()
    return _matched(closest.answer, Match(kind="exact", distance=0.0, parts={}), (), ()).changed(
        status=STATUS_NONE,
        reason="; ".join(failing) or "nothing measured meets the SLO",
        config={},
        vllm_args=[],
        env={},
        settings={},
        changes=[],
        slos=[str(slo) for slo in query.slos],
        caveats=[],
    )


def default_answer(query: Query, reason: str) -> Answer:
    """vLLM's own defaults: no flag is better founded."""
    notes = ["no measurement stands behind this"]
    if query.slos:
        notes.append(f"whether {', '.join(map(str, query.slos))} is met is unknown")
    return Answer(
        id=None,
        status=STATUS_DEFAULT,
        reason=f"vLLM's defaults: {reason}",
        config={} if query.model is None else {"model": query.model},
        vllm_args=[],
        env={},
        expected={},
        evidence=Grounds(),
        scope=Scope(),
        match=Match(kind="none", distance=None, parts={}),
        stale=Stale(stale=False, reasons=[]),
        caveats=notes,
        published_at=None,
        withdrawn_at=None,
        created_at=None,
        objective=query.objective,
        slos=[str(slo) for slo in query.slos],
    )


def _matched(answer: Answer, match: Match, stale: Sequence[str], notes: Sequence[str]) -> Answer:
    return answer.changed(match=match, stale=Stale(stale=bool(stale), reasons=list(stale)), caveats=[*answer.caveats, *notes])


def _slo_notes(answer: Answer) -> tuple[str, ...]:
    return answer.standing.notes if answer.standing is not None else ()


def _unasked(query: Query, answer: Answer) -> list[str]:
    """What the question left open and the answer is about."""
    scope = answer.scope
    open_parts = {
        "accelerator": (query.accelerator, scope.get("accelerator")),
        "workload": (query.workload or query.workload_features, (scope.get("workload") or {}).get("name")),
        "objective": (query.objective, answer.objective),
    }
    said = [f"{name} {value}" for name, (asked, value) in open_parts.items() if asked is None and value is not None]
    return [f"not asked, so the {'best' if query.slos else 'newest'} was taken: {', '.join(said)}"] if said else []

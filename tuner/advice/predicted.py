"""A prediction as the answer to a question, for those who ask for one: kept simulations only, and only where nothing was measured.

It is never "recommended", nor stored or published as such: its status is "predicted", and it says how far it can be trusted. Nothing is
simulated here.
"""

from __future__ import annotations

from collections.abc import Sequence

from storage.base import Storage
from storage.records import ForesightAnswer
from tuner.advice.lookup import Query, other_versions
from tuner.core.factors import further
from tuner.foresight.fitted import FITTED
from tuner.foresight.prediction import KIND, Prediction, Span, StepTimeError, readable
from tuner.foresight.step_time import LEVEL
from tuner.metrics.catalog import metric_info
from tuner.metrics.objective import DEFAULT_OBJECTIVE, Objective, parse_objectives
from tuner.setup.hardware import TPU_LIMITS, spellings
from tuner.verdict.answer import (
    STATUS_DEFAULT,
    STATUS_PREDICTED,
    Answer,
    Expected,
    Match,
    PredictionGrounds,
    Scope,
    Stale,
)
from tuner.verdict.changes import answer_settings

_GOODPUT = "goodput"

type Kept = tuple[ForesightAnswer, Prediction]


def or_predicted(storage: Storage, query: Query, answer: Answer) -> Answer:
    """`answer`, or what is predicted where it only has vLLM's defaults; where there is no prediction it says why. Raises BadInput for an
    unknown objective, StorageFault."""
    if answer.status != STATUS_DEFAULT or answer.match["kind"] != "none" or query.model is None:
        return answer
    objective = parse_objectives(query.objective or DEFAULT_OBJECTIVE)
    kept = [item for item in readable(_stored(storage, query, query.model)) if _is_asked_for(query, objective, item[1])]
    family = [item for item in kept if item[1].family == kept[0][1].family]
    fit = [item for item in family if all(slo.is_met(item[1].metrics[slo.metric].value) for slo in query.slos)]
    if not fit:
        reason = _why_none(query, family)
        notes = [*answer.caveats, f"no prediction: {reason}"]
        return answer.changed(caveats=notes, prediction=PredictionGrounds(configurations=len(family), reason=reason))
    first = objective[0]
    best = max(fit, key=lambda item: (first.direction.sign * item[1].metrics[first.metric].value, -item[0].id))
    return _answer(query, objective, best, len(family))


def _stored(storage: Storage, query: Query, model: str) -> Sequence[ForesightAnswer]:
    hardware = query.hardware
    names = None if hardware is None else spellings(hardware)
    count = query.device_count if hardware is None else hardware.device_count
    return storage.list_foresight(kind=KIND, model=model, accelerators=names, device_count=count)


def _is_asked_for(query: Query, objectives: Sequence[Objective], found: Prediction) -> bool:
    rate = {} if found.request_rate is None else {"request_rate": found.request_rate}
    if (query.workload_features or {}) != rate or query.workload not in (None, found.workload_hash, found.workload_name):
        return False
    metrics = [*(item.metric for item in objectives), *(slo.metric for slo in query.slos)]
    counted_alike = _GOODPUT not in metrics or set(found.limits) == {str(slo) for slo in query.slos if slo.metric != _GOODPUT}
    return counted_alike and all(metric in found.metrics for metric in metrics)


def _why_none(query: Query, family: Sequence[Kept]) -> str:
    if family:
        return f"none of {len(family)} simulated configurations meets {', '.join(map(str, query.slos))}"
    hardware = query.hardware
    if hardware is not None and hardware.name in TPU_LIMITS and hardware.name not in FITTED:
        return f"step times of a {hardware.name} are not known, only of {', '.join(FITTED)}; tuner simulate takes your own with --step-time"
    if query.workload is None and query.workload_features is not None:
        return "predictions are found by the workload's name; name it"
    return "nothing is kept that was simulated for this question; tuner simulate keeps what it predicts"


def _answer(query: Query, objectives: Sequence[Objective], best: Kept, count: int) -> Answer:
    stored, found = best
    first, error = objectives[0], found.step_times
    where = f"page size {found.block_size}, chunk budget {found.max_num_batched_tokens}, {found.arm}{further(found.factors)}"
    best_of = f"best {first.metric} of {count} simulated configurations"
    stale = other_versions(found.versions, query.versions)
    return Answer.of_body(
        {},
        id=None,
        status=STATUS_PREDICTED,
        reason=f"predicted, never measured: {best_of}: {where}; measure it before you rely on it",
        config={"model": query.model, **{name: value for name, value in found.config.items() if name != "model"}},
        vllm_args=list(found.vllm_args),
        env=found.env,
        expected={name: _expected(name, span) for name, span in found.metrics.items()},
        scope=Scope(
            model=stored.model,
            accelerator=stored.accelerator,
            device_count=stored.device_count,
            versions=found.versions,
            workload={"content_hash": found.workload_hash, "name": found.workload_name},
        ),
        match=Match(kind="none", distance=None, parts={}),
        stale=Stale(stale=bool(stale), reasons=stale),
        caveats=[error.sentence, *_close(query, found)],
        created_at=stored.created_at,
        objective=",".join(item.name for item in objectives),
        slos=[str(slo) for slo in query.slos],
        settings=answer_settings(found.arm, found.block_size, found.max_num_batched_tokens, found.factors),
        changes=list(found.changes),
        prediction=_grounds(error, count),
    )


def _grounds(error: StepTimeError, count: int) -> PredictionGrounds:
    return PredictionGrounds(
        configurations=count,
        step_times=error.source,
        low=error.low,
        high=error.high,
        confidence=LEVEL,
        held_out=error.held_out,
        median_error=error.median_error,
    )


def _expected(metric: str, span: Span) -> Expected:
    return Expected(value=span.value, low=span.low, high=span.high, confidence=LEVEL, unit=metric_info(metric).unit, measurements=0)


def _close(query: Query, found: Prediction) -> list[str]:
    """SLOs that the interval of the step times does not decide."""
    spans = [(slo, found.metrics[slo.metric]) for slo in query.slos]
    open_ones = [slo for slo, span in spans if not (slo.is_met(span.low) and slo.is_met(span.high))]
    return [f"{slo} is met as predicted, not over the whole interval" for slo in open_ones]

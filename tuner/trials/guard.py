"""The guard on answers: every configuration answers canary prompts in each engine, before it is measured there.

What it is compared with is kept with the study, so that a resumed search goes on with the same: for each kind of numerics (dtype, KV
dtype, quantisation) the answers of the default arm in the first engine. Same numerics have to answer alike (tuner.verdict.canaries); others
are compared with the numerics of the study's baseline, and the numbers are what they are, unless `guard` limits them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Protocol

from storage.records import Json
from tuner.core.contract import ARM_DEFAULT, Answered, EngineSession, EngineSettings, LiveSettings, LoadPlan
from tuner.core.errors import FailureClass, TrialFailed
from tuner.core.numbers import number
from tuner.metrics.catalog import CANARY_DIVERGENCE, CANARY_MATCH
from tuner.metrics.objective import Slo
from tuner.serving.numerics import numerics_of
from tuner.verdict.canaries import Agreement, Reference, agreement, tolerance_of

REFERENCES_ATTRIBUTE = "tuner_canaries"


class Keeper(Protocol):
    """Where references are kept: tuner.trials.optuna_record.OptunaRecord."""

    def attribute(self, name: str) -> object: ...

    def set_attribute(self, name: str, value: object) -> None: ...

    def alone(self) -> AbstractContextManager[None]:
        """Nobody else sets an attribute meanwhile."""
        ...


class InMemory:
    """Keeps references for one engine."""

    def __init__(self) -> None:
        self._kept: dict[str, object] = {}

    def attribute(self, name: str) -> object:
        return self._kept.get(name)

    def set_attribute(self, name: str, value: object) -> None:
        self._kept[name] = value

    def alone(self) -> AbstractContextManager[None]:
        return nullcontext()


class Guard:
    """Of one engine. `baseline`: the settings whose numerics others are compared with; `limits`: of numerics that differ from these;
    `arms_live`: whether the default arm can be asked in an engine that runs."""

    def __init__(
        self, plan: LoadPlan, limits: Sequence[Slo], baseline: EngineSettings, keeper: Keeper, timeout_s: float, *, arms_live: bool = True
    ) -> None:
        self._plan = plan
        self._limits = limits
        self._baseline = numerics_of(baseline)
        self._keeper = keeper
        self._timeout_s = timeout_s
        self._arms_live = arms_live

    def check(self, session: EngineSession, engine: EngineSettings, live: LiveSettings, name: str) -> Json:
        """What goes into the trial's notes. Raises TrialFailed (WRONG_OUTPUT) and what answering raises. `name`: of the configuration."""
        begun = time.monotonic()
        answers = session.answer(live, self._plan, self._timeout_s)
        kind = numerics_of(engine)
        own = self._reference(kind) or self._new_reference(session, kind, engine, live, name, answers)
        found = agreement(own.answers, answers, own.tolerance)
        if found.fault is not None:
            raise _wrong(f"{found.fault}; expected is what {own.name} generates")
        note = {"checked": True, "against": own.name, "tolerance": own.tolerance, "prompts": len(answers)}
        if kind != self._baseline:
            base = self._reference(self._baseline)
            if base is None:
                self._judge(None, "no engine with the baseline's numerics has answered")
                return {**note, "numerics": kind, "seconds": _since(begun)}
            found = agreement(base.answers, answers)
            self._judge(found, f"compared with {base.name}")
            note |= {"numerics": kind, "against": base.name}
        return {**note, **_numbers(found), "seconds": _since(begun)}

    def _judge(self, found: Agreement | None, why: str) -> None:
        """Raises TrialFailed where the limits of different numerics are not kept; unknown is not kept."""
        values = {} if found is None else _numbers(found)
        for limit in self._limits:
            value = values.get(limit.metric)
            if value is None or not limit.is_met(value):
                raise _wrong(f"{limit} is not met: {limit.metric} is {'unknown' if value is None else number(value)} ({why})")

    def _reference(self, kind: str) -> Reference | None:
        kept = self._keeper.attribute(REFERENCES_ATTRIBUTE)
        found = kept.get(kind) if isinstance(kept, dict) else None
        reference = None if found is None else Reference.from_json(found)
        return reference if reference is not None and reference.plan == self._plan.content_hash else None

    def _new_reference(
        self, session: EngineSession, kind: str, engine: EngineSettings, live: LiveSettings, name: str, answers: Sequence[Answered]
    ) -> Reference:
        """The answers of the default arm in this engine, where it can be asked for. Raises TrialFailed where they depend on how prompts are
        batched."""
        if self._arms_live and live.arm != ARM_DEFAULT:
            live, name = replace(live, arm=ARM_DEFAULT), f"the default arm beside {name}"
            answers = session.answer(live, self._plan, self._timeout_s)
        alone = session.answer(live, replace(self._plan, max_concurrency=1), self._timeout_s)
        tolerance = tolerance_of(answers, alone)
        if tolerance is None:
            apart = agreement(answers, alone, 0.0)
            raise _wrong(f"{apart.fault}; expected is what {name} itself generates, got is the same prompts one by one")
        reference = Reference(f"{name} (page size {engine.block_size})", self._plan.content_hash, tuple(answers), tolerance)
        with self._keeper.alone():
            if (faster := self._reference(kind)) is not None:  # another worker's engine answered meanwhile
                return faster
            kept = self._keeper.attribute(REFERENCES_ATTRIBUTE)
            known = kept if isinstance(kept, dict) else {}
            self._keeper.set_attribute(REFERENCES_ATTRIBUTE, json.loads(json.dumps({**known, kind: reference.to_json()})))
        return reference


def canary_metrics(note: Json) -> dict[str, float]:
    """What every window of a checked trial says of its answers."""
    return {name: float(note[name]) for name in (CANARY_MATCH, CANARY_DIVERGENCE) if name in note}


def _numbers(found: Agreement) -> dict[str, float]:
    return {CANARY_MATCH: found.match, CANARY_DIVERGENCE: found.divergence}


def _since(begun: float) -> float:
    return round(time.monotonic() - begun, 3)


def _wrong(message: str) -> TrialFailed:
    return TrialFailed(FailureClass.WRONG_OUTPUT, f"wrong answer to a canary: {message}")

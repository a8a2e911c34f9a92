"""Points of goodput against rate as predictions that can be kept: storage.records.ForesightAnswer, one for each rate and arm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from storage.records import ForesightAnswer
from tuner.core.contract import ARM_DEFAULT, EngineSettings, LoadPlan
from tuner.engine.step_costs import StepCosts
from tuner.engine.wire_fields import to_fields
from tuner.foresight.prediction import (
    Prediction,
    Span,
    StepTimeError,
    as_stored,
    configuration_question,
    family_of,
)
from tuner.launchers.rate_sweep import RatePoint
from tuner.serving.vllm_args import served_config, vllm_environment, vllm_flags

Json = dict[str, Any]
_PLATFORM = "tpu"  # what is simulated


@dataclass(frozen=True)
class Simulation:
    """What the points of one `tuner simulate` share. `limits`: SLOs; `versions`: of the scheduler that played them."""

    settings: EngineSettings
    model_hash: str
    accelerator: str
    device_count: int
    workload: str
    plans: Sequence[LoadPlan]
    limits: tuple[str, ...]
    costs: StepCosts
    versions: Json

    def kept(self, point: RatePoint) -> ForesightAnswer:
        settings = self.settings
        family = self._family(point.rate)
        config = served_config(settings.with_changes(alignable=point.arm != ARM_DEFAULT), point.arm, _PLATFORM)
        found = Prediction(
            block_size=settings.block_size,
            max_num_batched_tokens=settings.max_num_batched_tokens,
            arm=point.arm,
            metrics={"goodput": Span(point.goodput, point.low, point.high)},
            step_times=StepTimeError(self.costs.about, self.costs.low, self.costs.high, "see docs/foresight.md", None),
            workload_hash=self.plans[0].content_hash,
            workload_name=self.workload,
            request_rate=point.rate,
            limits=self.limits,
            config=config,
            vllm_args=tuple(vllm_flags(config)),
            env=vllm_environment(settings, _PLATFORM),
            changes=(),
            versions=self.versions,
            family=family_of(family),
        )
        question = configuration_question(family, settings.block_size, settings.max_num_batched_tokens, point.arm)
        return as_stored(found, question, model=settings.model, accelerator=self.accelerator, device_count=self.device_count)

    def _family(self, rate: float) -> Json:
        without = ("model", "model_path", "block_size", "max_num_batched_tokens")
        return {
            "format": 1,
            "versions": self.versions,
            "accelerator": self.accelerator,
            "model": self.model_hash,
            "engine": {name: value for name, value in asdict(self.settings).items() if name not in without},
            "costs": to_fields(self.costs),
            "workloads": [plan.content_hash for plan in self.plans],
            "rate": rate,
            "limits": list(self.limits),
        }

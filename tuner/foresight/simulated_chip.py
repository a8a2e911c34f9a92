"""The accelerator of a simulation: what its steps cost, how many KV pages it has, and what it is called so that nobody takes it for a
measured one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tuner.core.contract import EngineSettings
from tuner.core.errors import BadInput, FailureClass, TrialFailed
from tuner.engine.step_costs import Point, StepCosts
from tuner.foresight.fitted import step_times_for
from tuner.foresight.operations import DECODE, LOGITS, PREFILL, StepWork, check_predictable, decode, operations_of, prefill
from tuner.foresight.step_cost_file import read_step_costs
from tuner.foresight.step_time import StepTimes
from tuner.foresight.target import devices_in
from tuner.serving.engine_args import pool_pages
from tuner.setup.hardware import Limits, named_limits
from tuner.setup.model_memory import kv_page_bytes, served_dtype, weight_bytes

type Features = Mapping[str, Any]  # tuner.setup.models.ResolvedModel.features

UTILIZATION = 0.92  # vLLM 0.32's gpu_memory_utilization, where no other is given
SIMULATED = "simulated"  # the platform of environments, and what their accelerators' names begin with
_NOISE_QUANTILES = 200
_SMALLEST_BUCKET = 16
_CONTEXTS = (0, 1024, 8192)  # tokens of a request that the interval of a whole step is looked at with


@dataclass(frozen=True)
class SimulatedChip:
    """`limits` None: only the step costs are known, not the chip. `borrowed`: the chip whose times are taken for another one's."""

    name: str
    limits: Limits | None
    devices: int
    times: StepTimes | None
    given: StepCosts | None
    step_noise: float = 0.0  # standard deviation of the logarithm of a step's time

    @property
    def borrowed(self) -> str | None:
        return self.times.chip if self.times is not None and self.limits is not None and self.times.chip != self.limits.name else None

    @property
    def accelerator(self) -> str:
        """ "simulated TPU v6e-1"."""
        return f"{SIMULATED} {self.name}" + (f" with step times of {self.borrowed}" if self.borrowed else "")

    @property
    def source(self) -> str:
        """Where the step times come from, in words."""
        if self.given is not None:
            return f"given: {self.given.about}"
        assert self.times is not None
        return f"fitted on {self.times.source}" + (f", BORROWED for a {self.name}" if self.borrowed else "")

    def costs(self, settings: EngineSettings, features: Features) -> StepCosts:
        """Raises BadInput for a model or parallelism whose steps have no prediction."""
        found = self.given if self.given is not None else self._predicted(settings, features)
        return found if not self.step_noise or found.step_noise else replace(found, step_noise=_log_normal(self.step_noise))

    def pages(self, settings: EngineSettings, features: Features) -> int:
        """Of the KV cache: the given number; else what the chip's memory leaves beside the weights; without a chip, as without a TPU.
        Raises TrialFailed (OUT_OF_MEMORY) where one request does not fit."""
        pages = self._pages(settings, features)
        if (pages - 1) * settings.block_size < settings.max_model_len:  # one is the null page
            raise TrialFailed(
                FailureClass.OUT_OF_MEMORY,
                f"{max(0, pages)} pages of {settings.block_size} tokens hold less than one request of {settings.max_model_len} tokens"
                + ("" if self.limits is None else f": a {self.limits.name} has no more beside the weights"),
            )
        return pages

    def _pages(self, settings: EngineSettings, features: Features) -> int:
        if settings.num_gpu_blocks is not None:
            return settings.num_gpu_blocks
        if self.limits is None:
            return pool_pages(settings)
        dtype = served_dtype(settings.dtype, features)
        weights = weight_bytes(features, dtype, settings.tensor_parallel_size)
        kv_dtype = str(settings.extra_engine_args.get("kv_cache_dtype") or "auto")
        page = kv_page_bytes(features, dtype if kv_dtype == "auto" else kv_dtype, settings.block_size, settings.tensor_parallel_size)
        if weights is None or page is None:
            raise BadInput("is needed: this model's memory is not known", setting="num_gpu_blocks", fix="give the number of pages")
        share = float(settings.extra_engine_args.get("gpu_memory_utilization") or UTILIZATION)
        return int((self.limits.usable_hbm_bytes * share - weights) // page)

    def _predicted(self, settings: EngineSettings, features: Features) -> StepCosts:
        times = self.times
        assert times is not None
        check_predictable(features)
        if settings.tensor_parallel_size > 1:
            raise BadInput(
                "has no prediction: collectives were not measured",
                setting="tensor_parallel_size",
                value=settings.tensor_parallel_size,
                fix="use 1, or give the costs yourself with --step-time FILE",
            )
        dtype = served_dtype(settings.dtype, features)

        def seconds(size: int, requests: int, *, logits: bool) -> float:
            operations = operations_of(features, StepWork(size, decodes=requests), dtype=dtype)
            return times.step(item for item in operations if item.family != DECODE and (item.kind == LOGITS) is logits).seconds

        prefill_weights, decode_weights = _attention_weights(times, features)
        low, high = _interval(times, features, settings, dtype)
        return StepCosts(
            about=self.source,
            padded=tuple(Point(size, seconds(size, 1, logits=False)) for size in _sizes(_SMALLEST_BUCKET, settings.max_num_batched_tokens)),
            logits=tuple(Point(count, seconds(_SMALLEST_BUCKET, count, logits=True)) for count in _sizes(1, settings.max_num_seqs)),
            prefill=prefill_weights,
            decode=decode_weights,
            low=low,
            high=high,
        )


def simulated_chip(accelerator: str | None, step_time: str | None, borrow: str | None, step_noise: float = 0.0) -> SimulatedChip:
    """From what the user names. Raises BadInput where nothing says what a step costs, or a file or a name is bad."""
    if accelerator is None and step_time is None:
        raise BadInput("a simulation needs to know what a step costs: add --accelerator v6e-1, or --step-time FILE")
    if step_time is not None and borrow is not None:
        raise BadInput("--borrow takes another chip's step times, and --step-time gives them; drop one")
    limits = None if accelerator is None else named_limits(accelerator)
    if accelerator is not None and limits is None:
        raise BadInput("is no TPU", setting="accelerator", value=accelerator, fix="use for instance v6e-1, or only --step-time FILE")
    given = None if step_time is None else read_step_costs(Path(step_time).expanduser())
    times = None
    if given is None:
        assert limits is not None
        times = step_times_for(limits.name, borrow)
    count = (None if accelerator is None or limits is None else devices_in(accelerator, limits)) or 1
    name = "engine" if limits is None else f"{limits.name}-{count}"
    return SimulatedChip(name, limits, count, times, given, step_noise)


def _sizes(first: int, last: int) -> list[int]:
    """Powers of two from `first`, and `last`."""
    sizes = [first]
    while sizes[-1] * 2 < last:
        sizes.append(sizes[-1] * 2)
    return sorted({*sizes, max(first, last)})


def _attention_weights(times: StepTimes, features: Features) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Those of tuner.engine.step_costs, over all layers."""
    heads = int(features["heads"]), int(features["kv_heads"]), int(features["head_size"])
    layers = int(features["layers"])
    found = []
    for kind, unit in ((PREFILL, prefill(heads, 1, 1)), (DECODE, decode(heads, 1, 1))):
        fitted = times.of(unit)
        if fitted is None:
            raise BadInput(f"{kind} was not measured on a {times.chip}: no prediction; give the costs with --step-time FILE")
        found.append(tuple(layers * weight * term for weight, term in zip(fitted.curve.weights, unit.terms, strict=True)))
    return found[0], found[1]


def _interval(times: StepTimes, features: Features, settings: EngineSettings, dtype: str) -> tuple[float, float]:
    """The widest of the intervals of some typical steps, as ratios to the prediction."""
    budget, seqs = settings.max_num_batched_tokens, settings.max_num_seqs
    works = [
        work
        for context in _CONTEXTS
        for work in (
            StepWork(max(_SMALLEST_BUCKET, seqs), decodes=seqs, decode_context=seqs * context),
            StepWork(budget, ((budget, context),)),
        )
    ]
    found = [times.step(operations_of(features, work, dtype=dtype)) for work in works]
    return min(item.low / item.seconds for item in found), max(item.high / item.seconds for item in found)


def _log_normal(spread: float) -> tuple[float, ...]:
    """Equally likely ratios with this standard deviation of their logarithm: quantiles of the normal distribution, from a fixed seed."""
    drawn = np.sort(np.random.default_rng(0).normal(0, 1, 20 * _NOISE_QUANTILES))[10::20]
    return tuple(map(float, np.exp(spread * (drawn - drawn.mean()) / drawn.std())))

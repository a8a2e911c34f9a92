"""What page alignment changes on a TPU that is not here, as far as that can be known without one.

In a closed loop the next request is sent when one ends, so vLLM's real scheduler decides the same whatever a step takes: steps, tokens,
padding and waiting are exact (given the KV pages, which follow from the chip's memory and the weights). Throughput and latency need step
times, and are predicted where there is a model of them. Nothing here is measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tuner.core.contract import ARM_DEFAULT, ARM_PAGE_ALIGNED, EngineSettings, Json, LiveSettings, LoadPlan, WindowResult
from tuner.core.errors import BadInput, FailureClass, TrialFailed
from tuner.engine.step_costs import Point, StepCosts
from tuner.foresight.fitted import step_times_for
from tuner.foresight.simulated_chip import SimulatedChip
from tuner.foresight.target import devices_in
from tuner.launchers.simulate import SimulatedSession, SimulateLauncher
from tuner.metrics.window import window_metrics
from tuner.setup.hardware import named_limits
from tuner.setup.models import ResolvedModel

EXACT, PREDICTED, NO_PREDICTION = "exact", "predicted", "no prediction"
VARIANTS = ("strict", "demote", "fill_bucket")
ARMS = (ARM_DEFAULT, *VARIANTS)
MOST_DEVICES = 8  # that are tried where a TPU is named without a number
FOREVER_S = 1e9
_NOT_TIMED = StepCosts("nothing: steps are counted, not timed", padded=(Point(1, 1.0), Point(1 << 20, 1.0)))


@dataclass(frozen=True)
class Counts:
    """What the scheduler decided in a window. `prefill_chunks`: segments that prompts were computed in; `held_back_tokens`: of the chunk
    budgets, left although a prompt with a place was not computed yet; `ttft_steps`: mean steps until a request's first token."""

    steps: int
    scheduled_tokens: int
    padded_tokens: int
    prefill_chunks: int
    held_back_tokens: int
    ttft_steps: float
    cached_tokens: int
    preemptions: int


@dataclass(frozen=True)
class Prediction:
    """With the interval of the step times, all of which may be off in the same direction."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Place:
    """A model on `devices` of a TPU. `no_prediction`: why its steps have no times; else `chip` has them."""

    model: ResolvedModel
    chip: SimulatedChip
    devices: int
    no_prediction: str | None

    @property
    def name(self) -> str:
        assert self.chip.limits is not None
        return f"{self.chip.limits.name}-{self.devices}"


@dataclass(frozen=True)
class Row:
    """One cell. `pages`: of the KV cache; `throughput`: tokens/s, prompts and outputs; `ttft_ms`: the median."""

    place: Place
    page_size: int
    budget: int
    arm: str
    pages: int
    counts: Counts
    throughput: Prediction | None
    ttft_ms: Prediction | None

    def to_json(self) -> Json:
        """Each value with its mark."""
        found: Json = {
            "model": self.place.model.name,
            "accelerator": self.place.name,
            "page_size": self.page_size,
            "chunk_budget": self.budget,
            "arm": self.arm,
            "kv_pages": self.pages,
        }
        found |= {name: {"value": value, "mark": EXACT} for name, value in vars(self.counts).items()}
        for name, prediction in (("throughput_tokens_s", self.throughput), ("ttft_p50_ms", self.ttft_ms)):
            if prediction is None:
                found[name] = {"mark": NO_PREDICTION, "reason": self.place.no_prediction}
            else:
                found[name] = {"mark": PREDICTED, **vars(prediction), "borrowed": self.place.chip.borrowed}
        return found


def place_of(model: ResolvedModel, accelerator: str, settings: EngineSettings, borrow: str | None) -> Place:
    """On the named number of devices; without one, on the smallest power of two that holds the weights and one request of max_model_len.

    Raises BadInput for what is no TPU, and TrialFailed (OUT_OF_MEMORY) where no number holds them.
    """
    limits = named_limits(accelerator)
    if limits is None:
        raise BadInput("is no TPU", setting="accelerator", value=accelerator, fix="use for instance v5e, v6e-1 or 7x")
    given = devices_in(accelerator, limits)
    failed: TrialFailed | None = None
    for devices in (given,) if given is not None else _powers_of_two(MOST_DEVICES):
        chip = SimulatedChip(f"{limits.name}-{devices}", limits, devices, None, _NOT_TIMED)
        split = settings.with_changes(tensor_parallel_size=devices)
        try:
            chip.pages(split, model.features)
        except TrialFailed as error:
            failed = error
            continue
        try:
            timed = replace(chip, times=step_times_for(limits.name, borrow), given=None)
            timed.costs(split, model.features)
        except BadInput as error:
            return Place(model, chip, devices, str(error))
        return Place(model, timed, devices, None)
    assert failed is not None
    raise failed


def rows_of(
    launcher: SimulateLauncher,
    place: Place,
    settings: EngineSettings,
    plan: LoadPlan,
    cells: Sequence[tuple[int, int]],
    arms: Sequence[str],
) -> Iterator[Row]:
    """`settings`: of an engine for the largest chunk budget, whose compiled sizes all share; `cells`: (page size, chunk budget).

    Raises BadInput where the plan is no closed loop, TrialFailed for what vLLM refuses.
    """
    if plan.max_concurrency is None:
        raise BadInput("is an open loop: what is scheduled depends on how long steps take", setting="workload", fix="give it a concurrency")
    for page_size in dict.fromkeys(page for page, _ in cells):
        paged = settings.with_changes(block_size=page_size)
        pages = place.chip.pages(paged.with_changes(tensor_parallel_size=place.devices), place.model.features)
        for variant in _engines(arms):
            launcher.chip = place.chip
            session = launcher.open_for(paged.with_changes(num_gpu_blocks=pages, alignment_variant=variant), place.model.features, 600)
            try:
                for budget in (budget for page, budget in cells if page == page_size):
                    for arm in arms:
                        if arm == variant or (arm == ARM_DEFAULT and variant == _engines(arms)[0]):
                            yield _row(
                                session, place, plan, LiveSettings(_live_arm(arm), budget), page_size=page_size, arm=arm, pages=pages
                            )
            finally:
                session.close()


def _row(session: SimulatedSession, place: Place, plan: LoadPlan, live: LiveSettings, *, page_size: int, arm: str, pages: int) -> Row:
    window = session.simulate(live, plan, FOREVER_S, seed=(0,))
    throughput = ttft = None
    if place.no_prediction is None:
        metrics = window_metrics(window)
        low, high = session.costs.low, session.costs.high
        speed, wait = metrics["total_token_throughput"], metrics["ttft_p50_ms"]
        throughput = Prediction(speed, speed / high, speed / low)
        ttft = Prediction(wait, wait * low, wait * high)
    return Row(
        place=place,
        page_size=page_size,
        budget=live.max_num_batched_tokens,
        arm=arm,
        pages=pages,
        counts=counts_of(window),
        throughput=throughput,
        ttft_ms=ttft,
    )


def counts_of(window: WindowResult) -> Counts:
    """Raises TrialFailed (REQUEST_FAILED) where a request got no token."""
    begins = np.array([step.start_s for step in window.steps])
    ends = begins + np.array([step.duration_s for step in window.steps])
    if any(not record.token_times_s for record in window.requests):
        raise TrialFailed(FailureClass.REQUEST_FAILED, "a request got no token")
    first = np.searchsorted(ends, [record.token_times_s[0] for record in window.requests])
    sent = np.searchsorted(begins, [record.sent_s for record in window.requests])
    return Counts(
        steps=len(window.steps),
        scheduled_tokens=sum(step.scheduled_tokens for step in window.steps),
        padded_tokens=sum(step.padded_tokens for step in window.steps),
        prefill_chunks=sum(step.prefill_requests for step in window.steps),
        held_back_tokens=int(window.details["held_back_tokens"]),
        ttft_steps=float(np.mean(first - sent + 1)),
        cached_tokens=sum(record.cached_tokens for record in window.requests),
        preemptions=sum(record.preemptions for record in window.requests),
    )


def _engines(arms: Sequence[str]) -> list[str]:
    """The variants that engines are started with: alignment can be switched off in any of them."""
    return [arm for arm in arms if arm != ARM_DEFAULT] or ["demote"]


def _live_arm(arm: str) -> str:
    return ARM_DEFAULT if arm == ARM_DEFAULT else ARM_PAGE_ALIGNED


def _powers_of_two(most: int) -> tuple[int, ...]:
    return tuple(1 << power for power in range(most.bit_length()))

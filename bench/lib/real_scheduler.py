"""vLLM's real scheduler without an engine and without a clock: what it schedules for a load plan in a closed loop. vLLM is imported on
first use, which takes half a minute."""

from __future__ import annotations

import os
from dataclasses import dataclass

from tuner.core.contract import EngineSettings, LoadPlan
from tuner.engine.environment import engine_environment
from tuner.engine.real_schedule import RealSchedule
from tuner.engine.replay import Replay
from tuner.engine.step_costs import Point, StepClock, StepCosts
from tuner.launchers.simulate import load_of
from tuner.serving.engine_args import engine_args

_EVERY_STEP = StepCosts("one second a step", padded=(Point(1, 1.0), Point(1 << 20, 1.0)))


@dataclass(frozen=True)
class ScheduledSteps:
    """Sums over one window. `ttft_steps`: mean number of steps from a request's sending to its first token."""

    steps: int
    scheduled_tokens: int
    padded_tokens: int
    prefill_tokens: int
    ttft_steps: float


class RealScheduler:
    """tuner.vllm_plugin.scheduler.PageAlignedScheduler, which is vLLM's own where alignment is off."""

    def __init__(self, settings: EngineSettings) -> None:
        """`settings.max_num_batched_tokens`: the largest chunk budget, for which the token buckets are made."""
        os.environ.update(engine_environment("cpu", offline=True))
        import vllm.plugins

        vllm.plugins.load_general_plugins()
        self._page = settings.block_size
        self._schedule = RealSchedule(engine_args(settings, "cpu"))

    def window(self, plan: LoadPlan, budget: int, *, page_aligned: bool) -> ScheduledSteps:
        """Raises tuner.workload.client.WindowTimeout where nothing can be scheduled any more."""
        self._schedule.scheduler.set_page_aligned(page_aligned)
        self._schedule.scheduler.max_num_scheduled_tokens = budget
        clock = StepClock(_EVERY_STEP, [0])
        found = Replay(self._schedule, clock).run(load_of(plan, self._page), float("inf"))
        waits = [item.runs[0][0] + 1 - round(item.sent_s) for item in found.sent]
        columns = found.steps.columns()
        return ScheduledSteps(
            steps=len(found.steps.start_s),
            scheduled_tokens=sum(columns["scheduled_tokens"]),
            padded_tokens=sum(columns["padded_tokens"]),
            prefill_tokens=sum(columns["prefill_tokens"]),
            ttft_steps=sum(waits) / len(waits),
        )

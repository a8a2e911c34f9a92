"""Schedulers for benches of the verdict itself: two arms that are the same, and one arm that is slower by a known fraction of each step.

Loaded by the engine by name (`scheduler_cls`). Both schedule exactly like vLLM in both arms; `page_aligned` only marks the arm.
"""

from __future__ import annotations

import time
from typing import Any

from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.request import Request

from tuner.vllm_plugin.scheduler import PageAlignedScheduler


class SameArms(PageAlignedScheduler):
    """A/A: nothing differs but the name of the arm."""

    fraction = 0.0
    _scheduled_s = 0.0
    _step_s = 0.0  # of the previous step, from the end of its scheduling to the end of its update

    def schedule(self, throttle_prefills: bool = False) -> Any:
        wait_until_s = time.perf_counter() + (self.fraction * self._step_s if self.page_aligned else 0.0)
        while time.perf_counter() < wait_until_s:  # spinning: sleep() overshoots by more than the effect
            pass
        output = Scheduler.schedule(self, throttle_prefills)
        self._scheduled_s = time.perf_counter()
        return output

    def update_from_output(self, scheduler_output: Any, model_runner_output: Any) -> Any:
        outputs = super().update_from_output(scheduler_output, model_runner_output)
        self._step_s = time.perf_counter() - self._scheduled_s
        return outputs

    def _reserve_prefill_lookahead(self, request: Request, num_computed_tokens: int, num_new_tokens: int) -> Any:
        return Scheduler._reserve_prefill_lookahead(self, request, num_computed_tokens, num_new_tokens)


class ThreePercentSlower(SameArms):
    """The `page_aligned` arm waits 3 % of the previous step's time in every step."""

    fraction = 0.03

"""Schedulers for benches of the verdict itself: two arms that are the same, and one arm that is slower by a known share of each step.

Loaded by the engine by name (`scheduler_cls`). Both schedule exactly like vLLM in both arms; `page_aligned` only marks the arm.
"""

from __future__ import annotations

import time
from typing import Any

from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.request import Request

from tuner.vllm_plugin.scheduler import PageAlignedScheduler

LONGEST_STEP_S = 0.25  # a longer gap between two steps is a gap between two windows


class SameArms(PageAlignedScheduler):
    """A/A: nothing differs but the name of the arm."""

    share = 0.0
    _last_end_s: float | None = None

    def schedule(self, throttle_prefills: bool = False) -> Any:
        now_s = time.perf_counter()
        step_s = now_s - self._last_end_s if self._last_end_s is not None else LONGEST_STEP_S
        if self.page_aligned and self.share and step_s < LONGEST_STEP_S:
            while time.perf_counter() - now_s < self.share * step_s:  # spinning: sleep() overshoots by more than the effect
                pass
        self._last_end_s = time.perf_counter()
        return Scheduler.schedule(self, throttle_prefills)

    def _reserve_prefill_lookahead(self, request: Request, num_computed_tokens: int, num_new_tokens: int) -> Any:
        return Scheduler._reserve_prefill_lookahead(self, request, num_computed_tokens, num_new_tokens)


class ThreePercentSlower(SameArms):
    """The `page_aligned` arm waits 3 % of the previous step's time in every step."""

    share = 0.03

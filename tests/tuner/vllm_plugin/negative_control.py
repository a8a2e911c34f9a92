"""The combination that must be impossible to configure, for the negative control only: unaligned chunks, page-wise KV writes."""

from __future__ import annotations

from typing import Any

from vllm.v1.core.sched.scheduler import Scheduler

from tuner.vllm_plugin.scheduler import PAGE_WISE_ATTRIBUTE, PageAlignedScheduler


class PageWiseButUnaligned(PageAlignedScheduler):
    """Schedules like vLLM, but claims that every segment starts on a page boundary."""

    def schedule(self, throttle_prefills: bool = False) -> Any:
        aligned, self.page_aligned = self.page_aligned, False
        output = Scheduler.schedule(self, throttle_prefills)
        self.page_aligned = aligned
        setattr(output, PAGE_WISE_ATTRIBUTE, aligned)
        return output

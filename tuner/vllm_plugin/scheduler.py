"""PageAlignedScheduler: vLLM's scheduler with page-aligned prefill (pull request 19878), out of tree.

`schedule()` of vLLM 0.32 calls `_reserve_prefill_lookahead` for every RUNNING and WAITING candidate, after the token budget, the
long-prefill threshold and max_model_len have limited it and right before the block allocation. That is the one place where alignment
belongs (the pull request's reviewers asked for one helper instead of the same code in two loops), so nothing of `schedule()` is copied.

Selected with `--scheduler-cls tuner.vllm_plugin.scheduler.PageAlignedScheduler` (or `AsyncPageAlignedScheduler` with async scheduling).
"""

from __future__ import annotations

from typing import Any

from vllm.logger import init_logger
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.request import Request, RequestStatus

from tuner.vllm_plugin.alignment import StepLedger, check_page_size
from tuner.vllm_plugin.guards import check_scheduler_config
from tuner.vllm_plugin.settings import parse_settings

logger = init_logger("vllm.tuner_plugin.scheduler")

PAGE_WISE_ATTRIBUTE = "tuner_page_wise_kv"
"""Set on a SchedulerOutput: every prefill chunk of this step starts on a page boundary, so the KV cache may be written page by page."""


class _PageAligned(Scheduler):
    """The alignment itself, mixed in before a concrete vLLM scheduler."""

    _async_scheduling = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        check_scheduler_config(self.vllm_config, self._async_scheduling)
        settings = parse_settings(self.vllm_config.additional_config)
        check_page_size(self.block_size, self.max_num_scheduled_tokens)
        self.page_aligned = settings.page_aligned
        self.page_wise_kv = True  # False: aligned chunks, token-wise writes (to tell the two effects apart)
        self.unaligned_steps = 0  # steps of the strict variant that had to fall back to token-wise KV writes
        self._ledger = StepLedger(self.block_size, settings.variant, token_buckets(self.vllm_config))
        logger.info("page-aligned prefill: %s, page size %d, variant %s", self.page_aligned, self.block_size, settings.variant.value)

    def set_page_aligned(self, enabled: bool, page_wise_kv: bool = True) -> None:
        """Switch alignment on or off between measurements. Raises RuntimeError while requests are unfinished."""
        if self.has_unfinished_requests():
            raise RuntimeError("page_aligned can change only while no request is unfinished")
        self.page_aligned = enabled
        self.page_wise_kv = page_wise_kv

    def schedule(self, throttle_prefills: bool = False) -> SchedulerOutput:
        if not self.page_aligned:
            return super().schedule(throttle_prefills)
        self._ledger.begin(self.max_num_scheduled_tokens)
        output = super().schedule(throttle_prefills)
        page_wise = all_prefills_start_on_a_page(output, self.block_size)
        if not page_wise:
            self.unaligned_steps += 1
        setattr(output, PAGE_WISE_ATTRIBUTE, page_wise and self.page_wise_kv)
        return output

    def _reserve_prefill_lookahead(self, request: Request, num_computed_tokens: int, num_new_tokens: int) -> int:
        num_new_tokens = super()._reserve_prefill_lookahead(request, num_computed_tokens, num_new_tokens)
        if not self.page_aligned or num_new_tokens <= 0:
            return num_new_tokens
        remaining = request.num_tokens_with_spec + request.num_output_placeholders - num_computed_tokens
        return self._ledger.grant(remaining, num_new_tokens, waiting=request.status != RequestStatus.RUNNING)


class PageAlignedScheduler(_PageAligned):
    """For `--no-async-scheduling`."""


class AsyncPageAlignedScheduler(_PageAligned, AsyncScheduler):
    """For async scheduling."""

    _async_scheduling = True


def token_buckets(vllm_config: Any) -> list[int]:
    """The sizes that tpu-inference pads a step to, as its TPUModelRunner makes them for one data-parallel rank."""
    from tpu_inference import envs
    from tpu_inference.runner.utils import build_token_paddings

    sizes: list[int] = build_token_paddings(
        min_token_size=envs.MIN_TOKEN_BUCKET,
        max_token_size=vllm_config.scheduler_config.max_num_batched_tokens,
        padding_gap=envs.VLLM_TPU_BUCKET_PADDING_GAP,
        additional_sizes=(vllm_config.additional_config or {}).get("compilation_sizes", []),
    )
    return sizes


def all_prefills_start_on_a_page(output: SchedulerOutput, page_size: int) -> bool:
    """Whether every scheduled segment of more than one token starts on a page boundary: what a page-wise KV write relies on."""
    for new in output.scheduled_new_reqs:
        if output.num_scheduled_tokens[new.req_id] > 1 and new.num_computed_tokens % page_size:
            return False
    cached = output.scheduled_cached_reqs
    for req_id, computed in zip(cached.req_ids, cached.num_computed_tokens, strict=True):
        if output.num_scheduled_tokens[req_id] > 1 and computed % page_size:
            return False
    return True

"""vLLM's real scheduler without an engine: what it schedules for a load plan, step by step, in a closed loop.

Nothing is computed: a request of which all tokens are scheduled gets a new one. vLLM and torch are imported on first use, which takes
half a minute.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tuner.core.contract import LoadPlan, PlannedRequest
from tuner.engine.environment import engine_environment
from tuner.engine.stepping import batch_of
from tuner.serving.engine_args import SYNC_SCHEDULER

TOKEN = 7  # what everything generates


@dataclass(frozen=True)
class ScheduledSteps:
    """Sums over one window. `ttft_steps`: mean number of steps from a request's sending to its first token."""

    steps: int
    scheduled_tokens: int
    padded_tokens: int
    prefill_tokens: int
    ttft_steps: float


@dataclass(frozen=True)
class SchedulerSettings:
    """As tuner.core.contract.EngineSettings. `compiled_budget`: the largest chunk budget, for which the token buckets are made."""

    model_path: str
    block_size: int
    compiled_budget: int
    max_num_seqs: int
    max_model_len: int
    variant: str = "demote"


class RealScheduler:
    """tuner.vllm_plugin.scheduler.PageAlignedScheduler, which is vLLM's own where alignment is off."""

    def __init__(self, settings: SchedulerSettings) -> None:
        os.environ.update(engine_environment("cpu", offline=True))
        from vllm.utils.hashing import sha256
        from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash

        init_none_hash(sha256)
        self._hasher = get_request_block_hasher(settings.block_size, sha256)
        self._scheduler = _scheduler(settings)
        self._buckets = _token_buckets(settings.compiled_budget)

    def window(self, plan: LoadPlan, budget: int, *, page_aligned: bool) -> ScheduledSteps:
        """Raises RuntimeError where nothing can be scheduled any more."""
        scheduler = self._scheduler
        scheduler.set_page_aligned(page_aligned)
        scheduler.max_num_scheduled_tokens = budget
        scheduler.reset_prefix_cache()
        pending, limit = deque(plan.requests), plan.max_concurrency or len(plan.requests)
        sent: dict[str, int] = {}
        waits: list[int] = []
        steps: list[tuple[int, int]] = []  # scheduled and prefill tokens
        while pending or scheduler.has_unfinished_requests():
            while pending and sum(scheduler.get_request_counts()) < limit:
                request = pending.popleft()
                sent[request.request_id] = len(steps)
                scheduler.add_request(self._request(request))
            output = scheduler.schedule()
            batch = batch_of(output.num_scheduled_tokens, scheduler.requests) if output.num_scheduled_tokens else None
            if batch is None:
                raise RuntimeError(f"nothing is scheduled and {sum(scheduler.get_request_counts())} requests are unfinished")
            steps.append((batch.scheduled_tokens, batch.prefill_tokens))
            ready = _ready(scheduler, list(output.num_scheduled_tokens))
            waits += [len(steps) - sent.pop(name) for name in ready if name in sent]
            scheduler.update_from_output(output, _model_output(list(output.num_scheduled_tokens), ready))
        scheduled, prefill = (sum(column) for column in zip(*steps, strict=True))
        padded = sum(next(bucket for bucket in self._buckets if bucket >= tokens) for tokens, _ in steps)
        return ScheduledSteps(len(steps), scheduled, padded, prefill, sum(waits) / len(waits))

    def _request(self, request: PlannedRequest) -> Any:
        from vllm.sampling_params import SamplingParams
        from vllm.v1.request import Request

        return Request(
            request_id=request.request_id,
            prompt_token_ids=list(request.prompt_token_ids),
            sampling_params=SamplingParams(temperature=0.0, max_tokens=request.max_tokens, ignore_eos=True),
            pooling_params=None,
            block_hasher=self._hasher,
        )


def _ready(scheduler: Any, names: Sequence[str]) -> set[str]:
    """Requests that get a token in this step: nothing of theirs is left to compute."""
    return {name for name in names if scheduler.requests[name].num_computed_tokens >= scheduler.requests[name].num_tokens}


def _model_output(names: list[str], ready: set[str]) -> Any:
    from vllm.v1.outputs import ModelRunnerOutput

    return ModelRunnerOutput(
        req_ids=names,
        req_id_to_index={name: index for index, name in enumerate(names)},
        sampled_token_ids=[[TOKEN] if name in ready else [] for name in names],
        logprobs=None,
        prompt_logprobs_dict={},
        pooler_output=[],
    )


def _token_buckets(compiled_budget: int) -> list[int]:
    """The sizes that tpu-inference's TPUModelRunner pads a step to."""
    from tpu_inference import envs
    from tpu_inference.runner.utils import build_token_paddings

    return list(build_token_paddings(envs.MIN_TOKEN_BUCKET, compiled_budget, envs.VLLM_TPU_BUCKET_PADDING_GAP))


def _scheduler(settings: SchedulerSettings) -> Any:
    import torch
    from vllm.config import CacheConfig, ModelConfig, SchedulerConfig, VllmConfig
    from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
    from vllm.v1.structured_output import StructuredOutputManager

    length, page = settings.max_model_len, settings.block_size
    pages = 2 * settings.max_num_seqs * -(-length // page) + 1  # as tuner.serving.engine_args.pool_pages
    cache = CacheConfig(block_size=page, enable_prefix_caching=True)
    cache.num_gpu_blocks = pages
    config = VllmConfig(
        model_config=ModelConfig(
            model=settings.model_path,
            tokenizer=settings.model_path,
            skip_tokenizer_init=True,
            dtype="float32",
            max_model_len=length,
            hf_overrides={"max_position_embeddings": length},  # nothing is computed
        ),
        cache_config=cache,
        scheduler_config=SchedulerConfig(
            max_num_seqs=settings.max_num_seqs,
            max_num_batched_tokens=settings.compiled_budget,
            max_model_len=length,
            enable_chunked_prefill=True,
            is_encoder_decoder=False,
            async_scheduling=False,
            scheduler_cls=SYNC_SCHEDULER,
        ),
        additional_config={"tuner": {"variant": settings.variant}},
    )
    spec = FullAttentionSpec(block_size=page, num_kv_heads=2, head_size=64, dtype=torch.float32)
    return config.scheduler_config.get_scheduler_cls()(
        vllm_config=config,
        kv_cache_config=KVCacheConfig(num_blocks=pages, kv_cache_tensors=[], kv_cache_groups=[KVCacheGroupSpec(["layer"], spec)]),
        structured_output_manager=StructuredOutputManager(config),
        block_size=page,
    )

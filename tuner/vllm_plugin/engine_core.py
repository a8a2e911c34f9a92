"""Two methods added to vLLM's EngineCore, reachable in process and through `call_utility` of a multi-process engine."""

from __future__ import annotations

from typing import Any

_STARTED_WITH = "_tuner_long_prefill_at_start"  # of a scheduler


def tuner_reconfigure(
    self: Any,
    page_aligned: bool | None = None,
    page_wise_kv: bool = True,
    max_num_scheduled_tokens: int | None = None,
    max_num_running_reqs: int | None = None,
    long_prefill_token_threshold: int | None = None,
) -> None:
    """Change live settings; `page_wise_kv` False keeps token-wise writes under alignment. The last one None: as the engine was started.

    Raises ValueError for a value above the compiled maximum or an engine that cannot align, RuntimeError while requests are unfinished.
    """
    scheduler = self.scheduler
    if scheduler.has_unfinished_requests():
        raise RuntimeError("live settings can change only while no request is unfinished")
    if page_aligned is not None and (page_aligned or hasattr(scheduler, "set_page_aligned")):
        if not hasattr(scheduler, "set_page_aligned"):
            raise ValueError(
                "page_aligned needs --scheduler-cls tuner.vllm_plugin.scheduler.PageAlignedScheduler; this engine runs vLLM's own"
            )
        scheduler.set_page_aligned(page_aligned, page_wise_kv)
    config = scheduler.scheduler_config
    if max_num_scheduled_tokens is not None:
        _check("max_num_batched_tokens", max_num_scheduled_tokens, config.max_num_batched_tokens)
        scheduler.max_num_scheduled_tokens = max_num_scheduled_tokens
    if max_num_running_reqs is not None:
        _check("max_num_seqs", max_num_running_reqs, config.max_num_seqs)
        scheduler.max_num_running_reqs = max_num_running_reqs
        scheduler.max_num_active_reqs = min(max_num_running_reqs, config.max_num_active_seqs or max_num_running_reqs)  # vLLM admits by this

    _set_long_prefill(scheduler, long_prefill_token_threshold)


def _set_long_prefill(scheduler: Any, threshold: int | None) -> None:
    """vLLM reads it from its configuration in every step (v1/core/sched/scheduler.py, `schedule`), and refuses at a start what is above
    max_model_len (config/scheduler.py). It would cut prompts where chunked prefill is off, too; that is no configuration to measure."""
    config = scheduler.scheduler_config
    if not hasattr(scheduler, _STARTED_WITH):
        setattr(scheduler, _STARTED_WITH, config.long_prefill_token_threshold)
    wanted: int = getattr(scheduler, _STARTED_WITH) if threshold is None else threshold
    if threshold is not None and not 0 <= threshold <= scheduler.max_model_len:
        raise ValueError(f"long_prefill_token_threshold must be between 0 and max_model_len {scheduler.max_model_len}, got {threshold}")
    if threshold and not config.enable_chunked_prefill:
        raise ValueError(f"long_prefill_token_threshold {threshold} needs chunked prefill, which is off in this engine")
    config.long_prefill_token_threshold = wanted


def _check(name: str, value: int, compiled_maximum: int) -> None:
    if not 1 <= value <= compiled_maximum:
        raise ValueError(f"{name} must be between 1 and the compiled maximum {compiled_maximum}, got {value}")


def describe_runner(worker: Any) -> dict[str, Any]:
    """What a worker's model runner knows. (On a slice it runs in the workers' processes.)"""
    runner = worker.model_runner
    implementations = getattr(runner, "_tuner_kv_implementations", None)
    return {
        "kv_write": f"{implementations.token_implementation},{implementations.page_implementation}"
        if implementations is not None
        else None,
        "kv_write_us": implementations.measured_us if implementations is not None else {},
        "token_buckets": list(runner.num_tokens_paddings),
        "kv_cache_dtype": str(runner.kv_caches[0].dtype) if runner.kv_caches else None,
    }


def tuner_describe(self: Any) -> dict[str, Any]:
    """What the engine really runs: scheduler class, alignment, token buckets, KV write implementations (None before the first step)."""
    scheduler = self.scheduler
    ledger = getattr(scheduler, "_ledger", None)
    here = getattr(self.model_executor, "driver_worker", None)
    return {
        "scheduler_cls": f"{type(scheduler).__module__}.{type(scheduler).__qualname__}",
        "page_aligned": bool(getattr(scheduler, "page_aligned", False)),
        "alignment_variant": ledger.variant.value if ledger is not None else None,
        "unaligned_steps": getattr(scheduler, "unaligned_steps", 0),
        "max_num_scheduled_tokens": scheduler.max_num_scheduled_tokens,
        "max_num_running_reqs": scheduler.max_num_running_reqs,
        **(describe_runner(here.worker) if here is not None else self.model_executor.collective_rpc(describe_runner)[0]),
    }


def install() -> None:
    """Add the methods. Idempotent."""
    from vllm.v1.engine.core import EngineCore

    EngineCore.tuner_reconfigure = tuner_reconfigure
    EngineCore.tuner_describe = tuner_describe

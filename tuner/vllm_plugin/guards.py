"""What page-aligned scheduling and backend TUNER_RPA do not support, refused with an error that names the setting."""

from __future__ import annotations

from typing import Any

from vllm.config import VllmConfig
from vllm.logger import init_logger

from tuner.vllm_plugin.cpu import runs_without_tpu
from tuner.vllm_plugin.settings import parse_settings

logger = init_logger("vllm.tuner_plugin.guards")

OUR_SCHEDULERS = ("tuner.vllm_plugin.scheduler.PageAlignedScheduler", "tuner.vllm_plugin.scheduler.AsyncPageAlignedScheduler")


RPA_BACKEND = "tuner_rpa"


def uses_our_scheduler(vllm_config: VllmConfig) -> bool:
    """Whether scheduler_cls (a class or its dotted name) is one of ours."""
    chosen: Any = vllm_config.scheduler_config.scheduler_cls
    name = chosen if isinstance(chosen, str) else f"{getattr(chosen, '__module__', '')}.{getattr(chosen, '__qualname__', '')}"
    return name in OUR_SCHEDULERS


def check_scheduler_config(vllm_config: VllmConfig, scheduler_is_async: bool) -> None:
    """Raise ValueError for a combination whose tokens would be wrong or that was never verified.

    A synchronous scheduler class under async scheduling gave wrong tokens without any error, and the other way round it stalls.
    """
    is_async = bool(vllm_config.scheduler_config.async_scheduling)
    if is_async and not scheduler_is_async:
        raise ValueError(
            "async_scheduling is on but scheduler_cls is PageAlignedScheduler: pass --no-async-scheduling or use AsyncPageAlignedScheduler"
        )
    if scheduler_is_async and not is_async:
        raise ValueError(
            "async_scheduling is off but scheduler_cls is AsyncPageAlignedScheduler: use PageAlignedScheduler or pass --async-scheduling"
        )
    check_unsupported(vllm_config)


def check_unsupported(vllm_config: VllmConfig) -> None:
    """Raise ValueError for data parallelism, speculative decoding, KV connectors; warn about what was never tested."""
    if vllm_config.parallel_config.data_parallel_size > 1:
        raise ValueError(
            f"data_parallel_size {vllm_config.parallel_config.data_parallel_size} is not supported with page-aligned scheduling "
            "(tpu-inference replaces the scheduler): pass --data-parallel-size 1 or drop --scheduler-cls"
        )
    if vllm_config.speculative_config is not None:
        raise ValueError("speculative_config is not supported with page-aligned scheduling: drop --speculative-config or --scheduler-cls")
    if vllm_config.kv_transfer_config is not None:
        raise ValueError("kv_transfer_config is not supported with page-aligned scheduling: drop --kv-transfer-config or --scheduler-cls")
    unit = getattr(vllm_config.cache_config, "prefix_match_unit", None)
    if unit is not None and unit % vllm_config.cache_config.block_size:
        raise ValueError(f"prefix_match_unit {unit} lets prefix hits end inside a page: leave --prefix-match-unit unset")
    if vllm_config.lora_config is not None:
        logger.warning("LoRA with page-aligned scheduling is untested")
    if getattr(vllm_config.model_config, "is_multimodal_model", False):
        logger.warning("multimodal input with page-aligned scheduling is untested")


def uses_rpa_backend(vllm_config: VllmConfig) -> bool:
    """Whether --attention-backend is TUNER_RPA."""
    backend = vllm_config.attention_config.backend
    return backend is not None and backend.name.lower() == RPA_BACKEND


def check_rpa_backend(vllm_config: VllmConfig) -> None:
    """Raise ValueError where TUNER_RPA cannot run, or would not be what runs."""
    import jax.numpy as jnp
    from tpu_inference import envs
    from tpu_inference.models.common.model_loader import resolve_model_impl_type
    from tpu_inference.utils import to_jax_dtype

    option = f"--attention-backend {RPA_BACKEND.upper()}"
    if runs_without_tpu():
        raise ValueError(f"{option} needs a TPU, since only that runs Pallas TPU kernels: use --attention-backend TUNER_XLA")
    if envs.USE_BATCHED_RPA_KERNEL:
        raise ValueError(f"{option} runs ragged paged attention v3: unset USE_BATCHED_RPA_KERNEL")
    if resolve_model_impl_type(vllm_config) != "vllm":
        raise ValueError(f"{option} is honoured in vLLM's own models only: set MODEL_IMPL_TYPE=vllm")
    if vllm_config.model_config.get_head_size() == 64:
        raise ValueError(f"{option} does not support heads of 64, whose stock kernel always writes the KV cache itself: drop it")
    cache_dtype = vllm_config.cache_config.cache_dtype
    if cache_dtype != "auto" and not jnp.issubdtype(to_jax_dtype(cache_dtype), jnp.floating):
        raise ValueError(f"{option} does not support kv_cache_dtype {cache_dtype}: use auto or a floating-point one")
    if parse_settings(vllm_config.additional_config).token_implementation is not None:
        raise ValueError(f"{option} writes by DMA: drop additional_config tuner.kv_write, which chooses among XLA operations")


def install_platform_guard() -> None:
    """Check before tpu-inference swaps the scheduler class for data parallelism (its dp_scheduler), when ours would be gone silently."""
    from tpu_inference.platforms.tpu_platform import TpuPlatform

    original = TpuPlatform.check_and_update_config
    if getattr(original, "_tuner_guard", False):
        return

    def guarded(cls: Any, vllm_config: VllmConfig) -> None:
        ours = uses_our_scheduler(vllm_config)
        if ours:
            check_unsupported(vllm_config)
        if uses_rpa_backend(vllm_config):
            check_rpa_backend(vllm_config)
        original.__func__(cls, vllm_config)
        if ours and vllm_config.sharding_config.total_dp_size > 1:
            raise ValueError(
                f"data parallelism of {vllm_config.sharding_config.total_dp_size} (enable_dp_attention) is not supported with page-aligned "
                "scheduling: switch enable_dp_attention off or drop --scheduler-cls"
            )

    guarded._tuner_guard = True  # type: ignore[attr-defined]
    TpuPlatform.check_and_update_config = classmethod(guarded)

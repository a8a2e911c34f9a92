"""What vLLM is told for our engine settings: engine arguments, scheduler class, attention backend, KV pool. Pure."""

from __future__ import annotations

from tuner.core.contract import EngineSettings, Json
from tuner.core.errors import BadInput
from tuner.core.settings import declared_settings

SYNC_SCHEDULER = "tuner.vllm_plugin.scheduler.PageAlignedScheduler"
ASYNC_SCHEDULER = "tuner.vllm_plugin.scheduler.AsyncPageAlignedScheduler"
CPU_POOL_HEADROOM = 2.0
OUR_BACKENDS = ("tuner_xla", "tuner_rpa")  # of the plugin; vLLM has them in its own models only

# The flags of a recommendation come in the order of the arguments, which stays from version to version.
_FIRST = ("model", "skip_tokenizer_init", "dtype", "load_format")

# Field of EngineSettings -> vLLM's argument of the same value.
_TAKEN_AS_THEY_ARE = {
    name: setting.vllm for name, setting in declared_settings(EngineSettings).items() if setting.vllm is not None and setting.as_is
}


def scheduler_for(settings: EngineSettings) -> str:
    """The --scheduler-cls of page-aligned scheduling: vLLM needs another class for asynchronous scheduling."""
    return ASYNC_SCHEDULER if settings.async_scheduling else SYNC_SCHEDULER


def attention_backend_for(settings: EngineSettings, platform: str) -> str:
    """ "auto" is the Pallas kernel of tpu-inference (rpa) on a TPU and our XLA backend elsewhere. Raises BadInput for a Pallas kernel
    without a TPU."""
    asked = settings.attention_backend
    if asked in ("rpa", "tuner_rpa") and platform != "tpu":
        raise BadInput(f"attention_backend {asked} needs a TPU, the platform here is {platform}: use attention_backend tuner_xla or auto")
    if settings.attention_backend != "auto":
        return settings.attention_backend
    return "rpa" if platform == "tpu" else "tuner_xla"


def pool_pages(settings: EngineSettings) -> int:
    """Size of the KV cache without a TPU, in pages: room for every running request at its maximum length, twice over, and the null page.
    (By itself the engine would take half of the host's memory.)"""
    per_request = -(-settings.max_model_len // settings.block_size)
    return int(CPU_POOL_HEADROOM * settings.max_num_seqs * per_request) + 1


def engine_args(settings: EngineSettings, platform: str) -> Json:
    """vLLM's EngineArgs. With `settings.alignable` the engine gets our scheduler class, which can run both arms; else vLLM's own."""
    additional: Json = {"tuner": {"variant": settings.alignment_variant, "kv_write": settings.kv_write}}
    args: Json = {name: getattr(settings, field) for field, name in _TAKEN_AS_THEY_ARE.items()}
    args |= {"skip_tokenizer_init": True, "disable_log_stats": True}
    args = {**{name: args[name] for name in _FIRST}, **args}
    if settings.alignable:
        args["scheduler_cls"] = scheduler_for(settings)
    backend = attention_backend_for(settings, platform)
    if backend in OUR_BACKENDS:
        args["attention_backend"] = backend.upper()
    if platform != "tpu":
        additional["sharding"] = {"sharding_strategy": {"device_indexes": [0]}}  # host devices have no coordinates
        args["num_gpu_blocks_override"] = pool_pages(settings)
    if settings.num_gpu_blocks is not None:
        args["num_gpu_blocks_override"] = settings.num_gpu_blocks
    extra = dict(settings.extra_engine_args)
    args["additional_config"] = _merge(extra.pop("additional_config", {}), additional)
    return {**args, **extra}


def _merge(base: Json, over: Json) -> Json:
    merged = dict(base)
    for key, value in over.items():
        merged[key] = _merge(merged[key], value) if isinstance(merged.get(key), dict) and isinstance(value, dict) else value
    return merged

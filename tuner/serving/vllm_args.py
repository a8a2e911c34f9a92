"""A measured configuration as `vllm serve` takes it: argument names, command-line flags and environment. Pure.

It starts from the very arguments that the local launcher measured with (tuner.serving.engine_args) and takes out what only the
measuring needed, so what is recommended is what was measured.
"""

from __future__ import annotations

import json

from storage.records import Json, Trial
from tuner.core.contract import ARM_PAGE_ALIGNED, SETTINGS, EngineSettings
from tuner.core.settings import ALWAYS
from tuner.engine.environment import WITHOUT_TPU
from tuner.serving.engine_args import OUR_BACKENDS, attention_backend_for, engine_args
from tuner.serving.stored_settings import measured_kv_write, settings_of

_ONLY_FOR_MEASURING = {"disable_log_stats"}
_VLLM_DEFAULTS = {setting.vllm: setting.vllm_default for setting in SETTINGS.values() if setting.vllm_default is not ALWAYS}


def vllm_config(trial: Trial, platform: str) -> Json:
    """The trial's configuration under vLLM's argument names, as `vllm serve --config` takes it. `platform`: "tpu", "cpu" or "cuda"."""
    return served_config(settings_of(trial), trial.arm, platform, measured_kv_write(trial))


def served_config(settings: EngineSettings, arm: str, platform: str, chosen_kv_write: str | None = None) -> Json:
    """`vllm_config` of an engine with exactly these settings; `chosen_kv_write`: the implementations that it chose by itself."""
    args = {name: value for name, value in engine_args(settings, platform).items() if name not in _ONLY_FOR_MEASURING}
    if settings.load_format != "dummy":  # a model with real weights has its tokenizer
        args.pop("skip_tokenizer_init", None)
    args = {name: value for name, value in args.items() if _VLLM_DEFAULTS.get(name) != value}
    additional = dict(args.pop("additional_config", {}))
    additional.pop("tuner", None)
    tuner = _plugin_settings(settings, arm, platform, chosen_kv_write)
    if tuner:
        additional["tuner"] = tuner
    if arm != ARM_PAGE_ALIGNED:
        args.pop("scheduler_cls", None)
    if additional:
        args["additional_config"] = additional
    return args


def vllm_flags(config: Json) -> list[str]:
    """Flags for `vllm serve MODEL`, in the order of `config`, without the model: one string per shell word, objects as JSON."""
    flags: list[str] = []
    for name, value in config.items():
        option = name.replace("_", "-")
        if name == "model" or value is None:
            continue
        if isinstance(value, bool):
            flags.append(f"--{option}" if value else f"--no-{option}")
        elif isinstance(value, dict):
            flags += [f"--{option}", json.dumps(value, separators=(",", ":"))]
        elif isinstance(value, list | tuple):
            flags += [f"--{option}", *map(str, value)]
        else:
            flags += [f"--{option}", str(value)]
    return flags


def vllm_environment(settings: EngineSettings, platform: str) -> dict[str, str]:
    """Environment variables that the flags need to work, and those that are settings themselves. Empty on a TPU with tpu-inference's own
    kernel, as it is."""
    return {**_needed_environment(settings, platform), **{name: str(value) for name, value in settings.env.items()}}


def _needed_environment(settings: EngineSettings, platform: str) -> dict[str, str]:
    if platform != "tpu":
        return {"JAX_PLATFORMS": platform, **WITHOUT_TPU}
    if attention_backend_for(settings, platform) in OUR_BACKENDS:
        return {"MODEL_IMPL_TYPE": WITHOUT_TPU["MODEL_IMPL_TYPE"]}
    return {}


def _plugin_settings(settings: EngineSettings, arm: str, platform: str, chosen_kv_write: str | None) -> Json:
    """The "tuner" part of --additional-config: the aligned arm's switch and variant, and the measured implementations of the KV write (XLA
    backend)."""
    tuner: Json = {}
    if arm == ARM_PAGE_ALIGNED:
        tuner |= {"page_aligned": True, "variant": settings.alignment_variant}
    if attention_backend_for(settings, platform) == "tuner_xla":
        if chosen_kv_write is not None:
            tuner["kv_write"] = chosen_kv_write
        elif settings.kv_write != "auto":
            tuner["kv_write"] = settings.kv_write
    return tuner

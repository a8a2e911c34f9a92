"""vLLM plugin (entry point `vllm.general_plugins`): loaded by vLLM in every one of its processes, imported by nobody else."""

from __future__ import annotations


def register() -> None:
    """Register our attention backends, the guards and, where there is no TPU, the accommodations. Idempotent: vLLM may call it
    repeatedly."""
    from tpu_inference.layers.common.attention_backend import register_attention_backend

    from tuner.vllm_plugin import cpu, engine_core, guards

    cpu.install()
    guards.install_platform_guard()
    engine_core.install()
    register_attention_backend("tuner_xla", attention=_make_xla, vllm_backend="tuner.vllm_plugin.attention.XlaPallasBackend")
    register_attention_backend(guards.RPA_BACKEND, attention=_make_rpa, vllm_backend="tuner.vllm_plugin.rpa.RpaPallasBackend")


def _make_xla() -> object:
    from tuner.vllm_plugin.attention import XlaAttentionBackend

    return XlaAttentionBackend()


def _make_rpa() -> object:
    from tuner.vllm_plugin.rpa import WriteThenRpaBackend

    return WriteThenRpaBackend()

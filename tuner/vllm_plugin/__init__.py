"""vLLM plugin (entry point `vllm.general_plugins`): loaded by vLLM in every one of its processes, imported by nobody else."""

from __future__ import annotations


def register() -> None:
    """Register the XLA attention backend, the guards and, where there is no TPU, the accommodations. Idempotent: vLLM may call it
    repeatedly."""
    from tpu_inference.layers.common.attention_backend import register_attention_backend

    from tuner.vllm_plugin import cpu, engine_core, guards

    cpu.install()
    guards.install_platform_guard()
    engine_core.install()
    register_attention_backend("tuner_xla", attention=_make_backend, vllm_backend="tuner.vllm_plugin.attention.XlaPallasBackend")


def _make_backend() -> object:
    from tuner.vllm_plugin.attention import XlaAttentionBackend

    return XlaAttentionBackend()

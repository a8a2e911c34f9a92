"""Chooses, for each step of tpu-inference's model runner, how our backends write the KV cache.

The choice is a JAX user context, which is part of the jit cache key: the token-wise and the page-wise program coexist in one engine, and
switching between them costs nothing. Page-wise is chosen only for a step that PageAlignedScheduler stamped, so that page-wise writes
without aligned scheduling cannot be configured.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import jax

from tuner.vllm_plugin.calibrate import fastest_implementations
from tuner.vllm_plugin.guards import uses_our_scheduler, uses_rpa_backend
from tuner.vllm_plugin.scheduler import PAGE_WISE_ATTRIBUTE
from tuner.vllm_plugin.settings import parse_settings

BY_DMA = "dma"  # the implementation of both writes in backend TUNER_RPA (kv_write_tpu.py)


@dataclass(frozen=True)
class KvWriteChoice:
    page_wise: bool
    implementation: str


_make_context: Any = jax.make_user_context
kv_write_choice = _make_context(default_value=KvWriteChoice(page_wise=False, implementation="scatter"))


@dataclass(frozen=True)
class KvWriteImplementations:
    """The implementations this engine uses, and the times that decided: microseconds per write, by name; empty when they were given."""

    token_implementation: str
    page_implementation: str
    measured_us: dict[str, float]

    def choice(self, page_wise: bool) -> KvWriteChoice:
        return KvWriteChoice(page_wise, self.page_implementation if page_wise else self.token_implementation)


def implementations_of(runner: Any) -> KvWriteImplementations:
    """The runner's implementations: as configured, else measured once on its device for its cache's shape. TUNER_RPA has one of each."""
    implementations: KvWriteImplementations | None = getattr(runner, "_tuner_kv_implementations", None)
    if implementations is None:
        settings = parse_settings(runner.vllm_config.additional_config)
        if uses_rpa_backend(runner.vllm_config):
            implementations = KvWriteImplementations(BY_DMA, BY_DMA, {})
        elif settings.token_implementation is not None and settings.page_implementation is not None:
            implementations = KvWriteImplementations(settings.token_implementation, settings.page_implementation, {})
        else:
            cache = runner.kv_caches[0]
            implementations = KvWriteImplementations(
                *fastest_implementations(cache.shape, cache.dtype, runner.max_num_tokens, runner.max_num_reqs)
            )
        runner._tuner_kv_implementations = implementations
    return implementations


def install_runner_hook() -> None:
    """Wrap TPUModelRunner.execute_model and capture_model. Idempotent."""
    from tpu_inference.runner.tpu_runner import TPUModelRunner

    if getattr(TPUModelRunner, "_tuner_hooked", False):
        return
    TPUModelRunner._tuner_hooked = True
    execute, capture = TPUModelRunner.execute_model, TPUModelRunner.capture_model

    @functools.wraps(execute)
    def execute_model(self: Any, scheduler_output: Any, *args: Any, **kwargs: Any) -> Any:
        page_wise = bool(getattr(scheduler_output, PAGE_WISE_ATTRIBUTE, False))
        with kv_write_choice(implementations_of(self).choice(page_wise)):
            return execute(self, scheduler_output, *args, **kwargs)

    @functools.wraps(capture)
    def capture_model(self: Any) -> None:
        aligned = uses_our_scheduler(self.vllm_config) and parse_settings(self.vllm_config.additional_config).page_aligned
        with kv_write_choice(implementations_of(self).choice(aligned)):
            capture(self)

    TPUModelRunner.execute_model = execute_model
    TPUModelRunner.capture_model = capture_model

"""What tpu-inference needs to run on a JAX backend that is not a TPU. Every function here is inert on a TPU: `install()` returns at once.

Each accommodation replaces one attribute of one tpu-inference module; no installed file is changed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

GIB = 1024**3


def runs_without_tpu() -> bool:
    """Whether JAX was told to use something else than a TPU (JAX_PLATFORMS=cpu or cuda). Unset means: JAX decides, on a TPU host the
    TPU."""
    platforms = [name for name in os.environ.get("JAX_PLATFORMS", "").lower().split(",") if name]
    pretending = bool(os.environ.get("TUNER_COMPILES_FOR"))  # tuner.foresight: on the CPU, but for a TPU
    return not pretending and bool(platforms) and not any(name in ("tpu", "proxy") for name in platforms)


def install() -> bool:
    """Install the accommodations; returns whether they were needed. Idempotent."""
    if not runs_without_tpu():
        return False
    _drop_tpu_compiler_options()
    _report_host_memory()
    _copy_host_buffers()
    _clone_before_conversion()
    return True


def _drop_tpu_compiler_options() -> None:
    """XLA:CPU refuses the xla_tpu_* options. Must run before the sampling module is imported."""
    from tpu_inference.models.common import compiler_options

    compiler_options.get_step_fn_compiler_options = dict
    compiler_options.get_sampling_compiler_options = dict


def _report_host_memory() -> None:
    """`memory_stats()` is None on CPU devices: report a fraction of the host's free memory as the device's."""
    from tpu_inference import utils

    utils.get_device_hbm_limit = host_memory_limit_bytes


def host_memory_limit_bytes() -> int:
    """Half of the memory that the host has available now, at least 1 GiB."""
    with Path("/proc/meminfo").open() as lines:
        available_kib = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    return max(GIB, available_kib * 1024 // 2)


def _copy_host_buffers() -> None:
    """On CPU `device_put` aliases numpy buffers, and the runner reuses them for the next step while this one may still read: wrong tokens
    without an error under async scheduling."""
    import jax
    import numpy as np
    from tpu_inference import utils

    original = utils.general_device_put
    if getattr(original, "_tuner_copies", False):
        return

    def general_device_put(tensor: Any, *args: Any, **kwargs: Any) -> Any:
        copied = jax.tree_util.tree_map(lambda leaf: np.array(leaf) if isinstance(leaf, np.ndarray) else leaf, tensor)
        return original(copied, *args, **kwargs)

    general_device_put._tuner_copies = True  # type: ignore[attr-defined]
    utils.general_device_put = general_device_put


def _clone_before_conversion() -> None:
    """float32 weights: tpu-inference frees the torch storage with resize_(0) although JAX shares it. Convert a clone instead."""
    from tpu_inference.layers.vllm.quantization import unquantized

    original = unquantized.t2j
    if getattr(original, "_tuner_clones", False):
        return

    def t2j(tensor: Any, *args: Any, **kwargs: Any) -> Any:
        return original(tensor.clone() if hasattr(tensor, "clone") else tensor, *args, **kwargs)

    t2j._tuner_clones = True  # type: ignore[attr-defined]
    unquantized.t2j = t2j

"""Where an engine runs: platform choice, process environment, versions, accelerator and the effective configuration. Standard library at
import time."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuner.core.defaults import cache_root

Json = dict[str, Any]

PACKAGES = ("vllm-tpu", "vllm", "tpu-inference", "jax", "jaxlib", "libtpu", "torch", "vllm-tpu-tuner")
PLATFORMS = ("auto", "tpu", "cpu")

# What vLLM on TPU needs where JAX has no TPU; see the plugin's cpu.py for the code side.
WITHOUT_TPU: Mapping[str, str] = {
    "MODEL_IMPL_TYPE": "vllm",  # registered attention backends are honoured only there
    "SKIP_JAX_PRECOMPILE": "1",
    "TPU_ACCELERATOR_TYPE": "v6e-1",
    "TPU_NAME": "none",
    "TPU_WORKER_ID": "0",
    "VLLM_WORKER_MULTIPROC_METHOD": "fork",
}
LOOPBACK = ("127.0.0.1", "localhost", "::1")
ALWAYS: Mapping[str, str] = {
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the host owns the engine core in its own process
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
}


def tpu_present() -> bool:
    """Whether this machine shows TPU chips (/dev/accel* or VFIO groups), without loading libtpu."""
    devices = Path("/dev")
    return any(devices.glob("accel[0-9]*")) or any(devices.glob("vfio/[0-9]*"))


def resolve_platform(asked: str) -> str:
    """ "auto" -> what is there. Raises ValueError for "tpu" where there is none and for an unknown word."""
    if asked not in PLATFORMS:
        raise ValueError(f"platform must be one of {', '.join(PLATFORMS)}, got {asked!r}")
    if asked == "tpu" and not tpu_present():
        raise ValueError("platform tpu: no TPU found on this machine (no /dev/accel*, no /dev/vfio/<n>); use --platform auto or cpu")
    if asked == "auto":
        forced = os.environ.get("JAX_PLATFORMS", "").split(",")[0]
        return "tpu" if tpu_present() and forced in ("", "tpu") else forced or "cpu"
    return asked


def xla_cache_path() -> Path:
    """The persistent XLA cache, keyed by the versions that compiled it."""
    words = json.dumps({name: package_version(name) for name in ("jaxlib", "libtpu", "vllm-tpu", "tpu-inference")}, sort_keys=True)
    return cache_root() / "xla" / hashlib.sha256(words.encode()).hexdigest()[:12]


def use_xla_cache() -> None:
    """Name the cache to vLLM, unless the user has. To be called in the engine's own Python: its versions count, not its client's."""
    os.environ.setdefault("VLLM_XLA_CACHE_PATH", str(xla_cache_path()))


def engine_environment(platform_name: str, offline: bool) -> dict[str, str]:
    """The environment for an engine process. What the user set explicitly wins, except for the settings the host depends on."""
    env = dict(os.environ)
    env.update(ALWAYS)
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # importing vLLM without byte code takes two to three times as long, every time
    _leave_loopback_alone(env)
    if offline:
        env["HF_HUB_OFFLINE"] = env["TRANSFORMERS_OFFLINE"] = "1"
    if platform_name != "tpu":
        env["JAX_PLATFORMS"] = platform_name
        for name, value in WITHOUT_TPU.items():
            env.setdefault(name, value)
    return env


def _leave_loopback_alone(env: dict[str, str]) -> None:
    """A proxy is for other machines: `vllm bench serve` honours HTTP_PROXY and would ask it for the server on this one."""
    asked = ",".join(filter(None, (env.get("no_proxy"), env.get("NO_PROXY"))))
    names = [name.strip() for name in asked.split(",") if name.strip()]
    if "*" not in names:  # none at all
        value = ",".join(dict.fromkeys([*names, *LOOPBACK]))
        env["no_proxy"] = env["NO_PROXY"] = value  # some libraries read one, some the other


@functools.cache
def package_version(name: str) -> str | None:
    """As it was when first asked: looking through what is installed takes milliseconds, and this process runs what it began with."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def versions() -> dict[str, str]:
    """Versions of what decides a measurement; absent packages are left out."""
    found = {name.replace("-", "_"): version for name in PACKAGES if (version := package_version(name)) is not None}
    return {**found, "python": platform.python_version()}


def describe_environment() -> Json:
    """Fields of storage.records.Environment for this process. Initialises JAX."""
    import jax

    devices = jax.devices()
    kind = devices[0].device_kind
    backend = devices[0].platform
    accelerator = f"{kind}-{len(devices)}" if backend == "tpu" else cpu_name() if backend == "cpu" else kind
    details = {"device_kind": kind, "cores": os.cpu_count(), "memory_gib": _memory_gib()}
    found: Json = {
        "platform": backend,
        "accelerator": accelerator,
        "device_count": len(devices),
        "versions": versions(),
        "details": details,
    }
    return {"fingerprint": fingerprint(found), **found}


def fingerprint(fields: Json) -> str:
    """SHA-256 of the canonical JSON."""
    return hashlib.sha256(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def cpu_name() -> str:
    """The accelerator of an environment without one: this machine's processor."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return f"cpu {platform.machine()} {model} x{os.cpu_count()}"


def _memory_gib() -> float:
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return round(pages / 1024**3, 1)


def configured(config: Any) -> Json:
    """vLLM's configuration under vLLM's argument names, after its platform changed what it wanted to change."""
    backend = config.attention_config.backend
    scheduler = config.scheduler_config.get_scheduler_cls()
    return {
        "model": config.model_config.model,
        "dtype": str(config.model_config.dtype).removeprefix("torch."),
        "max_model_len": config.model_config.max_model_len,
        "block_size": config.cache_config.block_size,
        "num_gpu_blocks": config.cache_config.num_gpu_blocks or config.cache_config.num_gpu_blocks_override,
        "kv_cache_dtype": _kv_dtype(config),
        "enable_prefix_caching": bool(config.cache_config.enable_prefix_caching),
        "max_num_batched_tokens": config.scheduler_config.max_num_batched_tokens,
        "max_num_seqs": config.scheduler_config.max_num_seqs,
        "async_scheduling": bool(config.scheduler_config.async_scheduling),
        "tensor_parallel_size": config.parallel_config.tensor_parallel_size,
        "attention_backend": backend.name.lower() if backend is not None else "rpa",
        "scheduler_cls": f"{scheduler.__module__}.{scheduler.__qualname__}",
    }


def _kv_dtype(config: Any) -> str:
    """What the configuration makes of it: "auto" is the model's own."""
    asked = str(config.cache_config.cache_dtype)
    return str(config.model_config.dtype).removeprefix("torch.") if asked == "auto" else asked


def effective_config(engine: Any) -> Json:
    """The configuration that the engine really runs, vLLM's names: platforms override settings behind the user's back."""
    described: Json = engine.engine_core.engine_core.tuner_describe()
    running = ("scheduler_cls", "alignment_variant", "kv_write", "kv_write_us", "token_buckets", "kv_cache_dtype")
    return configured(engine.vllm_config) | {name: described[name] for name in running}

"""Backend TUNER_RPA beside the installed tpu-inference, in a process of its own (the import takes 10 s or more).

    python -m tests.tuner.vllm_plugin.rpa_probe compile > ANSWERS.json
    python -m tests.tuner.vllm_plugin.rpa_probe write guard > ANSWERS.json

"write": our backend's write in interpret mode, on two devices of the CPU, against the cache that tpu-inference's own plain reference
leaves. "compile": the backend's attention compiled for TPUs that are not here. "guard": what is refused before an engine starts.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from tuner.foresight.compiler import compiling_environment
from tuner.foresight.target import target_of

TOKENS, REQUESTS, PAGES_PER_REQUEST, PAGE, HEADS, KV_HEADS, DIM = 32, 4, 4, 16, 8, 4, 128
OPTIONS: dict[str, Any] = {
    "head_dim_original": DIM, "sm_scale": 0.1, "attention_chunk_size": None, "q_scale": None, "k_scale": None, "v_scale": None,
    "sinks": None, "update_kv_cache": True, "use_causal_mask": True, "attn_logits_soft_cap": None, "decode_query_size": 1,
}  # fmt: skip


def main() -> None:
    names = sys.argv[1:]
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)  # vLLM logs to standard output
        if names == ["compile"]:
            os.environ.update(compiling_environment(target_of("v6e-4", 1), "/"))
        else:
            os.environ.update({"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=2"})
        asked: dict[str, Callable[[], Any]] = {"write": _writes, "compile": _compiles, "guard": _guards}
        json.dump({name: asked[name]() for name in names}, answers)


def _backend() -> Any:
    return importlib.import_module("tuner.vllm_plugin.rpa").WriteThenRpaBackend()


def _mesh(devices: Any) -> Any:
    """As tpu-inference's runner makes it, as far as attention looks at it."""
    import jax
    import numpy as np

    return jax.sharding.Mesh(np.array(devices).reshape(1, len(devices)), ("data", "model"))


def _writes() -> dict[str, bool]:
    """Whether our cache equals the reference's, by form and dtype: a decode, a whole page, a page and a bit, and padding."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax.experimental.pallas import tpu as pltpu
    from tpu_inference.kernels.ragged_paged_attention.v3.kernel import ref_ragged_paged_attention

    from tuner.vllm_plugin.rpa import _written
    from tuner.vllm_plugin.runner_hook import BY_DMA, KvWriteChoice, kv_write_choice

    rng, found = np.random.default_rng(0), {}
    seq_lens, starts = jnp.asarray([18, 12, 16 + 18, 0], jnp.int32), jnp.asarray([0, 1, 13, 31, 31], jnp.int32)
    tables = jnp.asarray(1 + rng.permutation(REQUESTS * PAGES_PER_REQUEST), jnp.int32)
    metadata = (seq_lens, tables, starts, jnp.asarray([1, 1, 3], jnp.int32))
    mesh = _mesh(jax.devices()[:2])
    for dtype in ("float32", "bfloat16", "float8_e4m3fn"):
        q, k, v = (jnp.asarray(rng.normal(size=(TOKENS, heads, DIM)), dtype) for heads in (HEADS, KV_HEADS, KV_HEADS))
        shape = _backend().get_kv_cache_shape(1 + REQUESTS * PAGES_PER_REQUEST, PAGE, KV_HEADS, DIM, k.dtype)
        cache = jnp.asarray(rng.normal(size=shape), dtype)
        _, expected = ref_ragged_paged_attention(q, k, v, cache, *metadata)
        for page_wise in (False, True):
            with kv_write_choice(KvWriteChoice(page_wise, BY_DMA)), pltpu.force_tpu_interpret_mode():
                ours = jax.jit(_written, static_argnames="mesh")(cache, k, v, metadata, mesh=mesh)
            same = np.asarray(ours).tobytes() == np.asarray(expected).tobytes()
            found[f"{dtype} {'page' if page_wise else 'token'}"] = same and np.asarray(ours).tobytes() != np.asarray(cache).tobytes()
    return found


def _compiles() -> dict[str, dict[str, Any]]:
    """By chip and form: what the compiled attention of two devices takes, and its kernels."""
    import jax
    import jax.numpy as jnp
    from jax.sharding import NamedSharding

    from tuner.foresight.pretence import Shape, Spec, topology_devices
    from tuner.vllm_plugin.runner_hook import BY_DMA, KvWriteChoice, kv_write_choice

    backend, found = _backend(), {}
    for name in ("v5e-4", "v6e-4", "7x-8"):
        devices = topology_devices(target_of(name, 1).topology)[:2]
        jax.devices = lambda *_, devices=devices: devices  # the kernel asks which TPU it is
        mesh = _mesh(devices)

        def shape(size: tuple[int, ...], dtype: Any = jnp.int32, spec: Any = Spec(), mesh: Any = mesh) -> Any:  # noqa: B008
            return Shape(size, dtype, sharding=NamedSharding(mesh, spec))

        cache_size = list(backend.get_kv_cache_shape(1024, 128, KV_HEADS // 2, DIM, jnp.bfloat16))
        cache_size[2] *= 2
        cache = shape(tuple(cache_size), jnp.bfloat16, Spec(None, None, "model"))
        q, k, v = (shape((256, heads, DIM), jnp.bfloat16, Spec(None, "model")) for heads in (HEADS, KV_HEADS, KV_HEADS))
        metadata = tuple(shape((size,)) for size in (REQUESTS, 16 * REQUESTS, REQUESTS + 1, 3))

        def attend(cache: Any, q: Any, k: Any, v: Any, metadata: Any, mesh: Any = mesh) -> Any:
            names = ("seq_lens", "block_tables", "query_start_loc", "request_distribution")
            md = SimpleNamespace(pcp=None, **dict(zip(names, metadata, strict=True)))
            return backend.attention(cache, q, k, v, md, md, mesh, **OPTIONS)

        for page_wise in (False, True):
            with kv_write_choice(KvWriteChoice(page_wise, BY_DMA)), jax.set_mesh(mesh):
                compiled: Any = jax.jit(attend, donate_argnums=0).lower(cache, q, k, v, metadata).compile()
            stats, text = compiled.memory_analysis(), compiled.as_text()
            found[f"{name} {'page' if page_wise else 'token'}"] = {
                "cache_bytes": 1024 * 128 * KV_HEADS * DIM * 2,  # of one of two devices: keys and values of half the heads
                "temporary_bytes": stats.temp_size_in_bytes,
                "alias_bytes": stats.alias_size_in_bytes,
                "kernels": [kernel for kernel in ("tuner_token_kernel", "tuner_page_kernel", "RPAd-", "RPAm-") if kernel in text],
            }
    return found


def _guards() -> dict[str, str]:
    """What is said of settings that TUNER_RPA cannot run with, as if on a TPU but for the first; "" where nothing is refused."""
    from tpu_inference import envs

    guards = importlib.import_module("tuner.vllm_plugin.guards")
    model = SimpleNamespace(get_head_size=lambda: 128)
    fine = SimpleNamespace(model_config=model, cache_config=SimpleNamespace(cache_dtype="auto"), additional_config={})
    small = replace_in(fine, model_config=SimpleNamespace(get_head_size=lambda: 64))
    os.environ["MODEL_IMPL_TYPE"] = "vllm"
    found = {"without a TPU": _refusal(fine)}
    guards.runs_without_tpu = lambda: False  # type: ignore[attr-defined]
    found["nothing"] = _refusal(fine)
    found["heads of 64"] = _refusal(small)
    for dtype in ("fp8", "bfloat16", "int8"):
        found[dtype] = _refusal(replace_in(fine, cache_config=SimpleNamespace(cache_dtype=dtype)))
    found["kv_write"] = _refusal(replace_in(fine, additional_config={"tuner": {"kv_write": "loop,loop"}}))
    os.environ["MODEL_IMPL_TYPE"] = "flax_nnx"
    found["native model"] = _refusal(fine)
    os.environ |= {"MODEL_IMPL_TYPE": "vllm", "USE_BATCHED_RPA_KERNEL": "1"}
    assert envs.USE_BATCHED_RPA_KERNEL
    found["batched kernel"] = _refusal(fine)
    return found


def replace_in(config: SimpleNamespace, **changes: Any) -> SimpleNamespace:
    return SimpleNamespace(**{**vars(config), **changes})


def _refusal(config: Any) -> str:
    from tuner.vllm_plugin.guards import check_rpa_backend

    try:
        check_rpa_backend(config)
    except ValueError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    main()

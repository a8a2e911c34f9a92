"""Makes vLLM and tpu-inference believe that a TPU is here: the devices of a libtpu topology, shapes in place of arrays. In the compiler
process only, which runs nothing on any device and ends when its one engine is compiled.

Each replacement stands here, so that a new tpu-inference is adapted to in one place. Versions: tpu-inference 0.32.0, JAX 0.11.2.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax._src.pallas.mosaic.error_handling import MosaicError
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

_OVERSIZE_BYTES = 1 << 42  # more than any device has: the compiler says what it has in refusing it
_AVAILABLE = re.compile(r"exceeds available HBM \((\d+(?:\.\d+)?)G\)")
GIB = 1 << 30

# The compiler's, and those of kernels that refuse their settings.
REFUSALS: tuple[type[Exception], ...] = (jax.errors.JaxRuntimeError, MosaicError, ValueError, NotImplementedError)
Shape: Any = jax.ShapeDtypeStruct  # untyped in JAX 0.11.2, as is the specification
Spec: Any = PartitionSpec


def topology_devices(name: str) -> list[Any]:
    """The devices of a topology, for compiling only. Raises RuntimeError with libtpu's words where it does not know the name."""
    return list(topologies.get_topology_desc(platform="tpu", topology_name=name).devices)


def usable_hbm_bytes(device: Any) -> int:
    """What the compiler lets one program have on this device. Raises RuntimeError where it does not say (another libtpu)."""
    where = NamedSharding(Mesh(np.array([device]), ("x",)), Spec())
    too_much = Shape((_OVERSIZE_BYTES >> 20, 1 << 20), jnp.uint8, sharding=where)
    try:
        jax.jit(lambda array: array[0, :8]).lower(too_much).compile()
    except RuntimeError as error:
        if (found := _AVAILABLE.search(str(error))) is not None:
            return int(float(found.group(1)) * GIB)
        raise
    raise RuntimeError("this libtpu compiles a program of 4 TiB, so it cannot tell what fits; use another version")


def engine_config(engine_args: dict[str, Any]) -> Any:
    """vLLM's configuration after the platform's corrections. Raises what vLLM raises for arguments that it refuses."""
    from vllm.engine.arg_utils import EngineArgs
    from vllm.usage.usage_lib import UsageContext

    return EngineArgs(**engine_args).create_engine_config(usage_context=UsageContext.ENGINE_CONTEXT)


def take_over(devices: Sequence[Any]) -> None:
    """From here on JAX's public lists of devices name these, and what tpu-inference would put on them stays a shape."""
    from flax import nnx
    from tpu_inference import utils
    from tpu_inference.distributed import jax_parallel_state
    from tpu_inference.models.common import model_loader
    from tpu_inference.platforms.tpu_platform import TpuPlatform
    from tpu_inference.runner import kv_cache

    real_devices = jax.devices

    def our_devices(backend: str | None = None) -> list[Any]:
        return list(devices) if backend in (None, "tpu") else real_devices(backend)

    def abstract_model(model_class: Any, vllm_config: Any, rng: Any, mesh: Any, **_: Any) -> Any:
        with jax.set_mesh(mesh):
            return nnx.eval_shape(lambda: model_class(vllm_config, rng, mesh), graph_updates=False)

    def shapes(tree: Any, *, sharding: Any, **_: Any) -> Any:
        return jax.tree.map(lambda leaf: Shape(jnp.shape(leaf), jnp.asarray(leaf).dtype, sharding=sharding), tree)

    jax.devices = jax.local_devices = our_devices
    model_loader._get_nnx_model = abstract_model
    utils.general_device_put = shapes
    utils.hbm_usage_gb = lambda _devices: []
    name = utils.get_device_name()
    TpuPlatform.get_device_name = classmethod(lambda _cls, _device_id=0: name)
    kv_cache._get_kv_cache_allocator = lambda shape, dtype, sharding: lambda: Shape(shape, dtype, sharding=sharding)
    jax_parallel_state._PP = jax_parallel_state.GroupCoordinator(0, 1)


def runner(config: Any, devices: Sequence[Any]) -> Any:
    """tpu-inference's runner with an abstract model: `state_leaves` are shapes with the shardings that the weights would have."""
    from flax import nnx
    from tpu_inference.runner.tpu_runner import TPUModelRunner

    made = TPUModelRunner(config, list(devices)[: config.sharding_config.total_devices])
    made.load_model()
    specs = jax.tree.leaves(nnx.get_partition_spec(made.state), is_leaf=lambda leaf: isinstance(leaf, PartitionSpec))
    made.state_leaves = tuple(
        Shape(leaf.shape, leaf.dtype, sharding=NamedSharding(made.mesh, spec)) for leaf, spec in zip(made.state_leaves, specs, strict=True)
    )
    return made


def device_bytes(arrays: Any) -> int:
    """Bytes of these shapes on one device."""
    return sum(math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(arrays))


def kv_pool(made: Any, usable_bytes: int, weight_bytes: int) -> Any:
    """The pool that the engine would make. Raises ValueError in the words of tpu-inference or vLLM where it would not start."""
    from tpu_inference import utils
    from tpu_inference.worker.tpu_worker import TPUWorker

    utils.hbm_usage_bytes = lambda devices: [(weight_bytes, usable_bytes) for _ in devices]
    return _planned_pool(made, TPUWorker.determine_available_memory(_worker(made)))


def kv_pool_of_one_request(made: Any) -> Any:
    """The least pool that could be of use: one request of max_model_len beside the null page."""
    cache = made.vllm_config.cache_config
    if cache.num_gpu_blocks_override is None:
        cache.num_gpu_blocks_override = -(-made.max_model_len // cache.block_size) + 1
    return _planned_pool(made, _OVERSIZE_BYTES)


def _planned_pool(made: Any, available_bytes: int) -> Any:
    """What vLLM's engine core does before the workers make their caches (v1/engine/core.py, _initialize_kv_caches)."""
    from tpu_inference.worker.tpu_worker import TPUWorker
    from vllm.v1.attention.backends.utils import resolve_kv_cache_layout
    from vllm.v1.core.kv_cache_planning import get_kv_cache_configs
    from vllm.v1.core.single_type_kv_cache_manager import register_all_kvcache_specs

    config, specs = made.vllm_config, made.get_kv_cache_spec()
    register_all_kvcache_specs(config)
    resolve_kv_cache_layout(config, [TPUWorker.get_supported_kv_cache_layouts(_worker(made))], list(specs.values()))
    (pool,) = get_kv_cache_configs(config, [specs], [available_bytes])
    return pool


def make_kv_caches(made: Any, pool: Any) -> None:
    """The caches of the pool, as shapes: `kv_caches` of the runner."""
    from vllm.config import set_current_vllm_config

    with set_current_vllm_config(made.vllm_config):
        made.initialize_kv_cache(pool)


def _worker(made: Any) -> Any:
    """As much of a worker as the methods called here look at."""
    return SimpleNamespace(cache_config=made.cache_config, devices=made.devices, vllm_config=made.vllm_config)


@contextlib.contextmanager
def inside(made: Any) -> Iterator[None]:
    """Where the runner's programs are lowered and compiled."""
    from vllm.config import set_current_vllm_config

    with jax.set_mesh(made.mesh), set_current_vllm_config(made.vllm_config):
        yield

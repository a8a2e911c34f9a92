"""An engine whose chips span several hosts: its scheduler runs in this process, tpu-inference's Ray executor has a worker on each host of
the placement group that the tuner made (launchers/ray_slices.py). What only a worker knows is asked of the workers.

This process must not initialise JAX: on the first host it would take the chips of the worker there.
"""

from __future__ import annotations

import os
from typing import Any

from tuner.engine import environment
from tuner.engine.stepping import CompileCounter

Json = dict[str, Any]

GROUP, ADDRESS = "TUNER_RAY_GROUP", "TUNER_RAY_ADDRESS"  # the placement group's name, and the cluster's head
NAMESPACE = "vllm-tpu-tuner"  # of names on a cluster

_there: CompileCounter | None = None  # of a worker's process


def slice_environment(group: str, address: str) -> dict[str, str]:
    """Of the engine's process; `TPU_MULTIHOST_BACKEND` makes tpu-inference take its Ray executor."""
    return {GROUP: group, ADDRESS: address, "TPU_MULTIHOST_BACKEND": "ray"}


def spans_hosts() -> bool:
    return GROUP in os.environ


def own_group() -> Any:
    """Ray's PlacementGroup of this engine; this process becomes a driver of the cluster: its workers end with it."""
    import ray

    if not ray.is_initialized():
        ray.init(os.environ[ADDRESS], namespace=NAMESPACE, log_to_driver=True, logging_level="WARNING")
    return ray.util.get_placement_group(os.environ[GROUP])


def start_engine(engine_args: Json) -> Any:
    """vLLM's LLMEngine; handed its placement group, without which the executor would take every node with TPU."""
    from vllm.engine.arg_utils import EngineArgs
    from vllm.v1.engine.llm_engine import LLMEngine

    args = EngineArgs(**engine_args)
    if not spans_hosts():
        return LLMEngine.from_engine_args(args)
    group = own_group()
    config = args.create_engine_config()
    config.parallel_config.placement_group = group
    return LLMEngine.from_vllm_config(config, disable_log_stats=args.disable_log_stats)


def describe_environment(engine: Any) -> Json:
    """As environment.describe_environment, of where the chips are."""
    if not spans_hosts():
        return environment.describe_environment()
    found: Json = _executor(engine).collective_rpc(_environment_there)[0]
    return found


class CompilesThere:
    """A CompileCounter of the workers: the most that one of them has built since this was made."""

    def __init__(self, engine: Any) -> None:
        self._executor = _executor(engine)
        self._ask()

    def _ask(self) -> tuple[int, float]:
        answers = self._executor.collective_rpc(_compiled_there)
        return max(count for count, _ in answers), max(seconds for _, seconds in answers)

    @property
    def count(self) -> int:
        return self._ask()[0]

    @property
    def seconds(self) -> float:
        return self._ask()[1]


def _executor(engine: Any) -> Any:
    return engine.engine_core.engine_core.model_executor


def _environment_there(_worker: Any) -> Json:
    return environment.describe_environment()


def _compiled_there(_worker: Any) -> tuple[int, float]:
    global _there  # noqa: PLW0603  # one of each worker's process
    if _there is None:
        _there = CompileCounter()
    return _there.count, _there.seconds

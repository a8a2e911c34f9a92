"""An engine for a TPU that is not here: the programs that it would compile, without weights and without a device. In the compiler process.

tpu-inference's own runner is built on the devices of a libtpu topology, which can be compiled for and not run on (pretence.py). Its model,
KV caches and inputs are shapes; the programs are collected where the runner would compile them when it starts. So padded sizes, shardings,
the pool and the step itself are the engine's own, not a copy of its rules; what has another form there is an error here, never a guess.
"""

from __future__ import annotations

import inspect
import os
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tuner.core.memory_space import memory_space
from tuner.engine.cpu_contention import CONTENTION, CpuContention
from tuner.engine.forking import one_line
from tuner.engine.owner import classify
from tuner.foresight import pretence
from tuner.foresight.messages import STEP, Compiled, Prepare, Prepared, ProgramName

_STEP_NAME = "backbone"  # what tpu-inference calls the model's step
_AT_ONCE = 2  # compilations: each may take gigabytes
_BUSY = 0.2  # of all cores


class NotKnown(Exception):
    """This model cannot be built without its weights; the message says which part of it, and why."""


class AbstractEngine:
    """`prepared` is known at once; `compile` takes seconds to a minute.

    Programs are traced one after the other, because vLLM's current configuration is global; libtpu compiles several at once, which is
    quicker where nobody else wants the cores: for one program it uses one and a half.
    """

    def __init__(self, asked: Prepare) -> None:
        """Raises what vLLM raises for arguments that it refuses, and RuntimeError where libtpu does not know the topology."""
        begun, self._cores = time.perf_counter(), CpuContention()
        self._programs: dict[ProgramName, Callable[[], Any]] = {}
        self._runner: Any = None
        self._tracing = threading.Lock()
        self._begun: dict[ProgramName, Future[Compiled]] = {}
        devices = pretence.topology_devices(asked.topology)
        empty = _nothing_known(devices[0].device_kind, pretence.usable_hbm_bytes(devices[0]))
        pretence.take_over(devices)
        config = pretence.engine_config(asked.engine_args)
        try:
            _require_known(config)
            prepared = self._build(config, devices, empty)
        except NotKnown as reason:
            prepared = replace(empty, not_known=str(reason))
        except (ValueError, NotImplementedError) as error:  # not necessarily the engine's: it is no answer
            raise RuntimeError(f"the engine cannot be built from shapes: {one_line(error)}") from error
        except (AttributeError, KeyError, TypeError) as error:  # the model's class looks for what this config.json does not have
            raise RuntimeError(_not_built(config, error)) from error
        self.prepared = replace(prepared, seconds=time.perf_counter() - begun)

    def _build(self, config: Any, devices: list[Any], empty: Prepared) -> Prepared:
        self._runner = pretence.runner(config, devices)
        weight_bytes = pretence.device_bytes(self._runner.state_leaves)
        refused = None
        try:
            pool = pretence.kv_pool(self._runner, empty.usable_hbm_bytes, weight_bytes)
        except ValueError as error:
            refused = one_line(error)
            if memory_space(refused) is None:
                raise
            pool = pretence.kv_pool_of_one_request(self._runner)
        pretence.make_kv_caches(self._runner, pool)
        self._collect()
        running = config.scheduler_config.max_num_seqs
        return replace(
            empty,
            weight_bytes=weight_bytes,
            page_bytes=pretence.device_bytes(self._runner.kv_caches) // pool.num_blocks,
            pages=pool.num_blocks,
            pages_per_request=-(-config.model_config.max_model_len // config.cache_config.block_size),
            utilization=float(config.cache_config.gpu_memory_utilization),
            programs=tuple(self._programs),
            decode_tokens=min(name.size for name in self._programs if name.kind == STEP and name.size >= running),
            refused=refused,
        )

    def _collect(self) -> None:
        """What the engine would compile: its own manager lists it, and is kept from doing it."""
        manager = self._runner.compilation_manager

        def note(name: str, function: Any, *args: Any, call_kwargs: Any = None, num_tokens: int = 0, num_reqs: int = 0, **_: Any) -> None:
            if name.endswith(_STEP_NAME):
                with pretence.inside(self._runner):  # the compiler's options ask for the chip
                    program, lower = ProgramName(STEP, num_tokens), partial(_step(function, args[1]).lower, *args)
            else:
                program, lower = ProgramName(name.split()[-1], num_reqs), partial(function.lower, *args, **(call_kwargs or {}))
            self._programs.setdefault(program, lower)

        manager._run_compilation = note
        manager._precompile_backbone_text_only()
        manager._precompile_compute_logits()
        manager._precompile_sampling()

    def begin(self, programs: Iterable[ProgramName]) -> None:
        """Compile these in the background, the longest first; `compile` waits for them. Where other processes were busy while the engine
        was built, nothing is begun: two at once would only disturb each other and them."""
        if self._cores.since()[CONTENTION] > _BUSY:
            return
        workers = ThreadPoolExecutor(min(_AT_ONCE, len(os.sched_getaffinity(0))))
        ordered = sorted(programs, key=lambda program: (program.kind != STEP, -program.size))
        self._begun = {program: workers.submit(self._compile, program) for program in ordered}

    def compile(self, program: ProgramName, module_path: str | None = None) -> Compiled:
        """Also of a program that does not compile; `module_path`: where its module goes (messages.Profile). Raises KeyError for one
        that the engine does not have, and whatever is neither the compiler's error nor a kernel's refusal of its settings: that may as
        well be ours."""
        begun = self._begun.pop(program, None)
        return self._compile(program, module_path) if begun is None else begun.result()

    def _compile(self, program: ProgramName, module_path: str | None = None) -> Compiled:
        lower, begun = self._programs[program], time.perf_counter()
        try:
            with self._tracing, pretence.inside(self._runner):
                lowered = lower()
            compiled = lowered.compile()
        except pretence.REFUSALS as error:  # that it does not compile is the answer
            failed = Compiled(program, 0, 0, 0, 0, seconds=time.perf_counter() - begun)
            return replace(failed, failure=classify(error, starting=True), message=one_line(error))
        if module_path is not None:
            (module,) = compiled.runtime_executable().hlo_modules()
            Path(module_path).write_bytes(module.as_serialized_hlo_module_proto())
        stats = compiled.memory_analysis()
        return Compiled(
            program,
            argument_bytes=stats.argument_size_in_bytes,
            temporary_bytes=stats.temp_size_in_bytes,
            output_bytes=stats.output_size_in_bytes - stats.alias_size_in_bytes,
            code_bytes=stats.generated_code_size_in_bytes,
            seconds=time.perf_counter() - begun,
        )


def _nothing_known(device_kind: str, usable_hbm_bytes: int) -> Prepared:
    return Prepared(
        device_kind,
        usable_hbm_bytes,
        weight_bytes=0,
        page_bytes=0,
        pages=0,
        pages_per_request=0,
        utilization=0.0,
        programs=(),
        decode_tokens=0,
        seconds=0.0,
    )


def _step(model_fn: Any, kv_caches: Any) -> Any:
    """The jitted step inside tpu-inference's `model_fn`, which hides it (models/common/model_loader.py, get_flax_model)."""
    return inspect.getclosurevars(model_fn).nonlocals["_resolve_step_fn"](kv_caches, True)


def _not_built(config: Any, error: Exception) -> str:
    names = ", ".join(getattr(config.model_config.hf_config, "architectures", None) or ["this model"])
    return f"model: tpu-inference does not build {names} from this config.json: {one_line(error)}"


def _require_known(config: Any) -> None:
    """Raises NotKnown for what is not built from shapes alone."""
    from tpu_inference.models.common import model_loader

    architecture = next(iter(config.model_config.hf_config.architectures or ["none"]))
    if config.model_config.runner_type != "generate":
        raise NotKnown(f"the model is of the kind {config.model_config.runner_type}; only generating models are built here")
    if config.model_config.quantization or config.additional_config.get("quantization"):
        raise NotKnown("weights: quantised ones get their form on the device only when they are loaded")
    backend = "rpa" if config.attention_config.backend is None else config.attention_config.backend.name.lower()
    if backend in ("tuner_xla", "tuner_rpa"):
        raise NotKnown(f"attention_backend {backend}: it runs vLLM's own model through torchax, which needs the weights; use rpa")
    if config.lora_config is not None or config.speculative_config is not None or config.model_config.is_multimodal_model:
        raise NotKnown("LoRA, speculative decoding and multimodal input have further programs, which are not built here")
    if config.parallel_config.pipeline_parallel_size > 1 or config.sharding_config.total_dp_size > 1:
        raise NotKnown("parallelism: only tensor parallelism is built here")
    try:
        model_loader._get_model_architecture(config.model_config.hf_config)
        native = model_loader.resolve_model_impl_type(config) == "flax_nnx"
    except model_loader.UnsupportedArchitectureError:
        native = False
    if not native:
        raise NotKnown(f"model: tpu-inference runs {architecture} as vLLM's own model through torchax, which needs the weights")

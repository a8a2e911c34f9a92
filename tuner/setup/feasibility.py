"""Which settings cannot run, found before an engine is started. Pure. docs/feasibility.md explains the rules.

Most rules are those of vLLM and tpu-inference, which apply them only after an engine start; the others refuse what can only waste time.
There is no VMEM rule: the ragged paged attention kernel asks for all of VMEM whatever the page size (tpu_inference 0.32.0,
kernels/ragged_paged_attention/v3/kernel.py; its `get_vmem_estimate_bytes` is called by nobody), so no sourced limit depends on our
settings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tuner.core.contract import ARM_PAGE_ALIGNED, ARMS, EngineSettings
from tuner.core.errors import BadInput
from tuner.setup.hardware import GIB, Limits
from tuner.setup.model_memory import Features, kv_page_bytes, served_dtype, weight_bytes
from tuner.setup.vllm_defaults import BLOCK_TABLE_ENTRY_BYTES, smallest_page

# vllm/config/cache.py, CacheConfig.gpu_memory_utilization, vLLM 0.32.0.
DEFAULT_MEMORY_UTILIZATION = 0.92

# Engine arguments under which memory is not what our formulas say.
_MEMORY_IS_OTHERWISE = ("quantization", "hf_overrides", "pipeline_parallel_size", "cpu_offload_gb", "kv_cache_memory_bytes")


@dataclass(frozen=True)
class Infeasible:
    """`setting` is its name in a study file; `reason` and `fix` name the values, in words for the user."""

    setting: str
    reason: str
    fix: str

    def __str__(self) -> str:
        return str(self.as_error())

    def as_error(self) -> BadInput:
        return BadInput(self.reason, setting=self.setting, fix=self.fix)


@dataclass(frozen=True)
class Needs:
    """What the workload and the search need of an engine. `chunk_budgets`: those measured in it; empty: only the one it is compiled for."""

    longest_request: int = 1  # tokens, input and output
    arms: tuple[str, ...] = ARMS
    chunk_budgets: tuple[int, ...] = ()


@dataclass(frozen=True)
class Judged:
    """What the compiler says of an engine (tuner.foresight). `problem` None: it compiles and fits."""

    problem: Infeasible | None


def check(
    settings: EngineSettings, features: Features, limits: Limits | None, needs: Needs | None = None, judged: Judged | None = None
) -> list[Infeasible]:
    """All known reasons why an engine with these settings cannot run, the simplest first; empty if none is known.

    `limits` None: no TPU, so only the rules that hold on every platform are applied. `judged`: the compiler's word, in place of the rules
    about a TPU's memories.
    """
    found = list(_pages(settings, needs or Needs()))
    if found:
        return found  # the rest divides by the page size
    found += _pool(settings)
    if judged is not None:
        return found if judged.problem is None else [*found, judged.problem]
    if limits is not None:
        found += [*_scalar_memory(settings, limits), *_device_memory(settings, features, limits)]
    return found


def _pages(settings: EngineSettings, needs: Needs) -> Iterator[Infeasible]:
    page, length = settings.block_size, settings.max_model_len
    if page < 1 or page & (page - 1):
        yield Infeasible("page_sizes", f"{page} is not a power of two", "use one, for instance 16, 32 or 64")
        return
    if page > length:
        yield Infeasible("page_sizes", f"{page} is above max_model_len {length}, so no page is ever full", f"use at most {length}")
    if needs.longest_request > length:
        yield Infeasible(
            "max_model_len",
            f"{length} is below the workload's longest request of {needs.longest_request} tokens",
            f"use at least {needs.longest_request}",
        )
    for budget in needs.chunk_budgets or (settings.max_num_batched_tokens,):
        if found := starvation(page, budget, needs.arms, settings.alignment_variant):
            yield found


def starvation(page_size: int, budget: int, arms: tuple[str, ...], variant: str) -> Infeasible | None:
    """Why a request could wait for ever under page-aligned scheduling; None if it cannot.

    If the budget is smaller than a page, no aligned chunk fits into a step. `strict` counts the last part of a prompt in whole pages, too:
    unless the page size divides the budget, that part can cost more than the whole budget, and then it is never scheduled. The other
    variants avoid this: they schedule the whole pages of such a part first, or charge it its tokens.
    """
    if ARM_PAGE_ALIGNED not in arms:
        return None
    if page_size > budget:
        reason = f"{page_size} is above the chunk budget {budget}, where page-aligned prefill would wait for ever"
        return Infeasible("page_sizes", reason, "raise chunk_budgets or drop that page size")
    if variant == "strict" and budget % page_size:
        reason = f"{page_size} does not divide the chunk budget {budget}, where alignment_variant strict would wait for ever"
        return Infeasible("page_sizes", reason, "use multiples of the page size, or alignment_variant demote")
    return None


def _pool(settings: EngineSettings) -> Iterator[Infeasible]:
    """One request of max_model_len must fit beside the null page (vllm/v1/core/kv_cache_planning.py, get_kv_cache_configs)."""
    needed = pages_per_request(settings) + 1
    if settings.num_gpu_blocks is not None and settings.num_gpu_blocks < needed:
        yield Infeasible(
            "num_gpu_blocks",
            f"{settings.num_gpu_blocks} pages of {settings.block_size} do not hold one request of max_model_len {settings.max_model_len}",
            f"use at least {needed}",
        )


def _scalar_memory(settings: EngineSettings, limits: Limits) -> Iterator[Infeasible]:
    """Block tables within half of SMEM: tpu_inference 0.32.0, layers/vllm/backends/flash_attn.py, PallasAttentionBackend.get_min_page_size
    and get_max_num_seqs. There it corrects only a page size that tpu-inference chose itself; one that was asked for goes through."""
    if settings.attention_backend == "tuner_xla":  # no Pallas kernel, no SMEM
        return
    half, seqs = limits.smem_bytes // 2, settings.max_num_seqs
    needed = seqs * pages_per_request(settings) * BLOCK_TABLE_ENTRY_BYTES
    if needed <= half:
        return
    page, most = smallest_page_size(settings, limits), half // pages_per_request(settings) // BLOCK_TABLE_ENTRY_BYTES
    ways = [f"use pages of at least {page}"] if page <= settings.max_model_len else []
    ways += [f"lower max_num_seqs to {most}"] if most else []
    yield Infeasible(
        "page_sizes",
        f"{settings.block_size} makes block tables of {needed} bytes (max_num_seqs {seqs} x {pages_per_request(settings)} pages x "
        f"{BLOCK_TABLE_ENTRY_BYTES}), above {half}, half of {limits.name}'s SMEM",
        " or ".join([*ways, "lower max_model_len"]),
    )


def smallest_page_size(settings: EngineSettings, limits: Limits) -> int:
    """The smallest power of two whose block tables fit (get_min_page_size, see above)."""
    return smallest_page(settings.max_model_len, settings.max_num_seqs, limits.smem_bytes)


def _device_memory(settings: EngineSettings, features: Features, limits: Limits) -> Iterator[Infeasible]:
    """Weights and one request of max_model_len beside the null page, in usable HBM x gpu_memory_utilization.

    Source: tpu_inference 0.32.0, worker/tpu_worker.py `determine_available_memory`; vllm/v1/core/kv_cache_planning.py
    `_check_enough_kv_cache_memory`.
    """
    extra = settings.extra_engine_args
    if any(extra.get(name) not in (None, 0, 1) for name in _MEMORY_IS_OTHERWISE):
        return
    dtype = served_dtype(settings.dtype, features)
    kv_dtype = str(extra.get("kv_cache_dtype") or "auto")
    kv_dtype = dtype if kv_dtype == "auto" else kv_dtype
    utilization = float(extra.get("gpu_memory_utilization") or DEFAULT_MEMORY_UTILIZATION)
    room = int(limits.usable_hbm_bytes * (utilization if settings.num_gpu_blocks is None else 1))  # a given pool is allocated in any case

    def needed(parallel: int) -> tuple[int, int] | None:
        weights = weight_bytes(features, dtype, parallel)
        if weights is None:
            return None
        page = kv_page_bytes(features, kv_dtype, settings.block_size, parallel)
        pages = settings.num_gpu_blocks or pages_per_request(settings) + 1
        return weights, (page or 0) * pages

    parts = needed(settings.tensor_parallel_size)
    if parts is None or sum(parts) <= room:
        return
    weights, cache = parts
    what = f"weights of {weights / GIB:.1f} GiB" + (f" and a KV cache of {cache / GIB:.1f} GiB" if cache else "")
    where = f"{limits.name} ({room / GIB:.1f} of {limits.usable_hbm_bytes / GIB:.2f} GiB a device)"
    enough = next((size for size in _more_parallel(settings, features) if sum(needed(size) or (room, 1)) <= room), None)
    ways = [] if enough is None else [f"use tensor_parallel_size {enough}"]
    if weights <= room:
        ways.append("lower max_model_len" if settings.num_gpu_blocks is None else "lower num_gpu_blocks")
    yield Infeasible(
        "tensor_parallel_size",
        f"{settings.tensor_parallel_size} needs {what} on each {where}",
        " or ".join(ways) or "choose a smaller model or a larger accelerator",
    )


def _more_parallel(settings: EngineSettings, features: Features) -> Iterator[int]:
    """Larger powers of two that divide the attention heads."""
    size = 1 << settings.tensor_parallel_size.bit_length()
    while int(features["heads"]) % size == 0:
        yield size
        size *= 2


def pages_per_request(settings: EngineSettings) -> int:
    """Pages of one request of max_model_len."""
    return -(-settings.max_model_len // settings.block_size)

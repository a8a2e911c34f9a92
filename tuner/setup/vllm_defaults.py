"""The page size and the chunk budget that `vllm serve` takes on a TPU where none is given. Pure.

Sources, tpu-inference and vLLM 0.32.0; tests/tuner/setup/test_vllm_defaults.py runs them beside ours:
- the page size: tpu_inference/platforms/tpu_platform.py, TpuPlatform.check_and_update_config, with PallasAttentionBackend.get_page_size and
  get_min_page_size (layers/vllm/backends/flash_attn.py), for latent attention PallasMLAttentionBackend.get_page_size (flash_attn_mla.py);
- the chunk budget: vllm/engine/arg_utils.py, get_batch_defaults and _set_default_max_num_seqs_and_batched_tokens_args. It is the same for
  every TPU: TpuPlatform has no get_device_total_memory, so no chip counts as a large device, and the smaller values for v5e, v5p and v6e
  wait for names ("V6E") that TpuPlatform.get_device_name does not give ("TPU V6E").

The class `LLM` takes a chunk budget of 8,192 instead. Both take at most 256 requests at once; a search sets that and the length itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SERVE_BUDGET = 2048  # tokens a step: UsageContext.OPENAI_API_SERVER
SERVE_SEQS = 256  # requests at once, likewise
MLA_PAGE = 1024
LARGEST_PAGE, LONG_CONTEXT = 256, 8192
SMEM_BYTES, BLOCK_TABLE_ENTRY_BYTES = 1024 * 1024, 4  # get_min_page_size reckons with 1 MiB on every chip


@dataclass(frozen=True)
class VllmDefaults:
    """What vLLM takes by itself, under the study's max_model_len and max_num_seqs."""

    block_size: int
    max_num_batched_tokens: int

    def __str__(self) -> str:
        return f"page size {self.block_size}, chunk budget {self.max_num_batched_tokens}"


def vllm_defaults(max_model_len: int, max_num_seqs: int, engine_args: Mapping[str, Any], *, mla: bool = False) -> VllmDefaults:
    """`engine_args`: further arguments of the engine; `performance_mode` and `enable_chunked_prefill` move the budget."""
    page = MLA_PAGE if mla else max(_page_by_length(max_model_len), smallest_page(max_model_len, max_num_seqs))
    return VllmDefaults(page, _budget(max_model_len, max_num_seqs, engine_args))


def is_mla(features: Mapping[str, Any]) -> bool:
    """Whether the model (storage.records.Study.model_features) has latent attention: vLLM's ModelConfig.use_mla."""
    return features.get("attention") == "mla"


def _page_by_length(max_model_len: int) -> int:
    """get_page_size: a sixteenth of the next power of two, within 16 and 256; 16 above 8,192 tokens."""
    if max_model_len > LONG_CONTEXT:
        return 16
    return min(LARGEST_PAGE, max(16, _power_of_two_from(max_model_len) // 16))


def smallest_page(max_model_len: int, max_num_seqs: int, smem_bytes: int = SMEM_BYTES) -> int:
    """get_min_page_size: the smallest power of two with which all block tables take half of SMEM."""
    pages = smem_bytes // 2 // max_num_seqs // BLOCK_TABLE_ENTRY_BYTES
    return _power_of_two_from(-(-max_model_len // max(1, pages)))


def _budget(max_model_len: int, max_num_seqs: int, engine_args: Mapping[str, Any]) -> int:
    given = {name.replace("-", "_"): value for name, value in engine_args.items()}
    budget = SERVE_BUDGET * (2 if given.get("performance_mode") == "throughput" else 1)
    if given.get("enable_chunked_prefill") is False:
        budget = max(max_model_len, budget)
    return min(max_num_seqs * max_model_len, budget)


def _power_of_two_from(number: int) -> int:
    return 1 << (number - 1).bit_length()

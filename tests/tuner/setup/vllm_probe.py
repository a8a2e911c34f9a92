"""What the installed vLLM and tpu-inference choose by themselves: runs their code, in a process of its own (the import takes 20 s).

    python -m tests.tuner.setup.vllm_probe CASES > ANSWERS.json        (CASES: JSON)

A case of "engines" is keyword arguments of AsyncEngineArgs: the whole way of `vllm serve` to its configuration, on the platform class
that a TPU host has. "pages" are [max_model_len, max_num_seqs] for the attention backends' own rules. "chips" names every chip that
tpu_info knows; no chip is needed, only its name is given.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from types import SimpleNamespace
from typing import Any

from tuner.engine.environment import engine_environment


def main() -> None:
    cases = json.loads(sys.argv[1])
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)  # vLLM logs to standard output
        os.environ.update(engine_environment("cpu", offline=True))
        json.dump({"engines": _engines(cases["engines"]), "pages": _pages(cases["pages"]), "chips": _chips()}, answers)


def _engines(cases: list[dict[str, Any]]) -> list[list[int]]:
    """[page size, chunk budget, most requests] of each."""
    from vllm import AsyncEngineArgs
    from vllm.usage.usage_lib import UsageContext

    found = []
    for case in cases:
        context = UsageContext[case.pop("context", "OPENAI_API_SERVER")]
        config = AsyncEngineArgs(load_format="dummy", **case).create_engine_config(usage_context=context)
        scheduler = config.scheduler_config
        found.append([config.cache_config.block_size, scheduler.max_num_batched_tokens, scheduler.max_num_seqs])
    return found


def _pages(cases: list[list[int]]) -> list[list[int]]:
    """[get_page_size, get_min_page_size, the page size for latent attention] of each."""
    from tpu_inference.layers.vllm.backends.flash_attn import PallasAttentionBackend
    from tpu_inference.layers.vllm.backends.flash_attn_mla import PallasMLAttentionBackend

    found = []
    for length, seqs in cases:
        config: Any = SimpleNamespace(
            model_config=SimpleNamespace(max_model_len=length), scheduler_config=SimpleNamespace(max_num_seqs=seqs)
        )
        rules = PallasAttentionBackend.get_page_size, PallasAttentionBackend.get_min_page_size, PallasMLAttentionBackend.get_page_size
        found.append([rule(config) for rule in rules])
    return found


def _chips() -> dict[str, dict[str, int]]:
    """Chip -> usage context -> chunk budget, before the model's length bounds it."""
    from vllm import EngineArgs

    device: Any = importlib.import_module("tpu_info.device")

    found = {}
    for chip in device.TpuChip:
        device.get_local_chips = lambda chip=chip: (chip, 4)
        budgets, _ = EngineArgs.get_batch_defaults(world_size=1)
        found[chip.name] = {str(context.name): budget for context, budget in budgets.items()}
    return found


if __name__ == "__main__":
    main()

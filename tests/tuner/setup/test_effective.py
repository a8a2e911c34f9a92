"""What is the same in effect has one key, and nothing else has."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tuner.workbench import config_of
from tuner.core.factors import Level, factors_of
from tuner.setup.effective import effective_key, effective_settings
from tuner.setup.models import ResolvedModel
from tuner.setup.space import Configuration
from tuner.setup.study_setup import shared_engine

OWN: dict[str, Level] = {"long_prefill_token_threshold": 0, "gpu_memory_utilization": 0.9, "quantization": "unset"}


def key_of(levels: dict[str, Level], *, arm: str = "default", budget: int = 256, own: dict[str, Level] = OWN, **settings: Any) -> str:
    model = ResolvedModel("m", "m", "auto", 1000, 1024, {"dtype": "bfloat16"})
    engine = shared_engine(config_of(**settings), model, max_num_seqs=16, max_model_len=512)
    engine = engine.with_changes(block_size=16, max_num_batched_tokens=budget).with_factors(factors_of(levels))
    return effective_key(effective_settings(engine, arm, own, model.features))


PLAIN = key_of({})


@pytest.mark.parametrize(
    "levels",
    [
        {"long_prefill_token_threshold": "unset"},
        {"long_prefill_token_threshold": 0},
        {"long_prefill_token_threshold": 256},
        {"gpu_memory_utilization": 0.9},
        {"quantization": "unset"},
        {"dtype": "bfloat16"},
        {"max_num_seqs": 16.0},
        {"env:USE_BATCHED_RPA_KERNEL": "0"},
        {"env:RPA_V3_DECODE_BLOCK_SIZES": "unset"},
    ],
)
def test_the_same_in_effect(levels: dict[str, Level]) -> None:
    assert key_of(levels) == PLAIN


@pytest.mark.parametrize(
    "changes",
    [
        {"levels": {"long_prefill_token_threshold": 255}},
        {"levels": {"long_prefill_token_threshold": 256, "max_num_partial_prefills": 2}},
        {"levels": {"kv_cache_dtype": "bfloat16"}},  # a checkpoint may decide what auto is
        {"levels": {"max_num_seqs": 8}},
        {"levels": {"env:USE_BATCHED_RPA_KERNEL": "1"}},
        {"levels": {}, "arm": "page_aligned"},
        {"levels": {}, "budget": 128},
        {"levels": {"swap_space": 4}},  # vLLM's own is not known
        {"levels": {}, "engine_args": {"enforce_eager": True}},
    ],
)
def test_not_the_same(changes: dict[str, Any]) -> None:
    assert key_of(**changes) != PLAIN


def test_spellings_of_one_number_and_one_text() -> None:
    assert key_of({"max_num_partial_prefills": 2}) == key_of({"max_num_partial_prefills": 2.0})
    assert key_of({"env:RPA_V3_MIXED_BLOCK_SIZES": "8,32,8,32"}) == key_of({"env:RPA_V3_MIXED_BLOCK_SIZES": "8, 32, 8, 32"})
    assert key_of({"enforce_eager": True}) != key_of({"enforce_eager": 1}), "what vLLM makes of a number there is not known"
    assert Configuration(16, 128, "default", factors_of({"a": 8})) == Configuration(16, 128, "default", factors_of({"a": 8.0}))

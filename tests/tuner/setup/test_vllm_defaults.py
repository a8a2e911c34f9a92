"""What vLLM takes by itself: our pure rules against the installed vLLM and tpu-inference, which are run."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from tests.plugins.programs import Programs
from tuner.setup.models import TINY_QWEN3_CONFIG
from tuner.setup.vllm_defaults import SERVE_BUDGET, VllmDefaults, is_mla, smallest_page, vllm_defaults

LENGTHS = (1, 100, 256, 257, 512, 1000, 2048, 2049, 4096, 8192, 8193, 32768, 40960, 131072, 1048576)
SEQS = (1, 4, 8, 52, 128, 256, 600, 1024)
LLM_BUDGET = 8192


@pytest.mark.parametrize(
    ("length", "seqs", "page"),
    [
        (128, 8, 16),
        (256, 8, 16),
        (512, 8, 32),
        (513, 8, 64),
        (2048, 8, 128),
        (2049, 8, 256),
        (8192, 128, 256),
        (8193, 8, 16),
        (40960, 8, 16),
        (40960, 128, 64),
        (40960, 256, 128),
        (4096, 1024, 256),
    ],
)
def test_a_long_length_with_many_requests_raises_the_page_until_the_block_tables_fit(length: int, seqs: int, page: int) -> None:
    assert vllm_defaults(length, seqs, {}).block_size == page


def test_latent_attention_has_a_page_of_its_own_whatever_the_length() -> None:
    assert is_mla({"attention": "mla"}) and not is_mla({"attention": "sliding"}) and not is_mla({})
    assert {vllm_defaults(length, 128, {}, mla=True).block_size for length in LENGTHS} == {1024}


@pytest.mark.parametrize(
    ("length", "seqs", "engine_args", "budget"),
    [
        (512, 8, {}, 2048),
        (512, 2, {}, 1024),
        (4096, 256, {"performance_mode": "throughput"}, 4096),
        (4096, 256, {"performance-mode": "latency"}, 2048),
        (4096, 256, {"enable_chunked_prefill": False}, 4096),
        (4096, 256, {"enable_chunked_prefill": True, "gpu_memory_utilization": 0.5}, 2048),
    ],
)
def test_the_chunk_budget(length: int, seqs: int, engine_args: dict[str, Any], budget: int) -> None:
    assert vllm_defaults(length, seqs, engine_args).max_num_batched_tokens == budget


def test_it_says_itself_as_people_do() -> None:
    assert str(vllm_defaults(40960, 128, {})) == "page size 64, chunk budget 2048"


def _model(folder: Path, **changes: Any) -> str:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**TINY_QWEN3_CONFIG, "max_position_embeddings": 131072, **changes}))
    return str(folder)


@pytest.mark.slow
def test_the_same_as_the_installed_vllm_and_tpu_inference(tmp_path: Path, programs: Programs) -> None:
    """Heads, head size and dtype play no part; the last engines vary them."""
    model = _model(tmp_path / "model")
    engines: list[dict[str, Any]] = [
        {"model": model, "max_model_len": length, "max_num_seqs": seqs}
        for length, seqs in ((512, 2), (512, 8), (1000, 128), (2049, 8), (8192, 256), (16384, 256), (40960, 128), (131072, 256))
    ]
    engines += [
        {"model": model, "max_model_len": 512, "max_num_seqs": 64, "performance_mode": "throughput"},
        {"model": model, "max_model_len": 4096, "max_num_seqs": 64, "enable_chunked_prefill": False},
        {"model": model, "max_model_len": 40960, "max_num_seqs": 128, "dtype": "bfloat16", "tensor_parallel_size": 2},
        {"model": _model(tmp_path / "wide", num_key_value_heads=4, head_dim=128), "max_model_len": 40960, "max_num_seqs": 128},
    ]
    pages = [list(pair) for pair in itertools.product(LENGTHS, SEQS)]
    asked = {"engines": [*engines, {**engines[4], "context": "LLM_CLASS"}, {"model": model, "max_model_len": 8192}], "pages": pages}
    found = json.loads(programs.run("tests.tuner.setup.vllm_probe", json.dumps(asked)))

    *served, in_a_program, unlimited = [VllmDefaults(page, budget) for page, budget, _ in found["engines"]]
    ours = [
        vllm_defaults(
            case["max_model_len"], case["max_num_seqs"], {key: case[key] for key in case if key.startswith(("performance", "enable"))}
        )
        for case in engines
    ]
    assert served == ours
    assert in_a_program == VllmDefaults(ours[4].block_size, LLM_BUDGET)
    assert unlimited == vllm_defaults(8192, 256, {}) and found["engines"][-1][2] == 256

    for (length, seqs), (by_length, least, latent) in zip(pages, found["pages"], strict=True):
        assert vllm_defaults(length, seqs, {}).block_size == max(by_length, least), (length, seqs)
        assert smallest_page(length, seqs) == least, (length, seqs)
        assert vllm_defaults(length, seqs, {}, mla=True).block_size == latent

    assert {"V5E", "V5P", "V6E", "V7X"} < found["chips"].keys()
    assert {json.dumps(budgets, sort_keys=True) for budgets in found["chips"].values()} == {
        json.dumps({"LLM_CLASS": LLM_BUDGET, "OPENAI_API_SERVER": SERVE_BUDGET}, sort_keys=True)
    }

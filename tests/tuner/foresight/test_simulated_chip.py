from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tuner.core.contract import EngineSettings
from tuner.core.errors import BadInput, FailureClass, TrialFailed
from tuner.engine.step_costs import StepClock
from tuner.foresight.fitted import V6E
from tuner.foresight.operations import StepWork, operations_of
from tuner.foresight.simulated_chip import simulated_chip

QWEN3_8B: dict[str, Any] = {
    "layers": 36,
    "hidden_size": 4096,
    "heads": 32,
    "kv_heads": 8,
    "head_size": 128,
    "intermediate_size": 12288,
    "vocab_size": 151936,
    "dtype": "bfloat16",
    "gated_mlp": True,
    "tied_embeddings": False,
    "attention": "full",
    "experts": 0,
    "expert_layers": 0,
    "expert_intermediate_size": None,
    "quantization": None,
}
SETTINGS = EngineSettings("m", "m", block_size=128, max_num_batched_tokens=1024, max_num_seqs=64, max_model_len=8192)


def test_the_pool_is_what_foresee_check_finds_for_the_same_engine() -> None:
    """docs/foresight.md: 13.48 GiB of KV pages, 11 requests of 8,192 tokens."""
    pages = simulated_chip("v6e-1", None, None).pages(SETTINGS, QWEN3_8B)
    assert (pages - 1) * 128 // 8192 == 11
    assert pages * 36 * 2 * 8 * 128 * 128 * 2 / 2**30 == pytest.approx(13.48, abs=0.02)


def test_a_given_number_of_pages_is_taken() -> None:
    assert simulated_chip("v6e-1", None, None).pages(SETTINGS.with_changes(num_gpu_blocks=100), QWEN3_8B) == 100


@pytest.mark.parametrize("change", [{"num_gpu_blocks": 64}, {"max_model_len": 131072}])
def test_a_pool_that_holds_no_request_is_out_of_memory(change: dict[str, int]) -> None:
    with pytest.raises(TrialFailed, match="less than one request") as caught:
        simulated_chip("v6e-1", None, None).pages(SETTINGS.with_changes(**change), QWEN3_8B)
    assert caught.value.failure is FailureClass.OUT_OF_MEMORY


def test_weights_that_do_not_fit_are_out_of_memory() -> None:
    with pytest.raises(TrialFailed, match="TPU v5e has no more"):
        simulated_chip("v5e-1", None, "v6e").pages(SETTINGS, QWEN3_8B)


@pytest.mark.parametrize(
    "work",
    [
        StepWork(16, decodes=16, decode_context=16 * 500),
        StepWork(64, decodes=64, decode_context=64 * 3000),
        StepWork(1024, prefills=((1024, 0),)),
        StepWork(1024, prefills=((500, 700), (500, 0)), decodes=24, decode_context=24 * 1000),
    ],
)
def test_the_clock_says_what_the_fitted_model_says_of_the_same_step(work: StepWork) -> None:
    costs = simulated_chip("v6e-1", None, None).costs(SETTINGS, QWEN3_8B)
    predicted = V6E.step(operations_of(QWEN3_8B, work)).seconds
    assert StepClock(costs, [0]).step(work.padded_tokens, work.prefills, work.decodes, work.decode_context) == pytest.approx(
        predicted, rel=0.02
    )
    assert costs.low < 1 < costs.high


@pytest.mark.parametrize("accelerator", ["v5e-1", "v5p-4", "7x-2"])
def test_a_chip_without_data_is_not_simulated_unless_another_is_borrowed(accelerator: str) -> None:
    with pytest.raises(BadInput, match="has no prediction"):
        simulated_chip(accelerator, None, None)
    chip = simulated_chip(accelerator, None, "v6e")
    assert chip.borrowed == "TPU v6e"
    assert "with step times of TPU v6e" in chip.accelerator
    assert "BORROWED" in chip.source
    assert simulated_chip("v6e-1", None, "v6e").borrowed is None


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ((None, None, None), "add --accelerator v6e-1, or --step-time FILE"),
        (("cpu", None, None), "is no TPU"),
        (("v9-1", None, None), "unknown"),
        (("v6e-0", None, None), "accelerator 'v6e-0' names no slice"),
        (("v6e-9223372036854775808", None, None), "names no slice"),
        (("v6e-", "steps.yaml", None), "names no slice"),
        (("v5e-1", None, "v6e-0"), "borrow 'v6e-0' names no slice"),
        (("v6e-1", "steps.yaml", "v6e"), "drop one"),
    ],
)
def test_what_says_no_costs_is_refused(given: tuple[str | None, str | None, str | None], complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint):
        simulated_chip(*given)


def test_several_devices_have_no_prediction_without_costs_of_their_own(tmp_path: Path) -> None:
    parallel = SETTINGS.with_changes(tensor_parallel_size=4)
    with pytest.raises(BadInput, match="collectives were not measured"):
        simulated_chip("v6e-4", None, None).costs(parallel, QWEN3_8B)
    file = tmp_path / "steps.yaml"
    file.write_text("about: mine\npadded_ms: {16: 5}\n")
    chip = simulated_chip("v6e-4", str(file), None)
    assert chip.costs(parallel, QWEN3_8B).about == "mine"
    assert chip.accelerator == "simulated TPU v6e-4"


@pytest.mark.parametrize(
    ("accelerator", "name"),
    [("v5p-8", "TPU v5p-4"), ("TPU v5p-8", "TPU v5p-8"), ("7x-8", "TPU v7x-8"), ("v7x-2x2x1", "TPU v7x-8"), ("v5e", "TPU v5e-1")],
)
def test_a_cloud_name_that_counts_cores_is_not_answered_for_one_chip(accelerator: str, name: str) -> None:
    """v5p-8, four chips, was called "simulated TPU v5p-1"."""
    chip = simulated_chip(accelerator, None, "v6e")
    assert chip.name == name and chip.devices == int(name.rpartition("-")[2])


def test_noise_has_the_spread_that_is_asked_for_and_its_seed_fixes_it() -> None:
    costs = simulated_chip("v6e-1", None, None, step_noise=0.05).costs(SETTINGS, QWEN3_8B)
    assert np.std(np.log(costs.step_noise)) == pytest.approx(0.05)
    one, again, other = (StepClock(costs, [seed]).repeated(64, 10, 1000, 500, float("inf")) for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    quiet = StepClock(simulated_chip("v6e-1", None, None).costs(SETTINGS, QWEN3_8B), [1]).repeated(64, 10, 1000, 500, float("inf"))
    assert np.std(np.log(np.divide(one, quiet))) == pytest.approx(0.05, rel=0.2)

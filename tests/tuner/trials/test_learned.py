"""What one out-of-memory rules out, and what it does not."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.records import Trial, TrialState
from tests.quick import examples
from tuner.core.contract import EngineSettings
from tuner.core.errors import FailureClass
from tuner.trials.learned import Attempt, OutOfMemory, attempt_of, dominated_by_oom, known_out_of_memory

ENGINE = EngineSettings("m", "m", block_size=32, max_num_batched_tokens=1024, max_num_seqs=64, max_model_len=2048)
FAILED = Attempt(ENGINE, "default", 512, "TPU v6e-1")


def dominated(candidate: Attempt, space: str | None = None, failed: Attempt = FAILED) -> bool:
    return dominated_by_oom(candidate, [OutOfMemory(failed, space, "trial 7")]) is not None


def with_engine(**changes: Any) -> Attempt:
    return replace(FAILED, settings=ENGINE.with_changes(**changes))


def test_the_same_and_more_of_everything_is_dominated() -> None:
    larger = replace(with_engine(max_num_batched_tokens=2048, max_num_seqs=65, max_model_len=4096), budget=1024)
    assert dominated(FAILED) and dominated(larger)
    reason = dominated_by_oom(larger, [OutOfMemory(FAILED, "hbm", "trial 7")])
    assert reason == "needs at least the memory with which trial 7 ran out of HBM"
    assert dominated_by_oom(larger, []) is None


@pytest.mark.parametrize("name", ["max_num_batched_tokens", "max_num_seqs", "max_model_len"])
def test_less_of_anything_may_fit(name: str) -> None:
    assert not dominated(with_engine(**{name: getattr(ENGINE, name) - 1}))


def test_a_smaller_live_budget_may_fit() -> None:
    assert not dominated(replace(FAILED, budget=256))


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "other"},
        {"model_path": "other"},
        {"dtype": "float32"},
        {"load_format": "dummy"},
        {"attention_backend": "tuner_xla"},
        {"kv_write": "loop,loop"},
        {"enable_prefix_caching": False},
        {"async_scheduling": True},
        {"tensor_parallel_size": 2},
        {"alignable": False},
        {"extra_engine_args": {"gpu_memory_utilization": 0.8}},
    ],
)
def test_another_engine_may_fit(changes: dict[str, Any]) -> None:
    assert not dominated(with_engine(**changes), "hbm")


def test_another_arm_or_accelerator_may_fit_and_the_seed_does_not_matter() -> None:
    assert not dominated(replace(FAILED, arm="page_aligned")) and not dominated(replace(FAILED, accelerator="TPU v7x-1"))
    assert dominated(with_engine(seed=9))


@pytest.mark.parametrize(
    ("space", "smaller", "larger"), [(None, False, False), ("vmem", False, False), ("hbm", True, True), ("smem", True, False)]
)
def test_the_page_size_counts_as_the_memory_does(space: str | None, smaller: bool, larger: bool) -> None:
    """HBM: the engine fills what is left, whatever the page size. SMEM: smaller pages make larger block tables."""
    assert dominated(with_engine(block_size=16), space) is smaller
    assert dominated(with_engine(block_size=64), space) is larger


def test_a_given_pool_counts_in_tokens() -> None:
    failed = with_engine(num_gpu_blocks=1000)  # 32000 tokens
    assert dominated(with_engine(num_gpu_blocks=1001), None, failed) and not dominated(with_engine(num_gpu_blocks=999), None, failed)
    assert dominated(with_engine(num_gpu_blocks=500, block_size=64), "hbm", failed)
    assert not dominated(with_engine(num_gpu_blocks=499, block_size=64), "hbm", failed)
    assert dominated(with_engine(num_gpu_blocks=2000, block_size=16), "hbm", failed)
    assert not dominated(with_engine(num_gpu_blocks=500, block_size=64), None, failed)


def test_a_pool_that_adapts_and_a_given_one_cannot_be_compared() -> None:
    assert not dominated(FAILED, "hbm", with_engine(num_gpu_blocks=10))
    assert not dominated(with_engine(num_gpu_blocks=10**6), "hbm")
    assert dominated(with_engine(num_gpu_blocks=10), "smem")  # the pool is not in SMEM


SIZES = st.tuples(st.sampled_from([16, 32, 64]), *(st.integers(1, 3) for _ in range(4)))


@examples(80)
@given(SIZES, SIZES, SIZES, st.sampled_from([None, "hbm", "vmem", "smem"]))
def test_dominance_is_an_order(one: Any, two: Any, three: Any, space: str | None) -> None:
    """Everything dominates itself, and what dominates something that dominates dominates."""
    a, b, c = (
        replace(
            with_engine(block_size=page, max_num_batched_tokens=tokens * 1024, max_num_seqs=seqs * 8, max_model_len=length * 1024),
            budget=budget * 128,
        )
        for page, tokens, seqs, length, budget in (one, two, three)
    )
    assert dominated(a, space, a)
    if dominated(b, space, a) and dominated(c, space, b):
        assert dominated(c, space, a)


def trial(number: int, state: TrialState = TrialState.FAIL, error: FailureClass | None = FailureClass.OUT_OF_MEMORY) -> Trial:
    cold = asdict(ENGINE)
    cold["compiled_max_num_batched_tokens"] = cold.pop("max_num_batched_tokens")
    requested = {**cold, "block_size": 32, "max_num_batched_tokens": 512, "arm": "default"}
    return Trial(
        1,
        number,
        "default",
        32,
        512,
        requested,
        "w",
        state=state,
        error_class=error,
        error_message="ran out",
        log_excerpt="memory space smem",
    )


def test_only_trials_that_ran_out_of_memory_teach() -> None:
    crashed = trial(1, error=FailureClass.ENGINE_CRASH)
    (known,) = known_out_of_memory([crashed, trial(2), trial(3, TrialState.COMPLETE, None)])
    assert known == OutOfMemory(replace(FAILED, accelerator=""), "smem", "trial 2")
    assert dominated_by_oom(attempt_of(trial(4)), [known]) == "needs at least the memory with which trial 2 ran out of SMEM"

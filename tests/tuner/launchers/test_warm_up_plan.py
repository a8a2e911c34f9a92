from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tuner.core.contract import LoadPlan, PlannedRequest
from tuner.launchers.warm_up_plan import warm_up_plan


def plan_of(*prompts: tuple[int, ...]) -> LoadPlan:
    return LoadPlan(tuple(PlannedRequest(f"r{index}", prompt, 4) for index, prompt in enumerate(prompts)), 8, "0" * 64)


def test_one_prompt_for_each_padded_step_size_up_to_the_budget() -> None:
    warm = warm_up_plan(plan_of(tuple(range(100)), (7, 8)), 256, 512)
    assert [len(request.prompt_token_ids) for request in warm.requests] == [16, 32, 64, 128, 256]
    assert warm.max_concurrency == 1
    assert len({request.prompt_token_ids[0] for request in warm.requests}) == 5  # nothing to find in the prefix cache


@given(st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=30), min_size=1, max_size=5), st.integers(1, 3000), st.integers(16, 600))
def test_every_request_fits_the_model_and_uses_the_plans_tokens(prompts: list[list[int]], budget: int, max_model_len: int) -> None:
    warm = warm_up_plan(plan_of(*map(tuple, prompts)), budget, max_model_len)
    known = {token for prompt in prompts for token in prompt}
    lengths = [len(request.prompt_token_ids) for request in warm.requests]
    assert lengths == sorted(set(lengths))
    assert lengths[-1] == min(budget, max_model_len - 2)
    for request in warm.requests:
        assert len(request.prompt_token_ids) + request.max_tokens <= max_model_len
        assert set(request.prompt_token_ids) <= known

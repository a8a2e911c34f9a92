"""The real engine generates the reference's tokens whatever the arm, page size, chunk budget, prefix caching and preemption."""

from __future__ import annotations

import pytest

from tests.plugins.engine import RUN_TIMEOUT_S, Reference, SharedEngines
from tuner.core.contract import ABLATION_ARM, ARMS, LiveSettings
from tuner.launchers.local import LocalSession

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]


def wrong_requests(session: LocalSession, live: LiveSettings, reference: Reference) -> list[str]:
    got = session.generate(live, reference.plan, RUN_TIMEOUT_S)
    return sorted(name for name, tokens in reference.tokens.items() if got[name] != tokens)


# Each option is in one of them; an engine start is the dear part.
ENGINES = [
    pytest.param(32, {}, id="page-32"),
    pytest.param(16, {"alignment_variant": "strict", "enable_prefix_caching": False}, id="page-16-strict-without-prefix-caching"),
    pytest.param(16, {"alignment_variant": "fill_bucket"}, id="page-16-fill-bucket"),
    pytest.param(
        64,
        {"kv_write": "loop,loop", "alignment_variant": "fill_bucket", "enable_prefix_caching": False},
        id="page-64-loops-fill-bucket-without-prefix-caching",
    ),
    pytest.param(128, {"kv_write": "scatter,scatter", "async_scheduling": True}, id="page-128-scatters-async"),
]


@pytest.mark.parametrize(("page_size", "changes"), ENGINES)
def test_tokens_equal_the_reference_in_both_arms_and_all_budgets(
    engines: SharedEngines, reference: Reference, page_size: int, changes: dict[str, object]
) -> None:
    session = engines(page_size, **changes)
    for budget in (128, 200, 256):
        for arm in (*ARMS, ABLATION_ARM):
            if changes.get("alignment_variant") == "strict" and budget % page_size:
                continue  # strict may stall where the page does not divide the budget: see test_alignment
            assert wrong_requests(session, LiveSettings(arm, budget), reference) == [], (arm, budget)


def test_prefix_hits_and_preemptions_leave_the_tokens_alone(engines: SharedEngines, reference: Reference) -> None:
    """A KV pool of 15 pages of 32 tokens for up to 8 running requests: requests are preempted and prefixes are found again."""
    session = engines(32, num_gpu_blocks=15, max_model_len=416)
    preemptions = cached = 0
    for budget in (128, 256):
        for arm in ARMS:
            live = LiveSettings(arm, budget)
            assert wrong_requests(session, live, reference) == []
            window = session.measure(live, reference.plan, RUN_TIMEOUT_S)
            preemptions += sum(record.preemptions for record in window.requests)
            cached += sum(record.cached_tokens for record in window.requests)
            assert window.details["unaligned_steps"] == 0
    assert preemptions > 0
    assert cached > 0


def test_negative_control_page_wise_writes_of_unaligned_chunks_are_caught(engines: SharedEngines, reference: Reference) -> None:
    """The forbidden combination, reachable only through a scheduler class in the tests: the comparison above must notice it."""
    session = engines(32, extra_engine_args={"scheduler_cls": "tests.tuner.vllm_plugin.negative_control.PageWiseButUnaligned"})
    assert wrong_requests(session, LiveSettings("default", 128), reference) == []
    assert wrong_requests(session, LiveSettings("page_aligned", 128), reference) != []

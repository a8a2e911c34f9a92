"""vLLM's real scheduler on the demo, without an engine: what alignment does to steps and padding, and what fill_bucket makes of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.plugins.programs import Programs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # importing vLLM


@pytest.fixture(scope="module")
def demo(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, int], dict[str, dict[str, Any]]]:
    """(page size, chunk budget) -> "default" or variant -> sums of a window. In a process of its own: vLLM changes its environment."""
    environment = {"TUNER_CACHE": str(tmp_path_factory.mktemp("cache"))}
    printed = programs.run("bench.padding", "--workloads", "demo", "--json", env=environment)
    rows = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    return {(row["page"], row["budget"]): row["steps"] for row in rows}


def test_the_demos_small_page_and_budget_have_the_same_steps_and_tokens_but_more_padding(demo: Any) -> None:
    """Page size 16, budget 128: really slower (docs/benchmarks.md), with 7.2 % more padded tokens as the only difference."""
    default, aligned = demo[16, 128]["default"], demo[16, 128]["demote"]
    assert (default["steps"], default["scheduled_tokens"], default["padded_tokens"]) == (49, 1966, 2448)
    assert (aligned["steps"], aligned["scheduled_tokens"], aligned["padded_tokens"]) == (49, 1966, 2624)
    assert default["prefill_tokens"] == aligned["prefill_tokens"] == 1746


@pytest.mark.parametrize("page", [16, 32])
def test_identical_schedules_and_padding_where_a_budget_takes_every_prompt_whole(demo: Any, page: int) -> None:
    """These cells show no difference on the engine (docs/benchmarks.md)."""
    names = ("steps", "scheduled_tokens", "padded_tokens", "prefill_tokens")
    assert [demo[page, 512]["default"][name] for name in names] == [demo[page, 512]["demote"][name] for name in names]


def test_a_page_as_large_as_the_budget_keeps_prefills_waiting_for_decodes(demo: Any) -> None:
    assert (demo[128, 128]["default"]["steps"], demo[128, 128]["demote"]["steps"]) == (49, 243)


def test_fill_bucket_pads_less_than_demote_in_every_cell_at_the_same_tokens(demo: Any) -> None:
    for cell, found in demo.items():
        assert found["fill_bucket"]["scheduled_tokens"] == found["demote"]["scheduled_tokens"] == found["default"]["scheduled_tokens"], cell
        assert found["fill_bucket"]["padded_tokens"] < found["demote"]["padded_tokens"], cell
    less = [cell for cell, found in demo.items() if found["fill_bucket"]["padded_tokens"] < found["default"]["padded_tokens"]]
    assert less == [(16, 256), (16, 512), (32, 512), (64, 512), (128, 512)]  # than vLLM's own schedule, too

"""Orders and groups of a study's trials."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.pages.trials_view import TrialOrder, failure_groups, in_order
from storage.records import Trial, TrialState
from tests.storage.builders import a_trial
from tuner.metrics.objective import parse_objectives

MOST, LEAST = parse_objectives("throughput")[0], parse_objectives("ttft_p99_ms")[0]


def trial(number: int, value: float | None = None, name: str = "throughput", **fields: Any) -> Trial:
    state = TrialState.COMPLETE if value is not None else TrialState.FAIL
    values = {name: value} if value is not None else None
    return a_trial(1, number, **{"id": number + 1, "state": state, "values": values, **fields})


def test_best_first_is_by_the_objectives_direction_and_failures_come_last() -> None:
    more = [trial(0, 5.0), trial(1), trial(2, 9.0), trial(3, -1.0)]
    assert [item.number for item in in_order(more, TrialOrder.BEST, MOST)] == [2, 0, 3, 1]
    less = [trial(0, 5.0, "ttft_p99_ms"), trial(1), trial(2, 9.0, "ttft_p99_ms")]
    assert [item.number for item in in_order(less, TrialOrder.BEST, LEAST)] == [0, 2, 1]
    assert in_order(more, TrialOrder.BEST, None) == more


@given(st.lists(st.tuples(st.sampled_from([16, 32]), st.sampled_from([128, 256])), max_size=12), st.sampled_from(TrialOrder))
def test_an_order_loses_nobody_and_keeps_equals_by_number(places: list[tuple[int, int]], order: TrialOrder) -> None:
    trials = [trial(number, block_size=page, max_num_batched_tokens=budget) for number, (page, budget) in enumerate(places)]
    found = in_order(trials, order, MOST)
    assert sorted(item.number for item in found) == list(range(len(trials)))
    for one, other in pairwise(found):
        if (one.block_size, one.max_num_batched_tokens) == (other.block_size, other.max_num_batched_tokens):
            assert one.number < other.number


@pytest.mark.parametrize(("order", "key"), [(TrialOrder.PAGE_SIZE, "block_size"), (TrialOrder.CHUNK_BUDGET, "max_num_batched_tokens")])
def test_an_order_is_the_one_asked_for(order: TrialOrder, key: str) -> None:
    trials = [trial(0, block_size=64, max_num_batched_tokens=128), trial(1, block_size=16, max_num_batched_tokens=512)]
    sizes = [getattr(item, key) for item in in_order(trials, order, MOST)]
    assert sizes == sorted(sizes)


def test_the_same_reason_is_one_group_and_failures_come_before_what_was_pruned() -> None:
    rooms = [trial(number, error_class="out_of_memory", error_message="no room") for number in range(2)]
    other = trial(2, error_class="timeout", error_message="took long")
    skipped = [trial(number, state=TrialState.PRUNED, notes={"skipped": "no budget left"}) for number in range(3, 7)]
    groups = failure_groups([trial(9, 1.0), *skipped, other, *rooms])
    assert [(group.word, group.error_class, len(group.trials)) for group in groups] == [
        ("failed", "out_of_memory", 2),
        ("failed", "timeout", 1),
        ("skipped", "", 4),
    ]

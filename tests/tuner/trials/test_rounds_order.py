"""Every round has everything once, the arms of a cell side by side, in both orders equally often."""

from __future__ import annotations

from collections import Counter
from itertools import combinations, pairwise, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.trials.rounds import round_order

ARMS = ("default", "page_aligned", "page_aligned_token_write")
type Item = tuple[str, str]

cells_of = st.dictionaries(st.text("abc16", min_size=1, max_size=4), st.integers(1, len(ARMS)), min_size=1, max_size=8).map(
    lambda sizes: {name: [(name, arm) for arm in ARMS[:size]] for name, size in sizes.items()}
)
seeds = st.text(max_size=5)
rounds = st.integers(0, 60)


@given(cells_of, seeds, rounds)
def test_every_configuration_once_and_the_arms_of_a_cell_side_by_side(cells: dict[str, list[Item]], seed: str, number: int) -> None:
    order = round_order(cells, seed, number)
    assert sorted(order) == sorted(item for arms in cells.values() for item in arms)
    changes = sum(one[0] != other[0] for one, other in pairwise(order))
    assert changes == len(cells) - 1


@given(cells_of, seeds, rounds)
def test_two_rounds_have_every_two_arms_in_both_orders(cells: dict[str, list[Item]], seed: str, number: int) -> None:
    even, odd = (round_order(cells, seed, 2 * (number // 2) + turn) for turn in (0, 1))
    for arms in cells.values():
        for one, other in combinations(arms, 2):
            assert (even.index(one) < even.index(other)) != (odd.index(one) < odd.index(other))


@given(cells_of, seeds, rounds, st.data())
def test_the_order_is_a_function_of_seed_and_round_alone(cells: dict[str, list[Item]], seed: str, number: int, data: st.DataObject) -> None:
    """What was decided and left the rounds changes nothing for the cells that stay; nor does the order of the mapping."""
    names = data.draw(st.permutations(list(cells)))
    whole = round_order({name: cells[name] for name in names}, seed, number)
    assert whole == round_order(cells, seed, number)
    fewer = {name: cells[name] for name in names[: data.draw(st.integers(0, len(names)))]}
    for name in fewer:
        assert [item for item in round_order(fewer, seed, number) if item[0] == name] == [item for item in whole if item[0] == name]


@pytest.mark.slow
def test_every_order_of_cells_and_of_arms_comes_up_about_equally_often() -> None:
    cells = {name: [(name, arm) for arm in ARMS[:2]] for name in ("a", "b", "c")}
    many = [round_order(cells, str(seed), 2 * seed) for seed in range(2400)]
    by_cells = Counter(tuple(dict.fromkeys(name for name, _ in order)) for order in many)
    assert set(by_cells) == set(permutations("abc")) and min(by_cells.values()) > 320, "400 of each, sd 18"
    firsts = Counter(tuple(order.index((name, ARMS[0])) < order.index((name, ARMS[1])) for name in cells) for order in many)
    assert len(firsts) == 8 and min(firsts.values()) > 230, "cells choose independently: 300 of each, sd 16"

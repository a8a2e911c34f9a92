from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from tests.quick import examples
from tuner.core.errors import BadInput
from tuner.sampler import grid as grid_module
from tuner.sampler.grid import CandidateGrid, Space


def whole(distributions: Mapping[str, BaseDistribution], contains: Callable[[dict[str, Any]], bool] | None = None) -> CandidateGrid:
    space = Space(distributions, contains)
    rows, all_of_them = space.first(10_000, seed=0)
    assert all_of_them
    return CandidateGrid(space, rows)


def test_every_combination_is_a_candidate_once_and_is_found_again() -> None:
    grid = whole(
        {
            "kind": CategoricalDistribution(("b", "a")),
            "size": CategoricalDistribution((64, 16, 32)),
            "steps": IntDistribution(2, 6, step=2),
            "share": FloatDistribution(0.0, 0.5, step=0.25),
        }
    )
    every = [grid.params(candidate) for candidate in range(len(grid))]
    assert len({tuple(sorted(params.items())) for params in every}) == len(grid) == 2 * 3 * 3 * 3
    assert [grid.find(params) for params in every] == list(range(len(grid)))
    assert {params["share"] for params in every} == {0.0, 0.25, 0.5}
    assert grid.find({**every[0], "size": 48}) is None
    assert grid.find({"kind": "a"}) is None


def test_numbers_are_placed_by_rank_and_words_are_all_equally_far() -> None:
    grid = whole({"number": CategoricalDistribution((60_000, 1, 10)), "word": CategoricalDistribution(("x", "y", "z"))})
    number, word = grid.axes
    assert number.values == (1, 10, 60_000)
    assert number.distances.tolist() == [[0.0, 0.5, 1.0], [0.5, 0.0, 0.5], [1.0, 0.5, 0.0]]
    assert word.distances.tolist() == [[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0]]


def test_one_value_only_and_truth_values() -> None:
    grid = whole({"flag": CategoricalDistribution((True, False)), "only": IntDistribution(7, 7)})
    assert len(grid) == 2
    assert grid.axes[1].distances.tolist() == [[0.0]]
    assert grid.find({"flag": 1, "only": 7}) is None


@examples(20)
@given(st.permutations(["a", "b", "c", "d"]), st.permutations([16, 32, 64, 128]))
def test_the_order_in_which_choices_are_written_changes_nothing(words: list[str], numbers: list[int]) -> None:
    grid = whole({"n": CategoricalDistribution(tuple(numbers)), "w": CategoricalDistribution(tuple(words))})
    plain = whole({"w": CategoricalDistribution(("a", "b", "c", "d")), "n": CategoricalDistribution((16, 32, 64, 128))})
    assert [grid.params(candidate) for candidate in range(16)] == [plain.params(candidate) for candidate in range(16)]


def test_what_cannot_run_is_no_candidate_and_fixed_values_select() -> None:
    grid = whole({"a": IntDistribution(1, 4), "b": IntDistribution(1, 4)}, contains=lambda params: params["a"] <= params["b"])
    assert len(grid) == 10
    assert grid.find({"a": 3, "b": 2}) is None
    chosen = [grid.params(int(candidate)) for candidate in np.flatnonzero(grid.matching({"a": 3, "other": 1}))]
    assert chosen == [{"a": 3, "b": 3}, {"a": 3, "b": 4}]
    assert not grid.matching({"a": 9}).any()


GREAT = {f"x{number}": IntDistribution(1, 10) for number in range(4)}


def test_of_a_great_space_the_first_rows_are_random_and_no_two_alike() -> None:
    (first, all_of_them), (same, _), (other, _) = (Space(GREAT).first(100, seed) for seed in (1, 1, 2))
    assert not all_of_them
    assert len(np.unique(first, axis=0)) == len(first) == 100
    assert np.array_equal(first, same) and not np.array_equal(first[:50], other[:50])
    assert (np.ptp(first, axis=0) >= 8).all(), "from everywhere"


@pytest.mark.slow
@pytest.mark.parametrize("can_run", [1, 3, 99])
def test_conditions_come_before_the_limit_so_that_rare_ones_are_all_found(can_run: int) -> None:
    """Of grids above 20,000 combinations some were drawn first and conditions applied to them: what was good was lost, or nothing left."""
    space = Space({f"x{number}": IntDistribution(0, 9) for number in range(5)}, lambda params: int(value_of(params)) % 10_007 < can_run)
    rows, all_of_them = space.first(10_000, seed=3)
    expected = [number for number in range(10**5) if number % 10_007 < can_run]
    assert all_of_them and [int(value_of(space.params(row))) for row in rows] == expected


def value_of(params: Mapping[str, Any]) -> str:
    return "".join(str(params[name]) for name in sorted(params))


@pytest.mark.parametrize("axes", [7, 9, 20])
def test_of_ten_million_combinations_and_more_a_few_are_kept(axes: int) -> None:
    space = Space({f"x{number:02}": IntDistribution(0, 9) for number in range(axes)}, lambda params: params["x00"] < 5)
    rows, all_of_them = space.first(1000, seed=1)
    assert not all_of_them and len(np.unique(rows, axis=0)) == 1000 and rows[:, 0].max() == 4


@pytest.mark.parametrize("sides", [2, 3, 10, 101])
def test_a_random_order_meets_everything_once(sides: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid_module, "_CHUNK", 7)
    space = Space({"a": IntDistribution(1, sides), "b": IntDistribution(1, 3)})
    met = np.concatenate(list(space._in_random_order(seed=5)))
    assert len(met) == len(np.unique(met, axis=0)) == 3 * sides


def test_a_list_of_configurations_is_taken_as_it_is() -> None:
    listed = [{"x0": 3, "x1": 4, "x2": 5, "x3": number} for number in range(1, 6)]
    space = Space(GREAT, configurations=[*listed, listed[0], {"x0": 99}])
    rows, all_of_them = space.first(100, seed=1)
    assert all_of_them and [space.params(row) for row in rows] == listed
    assert len(space.first(3, seed=1)[0]) == 3


@pytest.mark.parametrize("axes", [3, 6, 9])
def test_nothing_that_can_run_among_many(axes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid_module, "MAX_LOOKED_AT", 20_000)
    space = Space({f"x{number}": IntDistribution(0, 9) for number in range(axes)}, lambda _: False)
    with pytest.raises(BadInput, match="no configuration that can run") as refused:
        space.first(10_000, seed=1)
    assert ("drawn at random" in str(refused.value)) == (axes > 3) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, "no parameter"),
        ({"x": FloatDistribution(0, 1)}, "parameter 'x' has no finite list of values; give it choices or a step"),
    ],
)
def test_bad_spaces(space: dict[str, FloatDistribution], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Space(space)


def test_nothing_that_can_run() -> None:
    with pytest.raises(BadInput, match="no configuration that can run"):
        whole({"x": IntDistribution(1, 3)}, contains=lambda _: False)


@pytest.mark.parametrize(("names", "kinds"), [(["size"], 3), (["kind", "size"], 6), ([], 1), (None, 12)])
def test_candidates_are_alike_in_the_parameters_that_count(names: list[str] | None, kinds: int) -> None:
    kind, size, steps = CategoricalDistribution(("b", "a")), CategoricalDistribution((64, 16, 32)), IntDistribution(2, 4, step=2)
    grid = whole({"kind": kind, "size": size, "steps": steps})
    first, like = grid.alike(names)
    assert len(first) == kinds and len(like) == len(grid)
    for candidate in range(len(grid)):
        mine, its = grid.params(candidate), grid.params(first[like[candidate]])
        assert all(mine[name] == its[name] for name in (mine if names is None else names))

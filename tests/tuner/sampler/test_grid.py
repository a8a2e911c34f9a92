from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from tests.quick import examples
from tuner.core.errors import BadInput
from tuner.sampler import grid as grid_module
from tuner.sampler.grid import CandidateGrid


def test_every_combination_is_a_candidate_once_and_is_found_again() -> None:
    grid = CandidateGrid(
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
    grid = CandidateGrid({"number": CategoricalDistribution((60_000, 1, 10)), "word": CategoricalDistribution(("x", "y", "z"))})
    number, word = grid.axes
    assert number.values == (1, 10, 60_000)
    assert number.distances.tolist() == [[0.0, 0.5, 1.0], [0.5, 0.0, 0.5], [1.0, 0.5, 0.0]]
    assert word.distances.tolist() == [[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0]]


def test_one_value_only_and_truth_values() -> None:
    grid = CandidateGrid({"flag": CategoricalDistribution((True, False)), "only": IntDistribution(7, 7)})
    assert len(grid) == 2
    assert grid.axes[1].distances.tolist() == [[0.0]]
    assert grid.find({"flag": 1, "only": 7}) is None


@examples(20)
@given(st.permutations(["a", "b", "c", "d"]), st.permutations([16, 32, 64, 128]))
def test_the_order_in_which_choices_are_written_changes_nothing(words: list[str], numbers: list[int]) -> None:
    grid = CandidateGrid({"n": CategoricalDistribution(tuple(numbers)), "w": CategoricalDistribution(tuple(words))})
    plain = CandidateGrid({"w": CategoricalDistribution(("a", "b", "c", "d")), "n": CategoricalDistribution((16, 32, 64, 128))})
    assert [grid.params(candidate) for candidate in range(16)] == [plain.params(candidate) for candidate in range(16)]


def test_what_cannot_run_is_no_candidate_and_fixed_values_select() -> None:
    grid = CandidateGrid({"a": IntDistribution(1, 4), "b": IntDistribution(1, 4)}, contains=lambda params: params["a"] <= params["b"])
    assert len(grid) == 10
    assert grid.find({"a": 3, "b": 2}) is None
    chosen = [grid.params(int(candidate)) for candidate in np.flatnonzero(grid.matching({"a": 3, "other": 1}))]
    assert chosen == [{"a": 3, "b": 3}, {"a": 3, "b": 4}]
    assert not grid.matching({"a": 9}).any()


def test_a_great_grid_is_represented_by_a_random_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid_module, "MAX_CANDIDATES", 100)
    space = {f"x{number}": IntDistribution(1, 10) for number in range(4)}
    first, same, other = (CandidateGrid(space, seed=seed) for seed in (1, 1, 2))
    assert 90 < len(first) <= 100
    assert np.array_equal(first.levels, same.levels)
    assert not np.array_equal(first.levels[:50], other.levels[:50])
    assert first.find(first.params(17)) == 17


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, "no parameter"),
        ({"x": FloatDistribution(0, 1)}, "parameter 'x' has no finite list of values; give it choices or a step"),
    ],
)
def test_bad_spaces(space: dict[str, FloatDistribution], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        CandidateGrid(space)


def test_nothing_that_can_run() -> None:
    with pytest.raises(BadInput, match="no configuration that can run"):
        CandidateGrid({"x": IntDistribution(1, 3)}, contains=lambda _: False)


@pytest.mark.parametrize(("names", "kinds"), [(["size"], 3), (["kind", "size"], 6), ([], 1), (None, 12)])
def test_candidates_are_alike_in_the_parameters_that_count(names: list[str] | None, kinds: int) -> None:
    kind, size, steps = CategoricalDistribution(("b", "a")), CategoricalDistribution((64, 16, 32)), IntDistribution(2, 4, step=2)
    grid = CandidateGrid({"kind": kind, "size": size, "steps": steps})
    first, like = grid.alike(names)
    assert len(first) == kinds and len(like) == len(grid)
    for candidate in range(len(grid)):
        mine, its = grid.params(candidate), grid.params(first[like[candidate]])
        assert all(mine[name] == its[name] for name in (mine if names is None else names))

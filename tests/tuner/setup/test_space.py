"""The space holds each configuration once, groups them by engine, and puts vLLM's defaults first."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution

from tests.tuner.workbench import config_of
from tuner.core.contract import ARM_DEFAULT, ARM_PAGE_ALIGNED, ARMS
from tuner.setup.config import StudyConfig
from tuner.setup.space import Configuration, build_space, default_page_sizes
from tuner.setup.vllm_defaults import VllmDefaults, vllm_defaults

PAGES = st.lists(st.sampled_from([16, 32, 64, 128]), min_size=1, max_size=4, unique=True)
BUDGETS = st.lists(st.sampled_from([128, 256, 512, 2048, 4096]), min_size=1, max_size=5, unique=True)


def own(page: int) -> VllmDefaults:
    return VllmDefaults(page, 2048)


@given(PAGES, BUDGETS, st.sampled_from([ARMS, (ARM_DEFAULT,), (ARM_PAGE_ALIGNED,)]), st.sampled_from([16, 32, 256]))
def test_every_combination_is_there_once(pages: list[int], budgets: list[int], arms: tuple[str, ...], default_page: int) -> None:
    space = build_space(
        StudyConfig(model="m", study="s", page_sizes=tuple(pages), chunk_budgets=tuple(budgets), arms=arms), own(default_page)
    )
    points = space.configurations
    assert len(points) == len(set(points)) == len(pages) * len(budgets) * len(arms)
    assert points[0] == space.baseline
    sizes = [point.block_size for point in points]
    assert [size for index, size in enumerate(sizes) if index == 0 or size != sizes[index - 1]] == list(dict.fromkeys(sizes)), "grouped"
    assert {point for size in pages for point in space.group(size)} == set(points)
    assert space.compiled_max == max(budgets)


@given(PAGES, BUDGETS)
def test_twins_come_in_pairs_default_first(pages: list[int], budgets: list[int]) -> None:
    space = build_space(StudyConfig(model="m", study="s", page_sizes=tuple(pages), chunk_budgets=tuple(budgets)), own(32))
    chosen = space.with_twins(space.configurations[1::3])
    assert len(chosen) == len(set(chosen)) and len(chosen) % 2 == 0
    for first, second in zip(chosen[::2], chosen[1::2], strict=True):
        assert first.arm == ARM_DEFAULT and second == first.twin and second.twin == first


def test_optunas_distributions_hold_exactly_the_values() -> None:
    space = build_space(config_of(page_sizes=[32, 16]), own(16))
    found = space.distributions()
    assert all(isinstance(item, CategoricalDistribution) for item in found.values())
    assert {name: item.choices for name, item in found.items() if isinstance(item, CategoricalDistribution)} == {
        "block_size": (16, 32),
        "max_num_batched_tokens": (128, 256),
        "arm": ARMS,
    }
    for point in space.configurations:
        assert Configuration.from_params(point.params) == point


@pytest.mark.parametrize(("default_page", "expected"), [(16, 16), (32, 32), (256, 128), (48, 64)])
def test_the_baseline_is_the_page_size_nearest_to_vllms(default_page: int, expected: int) -> None:
    space = build_space(config_of(page_sizes=[16, 32, 64, 128], chunk_budgets=[128, 1024, 8192]), own(default_page))
    assert space.baseline == Configuration(expected, 1024, ARM_DEFAULT)


def pages_of(max_model_len: int, max_num_seqs: int = 64, **changes: Any) -> tuple[int, ...]:
    config = StudyConfig(model="m", study="s", **changes)
    return default_page_sizes(config, vllm_defaults(max_model_len, max_num_seqs, {}), max_model_len)


@pytest.mark.parametrize(
    ("max_model_len", "changes", "expected"),
    [
        (512, {}, (16, 32, 64, 128)),
        (2048, {}, (16, 32, 64, 128)),
        (2049, {}, (16, 32, 64, 128, 256)),
        (8192, {}, (16, 32, 64, 128, 256)),
        (40960, {}, (16, 32, 64, 128, 256)),
        (64, {}, (16, 32, 64)),
        (8192, {"chunk_budgets": (128, 2048)}, (16, 32, 64, 128)),
        (8192, {"chunk_budgets": (128, 2048), "arms": (ARM_DEFAULT,)}, (16, 32, 64, 128, 256)),
        (8192, {"chunk_budgets": (96,), "alignment_variant": "strict"}, (16, 32)),
        (8192, {"chunk_budgets": (8,)}, (16,)),
    ],
)
def test_the_page_sizes_of_a_search_that_names_none(max_model_len: int, changes: dict[str, Any], expected: tuple[int, ...]) -> None:
    assert pages_of(max_model_len, **changes) == expected


@given(st.integers(16, 200_000), st.sampled_from([1, 8, 64, 128, 256, 512]))
def test_vllms_own_page_is_among_them_wherever_it_fits(max_model_len: int, max_num_seqs: int) -> None:
    own = vllm_defaults(max_model_len, max_num_seqs, {}).block_size
    assert (own in pages_of(max_model_len, max_num_seqs)) == (own <= min(512, max_model_len))


def test_the_space_knows_whether_it_holds_vllms_own_configuration() -> None:
    own = VllmDefaults(32, 256)
    assert build_space(config_of(), own).has_vllms_own
    assert not build_space(config_of(page_sizes=[16, 64]), own).has_vllms_own
    assert not build_space(config_of(chunk_budgets=[128]), own).has_vllms_own
    assert not build_space(config_of(arms=[ARM_PAGE_ALIGNED]), own).has_vllms_own

"""The space holds each configuration once, groups them by engine, and puts vLLM's defaults first."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution

from tests.tuner.workbench import config_of
from tuner.core.contract import ARM_DEFAULT, ARM_PAGE_ALIGNED, ARMS
from tuner.core.errors import BadInput
from tuner.setup.config import StudyConfig
from tuner.setup.space import Configuration, SearchSpace, build_space, default_page_sizes
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
    assert {point for size in pages for point in space.group((size, ()))} == set(points)
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


def factored(**factors: Any) -> SearchSpace:
    levels = {name.replace("env_", "env:"): value for name, value in factors.items()}
    return build_space(config_of(factors=levels), own(16), {"max_num_seqs": 256, "kv_cache_dtype": "auto"})


def test_cells_have_further_factors_and_engines_the_cold_ones() -> None:
    space = factored(max_num_seqs="8,16", kv_cache_dtype="fp8,auto")
    assert len(space.configurations) == 2 * 2 * 2 * 2 * 2 and len(space.cells) == 16
    assert (
        space.configurations[0] == space.baseline == Configuration(16, 256, ARM_DEFAULT, (("kv_cache_dtype", "auto"), ("max_num_seqs", 16)))
    )
    assert space.engines[:2] == ((16, (("kv_cache_dtype", "auto"),)), (16, (("kv_cache_dtype", "fp8"),)))
    order = [point.engine for point in space.configurations]
    assert [key for index, key in enumerate(order) if index == 0 or key != order[index - 1]] == list(space.engines), "grouped"
    assert all(len(space.group(engine)) == 8 for engine in space.engines) and len(space.engines) == 4
    for point in space.configurations:
        assert Configuration.from_params(point.params) == point and point.twin.twin == point and point.twin.cell == point.cell
    assert {point.live.max_num_seqs for point in space.configurations} == {8, 16}
    assert set(space.distributions()) == {"block_size", "max_num_batched_tokens", "arm", "max_num_seqs", "kv_cache_dtype"}


def test_without_factors_a_cell_is_what_it_was() -> None:
    point = Configuration(16, 128, ARM_DEFAULT)
    assert (point.cell, str(point), point.live.max_num_seqs) == ((16, 128), "default p16 b128", None)
    assert point.params == {"block_size": 16, "max_num_batched_tokens": 128, "arm": ARM_DEFAULT}


def test_more_requests_than_a_step_has_tokens_are_no_configuration() -> None:
    space = factored(max_num_seqs="8,200")
    assert {point.max_num_batched_tokens for point in space.configurations if dict(point.factors)["max_num_seqs"] == 200} == {256}
    assert {point.max_num_batched_tokens for point in space.configurations if dict(point.factors)["max_num_seqs"] == 8} == {128, 256}


def test_numbers_and_words_of_one_factor_have_an_order() -> None:
    space = factored(long_prefill_token_threshold=[16, "unset", 8])
    assert space.factors["long_prefill_token_threshold"] == (8, 16, "unset")
    assert len(sorted(space.configurations)) == 24


def test_ten_million_combinations_are_refused_in_one_line() -> None:
    with pytest.raises(BadInput, match=r"factors: 10,240,000 configurations, more than 1,000,000; give fewer factors"):
        factored(max_num_seqs="1..128", long_prefill_token_threshold="0..999", max_long_partial_prefills="1..10")


def test_vllms_own_configuration_has_its_own_levels() -> None:
    everything = config_of(page_sizes=[16, 32], chunk_budgets=[1024, 2048], factors={"max_num_seqs": "64,256"})
    assert build_space(everything, own(16), {"max_num_seqs": 256}).has_vllms_own
    assert not build_space(everything, own(16), {}).has_vllms_own, "not known"
    less = config_of(page_sizes=[16, 32], chunk_budgets=[1024, 2048], factors={"max_num_seqs": "64,128"})
    assert not build_space(less, own(16), {"max_num_seqs": 256}).has_vllms_own

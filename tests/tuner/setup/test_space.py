"""The space holds each configuration once, groups them by engine, and puts vLLM's defaults first."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution

from tests.tuner.workbench import config_of
from tuner.core.contract import ARM_DEFAULT, ARM_PAGE_ALIGNED, ARMS
from tuner.setup.config import StudyConfig
from tuner.setup.space import Configuration, build_space, default_block_size

PAGES = st.lists(st.sampled_from([16, 32, 64, 128]), min_size=1, max_size=4, unique=True)
BUDGETS = st.lists(st.sampled_from([128, 256, 512, 2048, 4096]), min_size=1, max_size=5, unique=True)


@given(PAGES, BUDGETS, st.sampled_from([ARMS, (ARM_DEFAULT,), (ARM_PAGE_ALIGNED,)]), st.sampled_from([16, 32, 256]))
def test_every_combination_is_there_once(pages: list[int], budgets: list[int], arms: tuple[str, ...], default_page: int) -> None:
    space = build_space(StudyConfig(model="m", study="s", page_sizes=tuple(pages), chunk_budgets=tuple(budgets), arms=arms), default_page)
    points = space.configurations
    assert len(points) == len(set(points)) == len(pages) * len(budgets) * len(arms)
    assert points[0] == space.baseline
    sizes = [point.block_size for point in points]
    assert [size for index, size in enumerate(sizes) if index == 0 or size != sizes[index - 1]] == list(dict.fromkeys(sizes)), "grouped"
    assert {point for size in pages for point in space.group(size)} == set(points)
    assert space.compiled_max == max(budgets)


@given(PAGES, BUDGETS)
def test_twins_come_in_pairs_default_first(pages: list[int], budgets: list[int]) -> None:
    space = build_space(StudyConfig(model="m", study="s", page_sizes=tuple(pages), chunk_budgets=tuple(budgets)), 32)
    chosen = space.with_twins(space.configurations[1::3])
    assert len(chosen) == len(set(chosen)) and len(chosen) % 2 == 0
    for first, second in zip(chosen[::2], chosen[1::2], strict=True):
        assert first.arm == ARM_DEFAULT and second == first.twin and second.twin == first


def test_optunas_distributions_hold_exactly_the_values() -> None:
    space = build_space(config_of(page_sizes=[32, 16]), 16)
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
    space = build_space(config_of(page_sizes=[16, 32, 64, 128], chunk_budgets=[128, 1024, 8192]), default_page)
    assert space.baseline == Configuration(expected, 1024, ARM_DEFAULT)


@pytest.mark.parametrize(("max_model_len", "expected"), [(128, 16), (256, 16), (512, 32), (513, 64), (4096, 256), (8192, 256), (8193, 16)])
def test_the_page_size_that_tpu_inference_chooses(max_model_len: int, expected: int) -> None:
    assert default_block_size(max_model_len) == expected


def test_the_same_page_size_as_the_installed_tpu_inference() -> None:
    """Ours is read off its source; hold it there."""
    package = importlib.util.find_spec("tpu_inference")  # importing it takes twenty seconds
    if package is None or not package.submodule_search_locations:
        pytest.skip("needs tpu-inference")
    source = Path(next(iter(package.submodule_search_locations))) / "layers/vllm/backends/flash_attn.py"
    tree = ast.parse(source.read_text())
    function = next(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "get_page_size")
    function.decorator_list, function.args.args[0].annotation, function.returns = [], None, None
    namespace: dict[str, Callable[[Any], int]] = {"next_power_of_2": lambda number: 1 << (number - 1).bit_length()}
    exec(compile(ast.Module([function], []), str(source), "exec"), namespace)
    for length in (100, 256, 300, 512, 1000, 2048, 4096, 8192, 8200, 32768):
        config = SimpleNamespace(model_config=SimpleNamespace(max_model_len=length))
        assert namespace["get_page_size"](config) == default_block_size(length)

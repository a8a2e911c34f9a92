"""The search space: which configurations there are, which of them share an engine, and how Optuna sees them. Pure but for Optuna's types.

A *cell* is a page size and a chunk budget; a configuration is a cell and an arm. The page size is cold (a new engine), the budget and the
arm are live, so all configurations of a page size form one *group* that runs in one engine compiled for the largest budget.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuner.core.contract import ARM_DEFAULT, ARM_PAGE_ALIGNED, LiveSettings
from tuner.setup.config import StudyConfig
from tuner.setup.feasibility import starvation

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


# What `vllm serve` 0.32.0 takes where no budget is given, on devices with less than 70 GiB. Source: vllm/engine/arg_utils.py,
# get_batch_defaults; its smaller TPU values are never reached, because they wait for chip names that tpu-inference does not report.
DEFAULT_BUDGET = 2048


@dataclass(frozen=True, order=True)
class Configuration:
    """One configuration to measure; the names are those of storage.records.Trial."""

    block_size: int
    max_num_batched_tokens: int
    arm: str

    @property
    def cell(self) -> tuple[int, int]:
        return self.block_size, self.max_num_batched_tokens

    @property
    def twin(self) -> Configuration:
        """The other arm in the same cell."""
        return Configuration(*self.cell, ARM_DEFAULT if self.arm == ARM_PAGE_ALIGNED else ARM_PAGE_ALIGNED)

    @property
    def live(self) -> LiveSettings:
        return LiveSettings(self.arm, self.max_num_batched_tokens)

    @property
    def params(self) -> dict[str, int | str]:
        """The parameters of the Optuna trial."""
        return {"block_size": self.block_size, "max_num_batched_tokens": self.max_num_batched_tokens, "arm": self.arm}

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> Configuration:
        """Inverse of `params`. Raises KeyError for a missing one."""
        return cls(int(params["block_size"]), int(params["max_num_batched_tokens"]), str(params["arm"]))

    def __str__(self) -> str:
        return f"{self.arm} p{self.block_size} b{self.max_num_batched_tokens}"


@dataclass(frozen=True)
class SearchSpace:
    """All configurations that may be measured, in the order of a grid search: the baseline's page size first, in each cell the default arm
    first. `baseline`: the configuration nearest to vLLM's defaults."""

    page_sizes: tuple[int, ...]
    chunk_budgets: tuple[int, ...]
    arms: tuple[str, ...]
    configurations: tuple[Configuration, ...]
    baseline: Configuration

    @property
    def compiled_max(self) -> int:
        """The `max_num_batched_tokens` that a group's engine is compiled for."""
        return max(self.chunk_budgets)

    @property
    def cells(self) -> tuple[tuple[int, int], ...]:
        return tuple(dict.fromkeys(configuration.cell for configuration in self.configurations))

    def __contains__(self, configuration: Configuration) -> bool:
        return configuration in self.configurations

    def group(self, block_size: int) -> tuple[Configuration, ...]:
        return tuple(configuration for configuration in self.configurations if configuration.block_size == block_size)

    def distributions(self) -> dict[str, BaseDistribution]:
        """Optuna's distributions: categorical, in ascending order, because only these few values can be measured."""
        from optuna.distributions import CategoricalDistribution

        return {
            "block_size": CategoricalDistribution(self.page_sizes),
            "max_num_batched_tokens": CategoricalDistribution(self.chunk_budgets),
            "arm": CategoricalDistribution(self.arms),
        }

    def with_twins(self, configurations: Iterable[Configuration]) -> tuple[Configuration, ...]:
        """`configurations` and the other arm of each, if it is in the space, so that the two arms can be compared in every cell."""
        chosen: dict[Configuration, None] = {}
        for configuration in configurations:
            pair = sorted((configuration, configuration.twin), key=lambda item: item.arm != ARM_DEFAULT)
            chosen.update({item: None for item in pair if item in self})
        return tuple(chosen)


def build_space(config: StudyConfig, default_block_size: int) -> SearchSpace:
    """The space of a checked configuration. `default_block_size` is the page size that vLLM would take by itself.

    The baseline is what comes nearest to vLLM's defaults: the default arm, and the page size and budget nearest to vLLM's own.
    """
    page_sizes, budgets = tuple(sorted(config.page_sizes)), tuple(sorted(config.chunk_budgets))
    arms = tuple(sorted(config.arms, key=lambda arm: arm != ARM_DEFAULT))
    nearest = min(page_sizes, key=lambda size: abs(math.log2(size / default_block_size)))
    baseline = Configuration(nearest, min(budgets, key=lambda budget: abs(math.log2(budget / DEFAULT_BUDGET))), arms[0])
    ordered_sizes = [nearest, *(size for size in page_sizes if size != nearest)]
    points = [
        Configuration(page_size, budget, arm)
        for page_size in ordered_sizes
        for budget in sorted(budgets, key=lambda budget: (budget != baseline.max_num_batched_tokens, budget))
        for arm in arms
        if starvation(page_size, budget, (arm,), config.alignment_variant) is None
    ]
    return SearchSpace(page_sizes, budgets, arms, tuple(points), baseline)


def default_block_size(max_model_len: int) -> int:
    """The page size that tpu-inference 0.32.0 chooses where none is given.

    Source: PallasAttentionBackend.get_page_size: 16 above 8192 tokens, else a sixteenth of the next power of two, within 16 and 256.
    """
    if max_model_len > 8192:
        return 16
    return min(256, max(16, (1 << (max_model_len - 1).bit_length()) // 16))

"""The search space: which configurations there are, which of them share an engine, and how Optuna sees them. Pure but for Optuna's types.

A *cell* is a page size and a chunk budget; a configuration is a cell and an arm. The page size is cold (a new engine), the budget and the
arm are live, so all configurations of a page size form one *group* that runs in one engine compiled for the largest budget.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tuner.core.contract import ARM_DEFAULT, ARM_PAGE_ALIGNED, LiveSettings
from tuner.setup.config import StudyConfig
from tuner.setup.feasibility import starvation
from tuner.setup.vllm_defaults import VllmDefaults

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


# What a search tries where no page sizes are named, beside vLLM's own: 256 is that for 2,049 to 8,192 tokens, and worth a try beyond.
USUAL_PAGES = (16, 32, 64, 128)
PAGE_FOR_LONG_REQUESTS, LONG_REQUESTS = 256, 2048


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
    first. `own`: what vLLM would take by itself; `baseline`: that in the default arm, or the nearest to it."""

    page_sizes: tuple[int, ...]
    chunk_budgets: tuple[int, ...]
    arms: tuple[str, ...]
    configurations: tuple[Configuration, ...]
    baseline: Configuration
    own: VllmDefaults

    @property
    def has_vllms_own(self) -> bool:
        """Whether the baseline is vLLM's own configuration."""
        return self.baseline == Configuration(self.own.block_size, self.own.max_num_batched_tokens, ARM_DEFAULT) and self.baseline in self

    @property
    def compiled_max(self) -> int:
        """The `max_num_batched_tokens` that a group's engine is compiled for."""
        return max(self.chunk_budgets)

    @property
    def cells(self) -> tuple[tuple[int, int], ...]:
        return tuple(dict.fromkeys(configuration.cell for configuration in self.configurations))

    def __contains__(self, configuration: Configuration) -> bool:
        return configuration in self._known

    @cached_property
    def _known(self) -> frozenset[Configuration]:
        return frozenset(self.configurations)

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


def build_space(config: StudyConfig, own: VllmDefaults) -> SearchSpace:
    """The space of a checked configuration that names its page sizes. `own`: what vLLM would take by itself."""
    page_sizes, budgets = tuple(sorted(config.page_sizes or ())), tuple(sorted(config.chunk_budgets))
    arms = tuple(sorted(config.arms, key=lambda arm: arm != ARM_DEFAULT))
    page = _nearest(page_sizes, own.block_size)
    baseline = Configuration(page, _nearest(budgets, own.max_num_batched_tokens), arms[0])
    ordered_sizes = [page, *(size for size in page_sizes if size != page)]
    points = [
        Configuration(page_size, budget, arm)
        for page_size in ordered_sizes
        for budget in sorted(budgets, key=lambda budget: (budget != baseline.max_num_batched_tokens, budget))
        for arm in arms
        if starvation(page_size, budget, (arm,), config.alignment_variant) is None
    ]
    return SearchSpace(page_sizes, budgets, arms, tuple(points), baseline, own)


def _nearest(sizes: Sequence[int], size: int) -> int:
    return min(sizes, key=lambda other: abs(math.log2(other / size)))


def default_page_sizes(config: StudyConfig, own: VllmDefaults, max_model_len: int) -> tuple[int, ...]:
    """The page sizes of a search that names none: the usual ones and vLLM's own, as far as they fit into a request and every chunk budget.
    Never empty: where none fits it is the smallest, for the checks to refuse in words."""
    wanted = {*USUAL_PAGES, own.block_size, *([PAGE_FOR_LONG_REQUESTS] if max_model_len > LONG_REQUESTS else [])}
    fitting = [
        size
        for size in sorted(wanted)
        if size <= max_model_len
        and all(starvation(size, budget, config.arms, config.alignment_variant) is None for budget in config.chunk_budgets)
    ]
    return tuple(fitting) or USUAL_PAGES[:1]

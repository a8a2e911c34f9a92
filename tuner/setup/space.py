"""The search space: which configurations there are, which of them share an engine, and how Optuna sees them. Pure but for Optuna's types.

A *cell* is a page size, a chunk budget and a level of each further factor (tuner.core.factors); a configuration is a cell and an arm. The
page size and most factors are cold (a new engine), the budget, the arm and a few factors are live, so all configurations of a page size and
of the cold factors form one *group* that runs in one engine, compiled for the largest live values.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Any

from storage.records import Trial
from tuner.core.contract import ARM_DEFAULT, ARM_PAGE_ALIGNED, LiveSettings
from tuner.core.contrast import ALIGNMENT, ARM, CHUNK_BUDGET, PAGE_SIZE, Contrast, baseline_level
from tuner.core.errors import BadInput
from tuner.core.factors import (
    LIVE_FACTORS,
    UNSET,
    Cell,
    Factors,
    Level,
    cell_of,
    cold_factors,
    factors_in,
    factors_of,
    further,
    in_order,
)
from tuner.setup.conditions import Conditions, check_reached, ordered_conditions
from tuner.setup.config import StudyConfig
from tuner.setup.factors import OF_A_STUDY, engine_default
from tuner.setup.feasibility import starvation
from tuner.setup.vllm_defaults import VllmDefaults

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


# What a search tries where no page sizes are named, beside vLLM's own: 256 is that for 2,049 to 8,192 tokens, and worth a try beyond.
USUAL_PAGES = (16, 32, 64, 128)
PAGE_FOR_LONG_REQUESTS, LONG_REQUESTS = 256, 2048


type EngineKey = tuple[int, Factors]
"""What configurations that share an engine have in common: the page size and the cold factors."""

MOST_CONFIGURATIONS = 1_000_000  # they are kept in memory


@dataclass(frozen=True)
class Configuration:
    """One configuration to measure; the names are those of storage.records.Trial."""

    block_size: int
    max_num_batched_tokens: int
    arm: str
    factors: Factors = ()

    def __lt__(self, other: Configuration) -> bool:
        return self._order < other._order

    @property
    def _order(self) -> tuple[Any, ...]:
        return self.block_size, self.max_num_batched_tokens, self.arm, in_order(self.factors)

    @property
    def cell(self) -> Cell:
        return cell_of(self.block_size, self.max_num_batched_tokens, self.factors)

    @property
    def engine(self) -> EngineKey:
        return self.block_size, cold_factors(self.factors)

    @property
    def twin(self) -> Configuration:
        """The other arm in the same cell."""
        return Configuration.in_cell(self.cell, ARM_DEFAULT if self.arm == ARM_PAGE_ALIGNED else ARM_PAGE_ALIGNED)

    @property
    def live(self) -> LiveSettings:
        said = {name: int(level) for name, level in self.factors if name in LIVE_FACTORS and level != UNSET}
        return LiveSettings(self.arm, self.max_num_batched_tokens, **said)

    @property
    def params(self) -> dict[str, Level]:
        """The parameters of the Optuna trial."""
        return {"block_size": self.block_size, "max_num_batched_tokens": self.max_num_batched_tokens, "arm": self.arm, **dict(self.factors)}

    @classmethod
    def in_cell(cls, cell: Cell, arm: str) -> Configuration:
        return cls(cell[0], cell[1], arm, factors_in(cell))

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> Configuration:
        """Inverse of `params`. Raises KeyError for a missing one."""
        factors = {name: level for name, level in params.items() if name not in _NAMES}
        return cls(int(params["block_size"]), int(params["max_num_batched_tokens"]), str(params["arm"]), factors_of(factors))

    @classmethod
    def of_trial(cls, trial: Trial) -> Configuration:
        return cls(trial.block_size, trial.max_num_batched_tokens, trial.arm, factors_of(trial.factors))

    def __str__(self) -> str:
        return f"{self.arm} p{self.block_size} b{self.max_num_batched_tokens}{further(self.factors)}"


_NAMES = ("block_size", "max_num_batched_tokens", "arm")


@dataclass(frozen=True)
class SearchSpace:
    """All configurations that may be measured, in the order of a grid search: the baseline's page size first, in each cell the default arm
    first. `own`: what vLLM would take by itself; `baseline`: that in the default arm, or the nearest to it. `factors`: name -> levels, of
    those beyond page size, budget and arm; `own_levels`: vLLM's own of these, as far as known."""

    page_sizes: tuple[int, ...]
    chunk_budgets: tuple[int, ...]
    arms: tuple[str, ...]
    configurations: tuple[Configuration, ...]
    baseline: Configuration
    own: VllmDefaults
    factors: Mapping[str, tuple[Level, ...]] = field(default_factory=dict)
    own_levels: Mapping[str, Level] = field(default_factory=dict)
    contrast: Contrast = ALIGNMENT
    conditions: Conditions = field(default_factory=Conditions)

    @property
    def has_vllms_own(self) -> bool:
        """Whether the baseline is vLLM's own configuration."""
        own = Configuration(self.own.block_size, self.own.max_num_batched_tokens, ARM_DEFAULT, factors_of(self.own_levels))
        return self.baseline == own and self.baseline in self

    @property
    def compiled_max(self) -> int:
        """The `max_num_batched_tokens` that a group's engine is compiled for."""
        return max(self.chunk_budgets)

    @property
    def engines(self) -> tuple[EngineKey, ...]:
        """One for each group, in the order of the configurations."""
        return tuple(self._groups)

    @property
    def cells(self) -> tuple[Cell, ...]:
        return tuple(dict.fromkeys(configuration.cell for configuration in self.configurations))

    def canonical(self, configuration: Configuration) -> Configuration:
        """The same in effect, with inactive factors at the level that is measured."""
        return Configuration.from_params(self.conditions.canonical(configuration.params)) if self.conditions.of else configuration

    def __contains__(self, configuration: Configuration) -> bool:
        return configuration in self._known

    @cached_property
    def _known(self) -> frozenset[Configuration]:
        return frozenset(self.configurations)

    def group(self, engine: EngineKey) -> Sequence[Configuration]:
        return self._groups.get(engine, ())

    @cached_property
    def _groups(self) -> dict[EngineKey, list[Configuration]]:
        groups: dict[EngineKey, list[Configuration]] = {}
        for configuration in self.configurations:
            groups.setdefault(configuration.engine, []).append(configuration)
        return groups

    def distributions(self) -> dict[str, BaseDistribution]:
        """Optuna's distributions: categorical, in ascending order, because only these few values can be measured."""
        from optuna.distributions import CategoricalDistribution

        return {
            "block_size": CategoricalDistribution(self.page_sizes),
            "max_num_batched_tokens": CategoricalDistribution(self.chunk_budgets),
            "arm": CategoricalDistribution(self.arms),
            **{name: CategoricalDistribution(levels) for name, levels in self.factors.items()},
        }

    def with_twins(self, configurations: Iterable[Configuration]) -> tuple[Configuration, ...]:
        """`configurations` and the other levels of the compared factor in the cell of each, as far as they are in the space, so that they
        can be compared; by default the other arm."""
        chosen: dict[Configuration, None] = {}
        for configuration in configurations:
            chosen.update(dict.fromkeys(self.beside(configuration)))
        return tuple(chosen)

    def beside(self, configuration: Configuration) -> tuple[Configuration, ...]:
        """All levels of the compared factor in the cell of `configuration`, which is one of them, the baseline level first."""
        contrast = self.contrast
        if contrast.of_arms:
            pair = sorted((configuration, configuration.twin), key=lambda item: item.arm != ARM_DEFAULT)
            return tuple(item for item in pair if item in self)
        return self._beside[contrast.rest(configuration)]

    @cached_property
    def _beside(self) -> dict[tuple[tuple[str, Level], ...], tuple[Configuration, ...]]:
        found: dict[tuple[tuple[str, Level], ...], list[Configuration]] = {}
        for item in self.configurations:
            found.setdefault(self.contrast.rest(item), []).append(item)
        first = self.contrast.baseline
        return {rest: tuple(sorted(items, key=lambda item: item.params[self.contrast.name] != first)) for rest, items in found.items()}

    @property
    def compared_levels(self) -> int:
        """How many levels the compared factor has."""
        return len({item.params[self.contrast.name] for item in self.configurations})

    @property
    def comparisons(self) -> int:
        """How many pairs of a level and the baseline level there are; with the arms, cells."""
        if self.contrast.of_arms:
            return len(self.cells)
        first = self.contrast.baseline
        return sum(len(items) - 1 for items in self._beside.values() if self.contrast.level(items[0]) == first)


def build_space(config: StudyConfig, own: VllmDefaults, own_levels: Mapping[str, Level] | None = None) -> SearchSpace:
    """The space of a checked configuration that names its page sizes. `own`: what vLLM would take by itself, `own_levels`: of the further
    factors, as far as known. Raises BadInput for more configurations than can be kept."""
    page_sizes, budgets = tuple(sorted(config.page_sizes or ())), tuple(sorted(config.chunk_budgets))
    arms = tuple(sorted(config.arms, key=lambda arm: arm != ARM_DEFAULT))
    page, known = _nearest(page_sizes, own.block_size), own_levels or {}
    conditions = conditions_of(config, known)
    factors = {
        name: tuple(sorted(dict.fromkeys((*levels, *_inactive(conditions, name))), key=_by_size))
        for name, levels in sorted(config.factors.items())
    }
    _refuse_too_many(math.prod(map(len, (page_sizes, budgets, arms, *factors.values()))))
    first = {name: _first(levels, known.get(name)) for name, levels in factors.items()}
    baseline = Configuration(page, _nearest(budgets, own.max_num_batched_tokens), arms[0], factors_of(first))
    ordered_sizes = [page, *(size for size in page_sizes if size != page)]
    ordered_budgets = sorted(budgets, key=lambda budget: (budget != baseline.max_num_batched_tokens, budget))
    points = [
        Configuration(page_size, budget, arm, levels)
        for page_size in ordered_sizes
        for levels in _combinations(factors, first)
        for budget in ordered_budgets
        for arm in arms
        if starvation(page_size, budget, (arm,), config.alignment_variant) is None and _fits(dict(levels), budget)
    ]
    if conditions.of:
        points = _allowed(points, conditions, config)
    if factors and points:  # the baseline, but where its number of requests is above its budget
        baseline = points[0]
    space = SearchSpace(
        page_sizes=page_sizes,
        chunk_budgets=budgets,
        arms=arms,
        configurations=tuple(points),
        baseline=baseline,
        own=own,
        factors=factors,
        own_levels=dict(known),
        contrast=_contrast(config, own, known),
        conditions=conditions,
    )
    if conditions.of and not space.contrast.of_arms and not space.comparisons:
        raise BadInput(
            f"no cell has {space.contrast.baseline_words} and another level under these conditions",
            setting="compare",
            value=f"{config.compare}:",
            fix="mend a condition, or compare another factor",
        )
    return space


def conditions_of(config: StudyConfig, known: Mapping[str, Level]) -> Conditions:
    """`known`: vLLM's own levels. Where that is not known an inactive factor is not said; in a table it has the first level named."""
    ordered = ordered_conditions(config.when, config.factors)
    inactive = {}
    for name in ordered:
        if config.launcher == "table":
            inactive[name] = baseline_level(config.factors[name], known.get(name))
        else:
            inactive[name] = known.get(name, engine_default(name) if name in OF_A_STUDY else UNSET)
    return Conditions(ordered, inactive)


def _inactive(conditions: Conditions, name: str) -> Sequence[Level]:
    return (conditions.inactive[name],) if name in conditions.of else ()


def _allowed(points: Sequence[Configuration], conditions: Conditions, config: StudyConfig) -> list[Configuration]:
    """Those whose inactive factors have the level of inactive ones. Raises BadInput where that leaves out a level altogether."""
    named: dict[str, Sequence[Level]] = {PAGE_SIZE: config.page_sizes or (), CHUNK_BUDGET: config.chunk_budgets, ARM: config.arms}
    named |= config.factors
    found = [point for point in points if conditions.allows(point.params, config.factors)]
    reached: dict[str, set[Level]] = {name: set() for name in named}
    for point in found:
        for name, level in point.params.items():
            reached[name].add(level)
    check_reached(named, conditions, reached)
    return found


def _contrast(config: StudyConfig, own: VllmDefaults, known: Mapping[str, Level]) -> Contrast:
    """What the study compares: with vLLM's own level where that is searched, else with the first that is named."""
    name = config.compare
    if name == ARM:
        return ALIGNMENT
    if name in (PAGE_SIZE, CHUNK_BUDGET):
        sizes = config.page_sizes or () if name == PAGE_SIZE else config.chunk_budgets
        return Contrast(name, baseline_level(sizes, own.block_size if name == PAGE_SIZE else own.max_num_batched_tokens))
    return Contrast(name, baseline_level(config.factors[name], known.get(name)))


def _combinations(factors: Mapping[str, Sequence[Level]], first: Mapping[str, Level]) -> Iterator[Factors]:
    """The levels of `first` first; the live factors change fastest, so that the configurations of an engine follow each other."""
    names = sorted(factors, key=lambda name: (name in LIVE_FACTORS, name))
    ordered = [[first[name], *(level for level in factors[name] if level != first[name])] for name in names]
    for levels in product(*ordered):
        yield factors_of(dict(zip(names, levels, strict=True)))


def _fits(levels: Mapping[str, Level], budget: int) -> bool:
    """vLLM refuses more requests at once than a step has tokens."""
    return int(levels.get("max_num_seqs", 0)) <= budget


def _first(levels: Sequence[Level], own: Level | None) -> Level:
    """vLLM's own level, or the nearest number to it; the first where neither is known."""
    if own in levels or own is None:
        return levels[0] if own is None else own
    numbers = [level for level in levels if isinstance(level, int | float) and isinstance(own, int | float)]
    return min(numbers, key=lambda level: abs(level - float(own)), default=levels[0])


def _by_size(level: Level) -> tuple[bool, Level]:
    return isinstance(level, str), level


def _refuse_too_many(count: int) -> None:
    if count > MOST_CONFIGURATIONS:
        raise BadInput(
            f"{count:,} configurations, more than {MOST_CONFIGURATIONS:,}",
            setting="factors",
            fix="give fewer factors, or fewer levels of each",
        )


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

"""What a published recommendation is measured against: vLLM's defaults and its runner-up; and the small study that does so. Pure.

The study is the stored one, with the levels of these two or three configurations alone. What differs only in live settings shares an engine
and its rounds; where they differ in one cold setting, that is compared, and engine starts are the pairs (tuner.search.cold_comparison).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from storage.records import Stage
from tuner.core.contract import ARM_DEFAULT
from tuner.core.contrast import ARM, PAGE_SIZE
from tuner.core.errors import BadInput
from tuner.core.factors import Level, cold_factors
from tuner.metrics.objective import Objective, Slo
from tuner.setup.config import StudyConfig
from tuner.setup.space import Configuration
from tuner.setup.stored_study import StoredStudy
from tuner.verdict.answer import Answer
from tuner.verdict.candidates import best_by_value, candidates_of, feasible, nearest_to_defaults
from tuner.verdict.evidence import Evidence

ROUNDS = 12  # of all that shares an engine: from there on the estimate bears disturbed rounds (tuner.stats.samples)
STARTS, WINDOWS = 8, 3  # of each engine, and in each


@dataclass(frozen=True)
class Contenders:
    """`defaults`: vLLM's own, or the nearest to them that was measured; None where that is what is recommended."""

    recommended: Configuration
    defaults: Configuration | None = None
    runner_up: Configuration | None = None

    @property
    def against(self) -> dict[str, Configuration]:
        """In words -> whom."""
        found = {"vLLM's defaults": self.defaults, "its runner-up": self.runner_up}
        return {words: item for words, item in found.items() if item is not None}

    def __iter__(self) -> Iterator[Configuration]:
        yield self.recommended
        yield from self.against.values()

    @property
    def cold(self) -> list[str]:
        """Names of the cold settings in which they differ."""
        engines = [_engine(item) for item in self]
        return sorted(name for name in {name for engine in engines for name in engine} if len({engine.get(name) for engine in engines}) > 1)

    @property
    def paired(self) -> bool:
        """Whether rounds, or starts of engines that differ in one setting, can be pairs: that setting is one that all of them have."""
        return len(self.cold) <= 1 and all(name in _engine(item) for name in self.cold for item in self)


def configuration_of(answer: Answer) -> Configuration | None:
    """What it recommends; None where that is nothing."""
    place = answer.place
    return None if place is None else Configuration(place[1], place[2], place[0], answer.factors)


def contenders_of(answer: Answer, evidence: Evidence, objective: Objective, slos: tuple[Slo, ...]) -> Contenders:
    """`evidence`: of the study that recommended it. The runner-up goes where three engines would differ in more than one cold setting: then
    nothing would be a pair. Raises BadInput where nothing is recommended."""
    recommended = configuration_of(answer)
    if recommended is None:
        raise BadInput(f"recommendation {answer.id}: what is stored of its settings is damaged")
    searched = candidates_of(evidence, Stage.SEARCH, (objective,))
    nearest = nearest_to_defaults(searched, evidence.defaults)
    defaults = None if nearest is None else Configuration.of_trial(nearest.trial)
    defaults = None if defaults == recommended else defaults
    runner_up = None
    for stage in (Stage.CONFIRM, Stage.SEARCH):
        fit = feasible(candidates_of(evidence, stage, (objective,)), slos)
        others = [item for item in fit if Configuration.of_trial(item.trial) not in (recommended, defaults)]
        if others:
            runner_up = Configuration.of_trial(best_by_value(others, objective).trial)
            break
    found = Contenders(recommended, defaults, runner_up)
    return found if found.paired else Contenders(recommended, defaults)


def check_study(stored: StoredStudy, contenders: Contenders, name: str, **places: Any) -> StudyConfig:
    """`places`: storage, logdir and the like, of who measures. Raises BadInput where a stored setting is damaged."""
    cold = contenders.cold if contenders.paired else []
    levels: dict[str, set[Level]] = {}
    for item in contenders:
        for factor, level in item.factors:
            levels.setdefault(factor, set()).add(level)
    compared: dict[str, Any] = {"compare": ARM, "rounds": {"min": ROUNDS, "max": ROUNDS}}
    if cold:
        compared = {"compare": cold[0], "starts": STARTS, "rounds": {"min": WINDOWS, "max": WINDOWS}}
    return stored.config(
        study=name,
        page_sizes=sorted({item.block_size for item in contenders}),
        chunk_budgets=sorted({item.max_num_batched_tokens for item in contenders}),
        arms=sorted({item.arm for item in contenders}, key=lambda arm: arm != ARM_DEFAULT),
        factors={factor: tuple(sorted(found, key=str)) for factor, found in levels.items()},
        when={factor: condition for factor, condition in (stored.value("when") or {}).items() if factor in levels},
        **{"starts": StudyConfig.model_fields["starts"].default, **compared},
        trials=None,
        time_budget=None,
        sampler="grid",
        warm_start="none",
        profile="none",
        **places,
    )


def windows_of_a_start(contenders: Contenders) -> int | None:
    """None: rounds are the pairs, not engine starts."""
    return WINDOWS if contenders.cold and contenders.paired else None


def _engine(item: Configuration) -> dict[str, Level]:
    """What it needs an engine of its own for."""
    return {PAGE_SIZE: item.block_size, **dict(cold_factors(item.factors))}

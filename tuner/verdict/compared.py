"""Which trials of a study are compared with each other, and how that is said. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

from storage.records import Comparison, Json, Trial
from tuner.core.contrast import ALIGNMENT, ENGINE_START, Contrast
from tuner.core.factors import ENV, Level, factors_in
from tuner.verdict.evidence import ComparedCell

COMPARED = "compared"
"""In the details of a comparison of another factor than page alignment: {"factor", "level", "baseline", "unit"}."""
_EXTRA = "extra_engine_args"  # in the settings of a cell, and "env"


@dataclass(frozen=True)
class Subject:
    """What a sentence is about, in words: `it` (what wins or loses), what it is compared `against`, and what more of would tell."""

    it: str = ALIGNMENT.words()
    against: str = ALIGNMENT.baseline_words
    of_arms: bool = True
    more: str = "rounds a cell"

    @property
    def good(self) -> str:
        return "on" if self.of_arms else "better"

    @property
    def bad(self) -> str:
        return "off" if self.of_arms else "worse"


ALIGNED = Subject()


@dataclass(frozen=True)
class ComparedTrials:
    """The trials of one comparison. `cell`: what it is stored under (tuner.core.contrast: the place)."""

    cell: ComparedCell
    level: Level
    baselines: Sequence[Trial]
    candidates: Sequence[Trial]

    def ordered(self, usable: Callable[[Trial], bool]) -> tuple[list[Trial], list[Trial]]:
        """Both sides in order of their numbers, those that are not usable last."""

        def key(trial: Trial) -> tuple[bool, int]:
            return not usable(trial), trial.number

        return sorted(self.baselines, key=key), sorted(self.candidates, key=key)

    def first(self, usable: Callable[[Trial], bool]) -> tuple[Trial, Trial]:
        one, other = self.ordered(usable)
        return one[0], other[0]


def compared_trials(trials: Sequence[Trial], cells: Mapping[int, ComparedCell], contrast: Contrast) -> list[ComparedTrials]:
    """In the order of the cells: each other level that was tried beside the baseline level. Trials without the factor are left out."""
    groups: dict[Hashable, dict[Level, list[Trial]]] = {}
    for trial in sorted(trials, key=lambda item: item.number):
        if contrast.of_arms or contrast.name in {**trial.factors, "block_size": 0, "max_num_batched_tokens": 0}:
            cell = cells[trial.id]
            key = (contrast.rest(trial), _without(cell.settings, contrast), cell.workload_hash, cell.environment)
            groups.setdefault(key, {}).setdefault(contrast.level(trial), []).append(trial)
    found = []
    for levels in groups.values():
        baselines = levels.get(contrast.baseline, [])
        for level, candidates in levels.items() if baselines else ():
            if level != contrast.baseline:
                found.append(ComparedTrials(_stored_under(candidates[0], cells, contrast), level, baselines, candidates))
    return sorted(found, key=lambda item: item.cell.order)


def is_of_arms(comparison: Comparison) -> bool:
    return COMPARED not in comparison.details


def stored_contrast(comparison: Comparison) -> Contrast:
    """What a stored comparison is about."""
    found = comparison.details.get(COMPARED)
    if found is None:
        return ALIGNMENT
    contrast = Contrast(found["factor"], found["baseline"])
    return contrast if contrast.cold or found.get("unit") != ENGINE_START else replace(contrast, in_turn=True)


def subject_of(contrast: Contrast, levels: Collection[Level]) -> Subject:
    """`levels`: those that were compared with the baseline."""
    if contrast.of_arms:
        return ALIGNED
    several = set(levels)
    it = contrast.words(several.pop() if len(several) == 1 else None)
    return Subject(it, contrast.baseline_words, of_arms=False, more="engine starts a level" if contrast.cold else "rounds a cell")


def contrast_caveats(contrast: Contrast, levels: Collection[Level], pairs: int) -> list[str]:
    """What is to be said of a comparison of another factor than the arm. `pairs`: of the cell with most."""
    found = []
    if len(levels) > 1:
        found.append(
            f"{len(levels)} levels were each compared with {contrast.baseline_words}, and each counts as a cell: "
            "what is said holds for all levels and cells together"
        )
    if contrast.cold:
        found.append(f"compared over {pairs} pairs of engine starts, which are what varies: windows within a start are one value")
    return found


def _drop(settings: Json, path: Sequence[str]) -> None:
    """What is there, and what is empty without it."""
    first, *inside = path
    below = settings.get(first)
    if inside and isinstance(below, dict):
        _drop(below, inside)
        if not below:
            del settings[first]
    elif not inside:
        settings.pop(first, None)


def _stored_under(trial: Trial, cells: Mapping[int, ComparedCell], contrast: Contrast) -> ComparedCell:
    place = contrast.place(trial)
    return replace(cells[trial.id], block_size=place[0], max_num_batched_tokens=place[1], factors=factors_in(place))


def _without(settings: str, contrast: Contrast) -> str:
    """The other settings of a cell, without the compared factor, which is one of them where it is cold."""
    if contrast.of_arms:
        return settings
    found = json.loads(settings)
    found.pop(contrast.name, None)
    for path in ((_EXTRA, *contrast.name.split(".")), ("env", contrast.name.removeprefix(ENV))):
        _drop(found, path)
    return json.dumps(found, sort_keys=True)

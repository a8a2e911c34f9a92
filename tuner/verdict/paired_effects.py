"""What a study's pairs say of the recommended cell: the arms against each other, and the levels of another compared factor. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

from storage.records import Comparison, Trial
from tuner.core.contract import ARM_DEFAULT, ARM_PAGE_ALIGNED
from tuner.core.contrast import ALIGNMENT, ARM, Contrast
from tuner.core.factors import Level, factors_of, level_text
from tuner.metrics.objective import Objective
from tuner.setup.space import Configuration
from tuner.setup.stored_study import StoredStudy
from tuner.verdict.answer import ArmEffect, ComparedLevels, LevelEffect
from tuner.verdict.candidates import Candidate
from tuner.verdict.compare import Question, compare_study
from tuner.verdict.compared import is_of_arms
from tuner.verdict.evidence import Evidence, place_of
from tuner.verdict.level_choice import settle_level, why_set_aside

_MOST_TURNS = 4


class PairedEffects:
    """In one metric. The comparisons are of the search stage, and corrected for the number of cells and of interim analyses, because the
    cell in question was picked for its good values."""

    def __init__(self, evidence: Evidence, objective: Objective) -> None:
        self._evidence = evidence
        self._objective = objective
        self.contrast = evidence.contrast

    def settled(self, winner: Candidate, field: Sequence[Candidate]) -> Candidate:
        """`winner`, or the arm and level of its cell that the pairs decide for. The factor that the study compares has the last word."""
        for _ in range(_MOST_TURNS):
            found = settle_level(winner, field, _by_level(self.arms(winner.trial)), ALIGNMENT, self._objective)
            if not self.contrast.of_arms:
                found = settle_level(found, field, self._levels(found.trial), self.contrast, self._objective)
            if found is winner:
                break
            winner = found
        return winner

    def arms(self, winner: Trial) -> ArmEffect | None:
        """Page-aligned / default in the winner's cell; None where the cell has no pair."""
        for item in self._of_arms:
            if place_of(item) == place_of(winner) and _same_machine(item, winner) and item.pairs:
                return _effect(item)
        return None

    def why_not_aligned(self, winner: Candidate, field: Sequence[Candidate], arms: ArmEffect) -> str | None:
        """Why the default arm is recommended although the pairs say that page_aligned is better; None where that is not so."""
        return why_set_aside(ARM_PAGE_ALIGNED, winner, field, _by_level(arms), ALIGNMENT, self._objective)

    def compared(self, winner: Candidate, field: Sequence[Candidate], *, settled: bool) -> ComparedLevels | None:
        """Each other level of the compared factor in the winner's cell; None where the arms are compared, or where no level has a pair.
        `settled`: the pairs had a say in what is recommended."""
        found, contrast = self._levels(winner.trial), self.contrast
        if not found:
            return None
        for level, effect in found.items() if settled else ():
            effect["set_aside"] = why_set_aside(level, winner, field, found, contrast, self._objective)
        return ComparedLevels(
            factor=contrast.name,
            baseline=contrast.baseline,
            recommended=contrast.level(winner.trial),
            unit=contrast.unit,
            levels=list(found.values()),
        )

    def _levels(self, winner: Trial) -> dict[Level, LevelEffect]:
        contrast, found = self.contrast, {}
        for item in () if contrast.of_arms else self._of_levels:
            side = candidate_of(item)
            if contrast.rest(side) == contrast.rest(winner) and _same_machine(item, winner) and item.pairs:
                found[contrast.level(side)] = LevelEffect(**_effect(item), level=contrast.level(side))
        return found

    @cached_property
    def _of_arms(self) -> Sequence[Comparison]:
        return self._judged(ALIGNMENT)

    @cached_property
    def _of_levels(self) -> Sequence[Comparison]:
        return self._judged(self.contrast)

    def _judged(self, contrast: Contrast) -> Sequence[Comparison]:
        """The study's comparisons; judged here where none is stored, as of a study that has not ended."""
        evidence, metric = self._evidence, self._objective.metric
        stored = [item for item in evidence.comparisons if item.metric == metric and is_of_arms(item) == contrast.of_arms]
        if stored:
            return stored
        rounds = StoredStudy.from_record(evidence.study).rounds
        asked = Question(contrast=contrast, windows=1 if rounds is None else rounds.min)
        judged = compare_study(evidence.study.id, evidence.trials, evidence.measurements, [metric], plan=evidence.interim, question=asked)
        return judged.comparisons


def candidate_of(item: Comparison) -> Configuration:
    """The configuration that a comparison is stored under: the level that is compared with the baseline level."""
    further = dict(item.factors)
    arm = further.pop(ARM, ARM_DEFAULT)
    return Configuration(item.block_size, item.max_num_batched_tokens, str(arm), factors_of(further))


def compared_caveats(compared: ComparedLevels | None, contrast: Contrast, winner: Trial) -> Iterator[str]:
    """What is to be said of the recommended level, and of a better one that is not recommended."""
    if contrast.of_arms:
        return
    name, level = contrast.noun, contrast.level(winner)
    effects = {} if compared is None else {item["level"]: item for item in compared["levels"]}
    if level != contrast.baseline:
        if level not in effects:
            yield f"{contrast.baseline_words} was not measured beside it: nothing is known about the effect of {name} itself"
        elif effects[level]["verdict"] != "better":
            yield (
                f"its advantage over {contrast.baseline_words} in the same cell is not established (verdict: {effects[level]['verdict']})"
            )
    for item in effects.values():
        if item.get("set_aside"):
            yield (
                f"{name} {level_text(item['level'])} is better in this cell over the pairs of the search, "
                f"but not recommended: {item['set_aside']}"
            )


def _by_level(arms: ArmEffect | None) -> Mapping[Level, ArmEffect]:
    return {} if arms is None else {ARM_PAGE_ALIGNED: arms}


def _same_machine(item: Comparison, winner: Trial) -> bool:
    return winner.environment is None or item.details.get("environment", winner.environment) == winner.environment


def _effect(item: Comparison) -> ArmEffect:
    return ArmEffect(metric=item.metric, ratio=item.ratio, low=item.low, high=item.high, verdict=item.verdict, pairs=item.pairs)

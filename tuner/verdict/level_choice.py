"""Which level of a compared factor is recommended in the chosen cell; by default which arm. Pure.

There are two sources: the pairs of the search (rounds of one engine, or engine starts in turn), and the cold starts of the finalists, one
for each level. Two starts of the same engine differ by up to tuner.stats.racing.ENGINE_BAND, which is more than many an effect in question,
so decided pairs weigh more. But only a cold start runs a configuration as it would be served. Hence:
- a level is not recommended where the pairs say that it is worse than the baseline level or makes no practical difference;
- it is where they say that it is better by more than the tie band and the cold values agree with them within ENGINE_BAND; of several such
  levels the one with the largest effect, unless another of them was chosen by its value;
- where the pairs do not decide, or the other level was not confirmed or misses an SLO, the cold values stand.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tuner.core.contrast import Contrast
from tuner.core.factors import Level
from tuner.metrics.objective import Objective
from tuner.stats.intervals import Verdict
from tuner.stats.racing import ENGINE_BAND, TIE_BAND
from tuner.verdict.answer import ArmEffect
from tuner.verdict.candidates import Candidate

type LevelEffects = Mapping[Level, ArmEffect]
"""Level -> its effect against the baseline level, in the winner's cell (ratio is level / baseline level)."""


def settle_level(
    winner: Candidate, field: Sequence[Candidate], effects: LevelEffects, contrast: Contrast, objective: Objective
) -> Candidate:
    """`winner`, or another level of its cell out of `field`."""
    levels = levels_beside(winner, field, contrast)
    baseline = levels.get(contrast.baseline)
    if baseline is None:
        return winner
    level = contrast.level(winner.trial)
    if level != contrast.baseline:
        found = effects.get(level)
        if found is None or found["ratio"] is None:
            return winner
        agreed = found["verdict"] == Verdict.BETTER and _agree(winner, baseline, found["ratio"], objective)
        beyond = agreed and _beyond_a_tie(found["ratio"], objective)
        if beyond or not (agreed or found["verdict"] in (Verdict.WORSE, Verdict.EQUIVALENT)):
            return winner
    return _best(levels, effects, contrast, objective) or baseline


def why_set_aside(
    level: Level, winner: Candidate, field: Sequence[Candidate], effects: LevelEffects, contrast: Contrast, objective: Objective
) -> str | None:
    """Why the baseline level is recommended although the pairs say that `level` is better; None where that is not so."""
    found = effects.get(level)
    if found is None or found["ratio"] is None or found["verdict"] != Verdict.BETTER or contrast.level(winner.trial) != contrast.baseline:
        return None
    if level not in levels_beside(winner, field, contrast):
        return "it has no valid confirmation, or misses an SLO"
    if not _beyond_a_tie(found["ratio"], objective):
        return f"the gain is within the tie band of {TIE_BAND:.0%}, where the simpler configuration is taken"
    return f"when both were started cold their values did not agree with it within {ENGINE_BAND:.0%}"


def levels_beside(winner: Candidate, field: Sequence[Candidate], contrast: Contrast) -> dict[Level, Candidate]:
    """Level -> its candidate in the winner's cell of all else, the winner among them."""
    found = {contrast.level(winner.trial): winner}
    for item in field:
        if item.is_other_arm_of(winner) if contrast.of_arms else contrast.rest(item.trial) == contrast.rest(winner.trial):
            found.setdefault(contrast.level(item.trial), item)
    return found


def _best(levels: Mapping[Level, Candidate], effects: LevelEffects, contrast: Contrast, objective: Objective) -> Candidate | None:
    """Of the levels that are better by more than a tie, and cold as well."""
    baseline = levels[contrast.baseline]
    sizes: dict[Level, float] = {}
    for level, item in levels.items():
        found = effects.get(level)
        ratio = None if found is None or found["verdict"] != Verdict.BETTER else found["ratio"]
        if ratio is not None and _beyond_a_tie(ratio, objective) and _agree(item, baseline, ratio, objective):
            sizes[level] = objective.direction.sign * math.log(ratio)
    return levels[max(sizes, key=sizes.__getitem__)] if sizes else None


def _beyond_a_tie(ratio: float, objective: Objective) -> bool:
    return objective.direction.sign * math.log(ratio) > -math.log(1 - TIE_BAND)


def _agree(item: Candidate, baseline: Candidate, ratio: float, objective: Objective) -> bool:
    values = item.metrics[objective.metric], baseline.metrics[objective.metric]
    return min(values) > 0 and abs(math.log(values[0] / values[1]) - math.log(ratio)) <= math.log(1 + ENGINE_BAND)

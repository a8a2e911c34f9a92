"""Which arm of the chosen cell is recommended. Pure.

There are two sources: the pairs of the search, where both arms shared an engine, and the cold starts of the finalists, one for each arm.
Two starts of the same engine differ by up to tuner.stats.racing.ENGINE_BAND, which is more than the effect in question, so decided pairs
weigh more. But only a cold start runs the default arm with vLLM's own scheduler class. Hence:
- page_aligned is not recommended where the pairs say that it is worse or makes no practical difference;
- it is where they say that it is better by more than the tie band and the cold values agree with them within ENGINE_BAND;
- where the pairs do not decide, or the other arm was not confirmed or misses an SLO, the cold values stand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tuner.metrics.objective import Objective
from tuner.stats.intervals import Verdict
from tuner.stats.racing import ENGINE_BAND, TIE_BAND
from tuner.verdict.answer import ArmEffect
from tuner.verdict.candidates import Candidate


def settle_arm(winner: Candidate, field: Sequence[Candidate], arms: ArmEffect | None, objective: Objective) -> Candidate:
    """`winner`, or its other arm out of `field`. `arms`: the comparison in its cell (ratio is page_aligned / default), None without one."""
    other = _other_arm(winner, field)
    if other is None or arms is None or arms["ratio"] is None:
        return winner
    default, aligned = (winner, other) if winner.is_default_arm else (other, winner)
    if arms["verdict"] in (Verdict.WORSE, Verdict.EQUIVALENT):
        return default
    if arms["verdict"] == Verdict.BETTER and _agree(aligned, default, arms["ratio"], objective):
        return aligned if _beyond_a_tie(arms["ratio"], objective) else default
    return winner


def why_not_aligned(winner: Candidate, field: Sequence[Candidate], arms: ArmEffect | None, objective: Objective) -> str | None:
    """Why the default arm is recommended although the pairs say that page_aligned is better; None where that is not so."""
    if arms is None or arms["ratio"] is None or arms["verdict"] != Verdict.BETTER or not winner.is_default_arm:
        return None
    aligned = _other_arm(winner, field)
    if aligned is None:
        return "it has no valid confirmation, or misses an SLO"
    if not _beyond_a_tie(arms["ratio"], objective):
        return f"the gain is within the tie band of {TIE_BAND:.0%}, where the simpler configuration is taken"
    return f"when both were started cold their values did not agree with it within {ENGINE_BAND:.0%}"


def _other_arm(winner: Candidate, field: Sequence[Candidate]) -> Candidate | None:
    return next((item for item in field if item.is_other_arm_of(winner)), None)


def _beyond_a_tie(ratio: float, objective: Objective) -> bool:
    return objective.direction.sign * math.log(ratio) > -math.log(1 - TIE_BAND)


def _agree(aligned: Candidate, default: Candidate, ratio: float, objective: Objective) -> bool:
    values = aligned.metrics[objective.metric], default.metrics[objective.metric]
    return min(values) > 0 and abs(math.log(values[0] / values[1]) - math.log(ratio)) <= math.log(1 + ENGINE_BAND)

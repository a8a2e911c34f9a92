"""Tables of a study's trials: what failed and why, and all of them in an order of the reader's. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from service.pages.study_view import state_word, value_of
from storage.records import Trial, TrialState
from tuner.metrics.objective import Objective

_LONGEST_REASON = 300


class TrialOrder(StrEnum):
    """`best`: by the first objective, those without a value last."""

    NUMBER = "number"
    BEST = "best"
    PAGE_SIZE = "page size"
    CHUNK_BUDGET = "chunk budget"
    STATE = "state"


@dataclass(frozen=True)
class FailureGroup:
    """Trials that ended without a value for the same reason. `word`: failed, or why it was given up."""

    word: str
    error_class: str
    reason: str
    trials: tuple[Trial, ...]


def failure_groups(trials: Sequence[Trial]) -> list[FailureGroup]:
    """The most frequent reason first; failures before what was pruned."""
    groups: dict[tuple[str, str, str], list[Trial]] = {}
    for trial in trials:
        if trial.state in {TrialState.FAIL, TrialState.PRUNED}:
            key = (state_word(trial), trial.error_class or "", (trial.error_message or "")[:_LONGEST_REASON])
            groups.setdefault(key, []).append(trial)
    found = [FailureGroup(*key, tuple(members)) for key, members in groups.items()]
    return sorted(found, key=lambda group: (group.word != "failed", -len(group.trials)))


def in_order(trials: Sequence[Trial], order: TrialOrder, objective: Objective | None) -> list[Trial]:
    """Trials that are equal in `order` stay in order of number."""
    match order:
        case TrialOrder.BEST if objective is not None:
            sign = objective.direction.sign
            values = {trial.id: value_of(trial, objective) for trial in trials}
            return sorted(trials, key=lambda trial: (values[trial.id] is None, -sign * (values[trial.id] or 0.0)))
        case TrialOrder.PAGE_SIZE:
            return sorted(trials, key=lambda trial: (trial.block_size, trial.max_num_batched_tokens, trial.arm))
        case TrialOrder.CHUNK_BUDGET:
            return sorted(trials, key=lambda trial: (trial.max_num_batched_tokens, trial.block_size, trial.arm))
        case TrialOrder.STATE:
            return sorted(trials, key=lambda trial: trial.state)
        case _:
            return list(trials)

"""Why this configuration is recommended, in one sentence. Pure.

It says what tuner.verdict.candidates (the order of configurations) and tuner.verdict.level_choice (the pairs of a cell) did, and nothing
that the settings beside it deny: each way to be chosen has words of its own, which name what the winner really has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from storage.records import Json, Stage
from tuner.core.contrast import Contrast
from tuner.core.factors import level_text
from tuner.core.numbers import change, number, share
from tuner.metrics.catalog import metric_info
from tuner.metrics.objective import Objective
from tuner.stats.racing import TIE_BAND
from tuner.verdict.answer import ArmEffect, ComparedLevels
from tuner.verdict.candidates import Candidate, best_by_value, settings_changed, tied_with_best

LEAST_SHOWN = 0.001  # a smaller distance from the best is told as "less than 0.1 %"


@dataclass(frozen=True)
class Choice:
    """What was chosen: the `winner` among `field`, all feasible candidates of the stage. `by_value`: what would be preferred by the values
    alone; None where the pairs have no say (several objectives)."""

    stage: Stage
    winner: Candidate
    field: list[Candidate]
    by_value: Candidate | None = None


def reason(
    choice: Choice,
    objectives: Sequence[Objective],
    defaults: Json,
    arms: ArmEffect | None,
    compared: ComparedLevels | None = None,
    *,
    has_slos: bool,
) -> str:
    """For instance "total_token_throughput 985.5 tokens/s in the search, 1.5 % behind the best (1,000): a tie within 2 %, where vLLM's own
    defaults are taken". `arms`: page_aligned / default in the winner's cell; `compared`: of another compared factor there."""
    objective = objectives[0]
    metric, winner = objective.metric, choice.winner
    best = best_by_value(choice.field, objective)
    stage = "after a cold start" if choice.stage is Stage.CONFIRM else "in the search"
    text = f"{metric} {number(winner.metrics[metric])} {metric_info(metric).unit} {stage}, "
    if winner.metrics[metric] == best.metrics[metric]:
        return text + _best_of(choice, has_slos)
    return f"{text}{_behind(winner, best, metric)}: {_why_behind(choice, best, objectives, defaults, arms, compared)}"


def _best_of(choice: Choice, has_slos: bool) -> str:
    many, one = ("finalists", "finalist") if choice.stage is Stage.CONFIRM else ("configurations measured", "configuration measured")
    meets = (" that meet every SLO", " that meets every SLO") if has_slos else ("", "")
    return f"the only {one}{meets[1]}" if len(choice.field) == 1 else f"the best of {len(choice.field)} {many}{meets[0]}"


def _behind(winner: Candidate, best: Candidate, metric: str) -> str:
    """In percent of the best; of a best of 0 (no preemption, say) there is none, so in the metric's own unit."""
    value, top = winner.metrics[metric], best.metrics[metric]
    if top == 0:
        return f"{number(value)} {metric_info(metric).unit} behind the best (0)"
    apart = abs(value / top - 1)
    how_far = share(apart) if apart >= LEAST_SHOWN else f"less than {share(LEAST_SHOWN)}"
    return f"{how_far} behind the best ({number(top)})"


def _why_behind(
    choice: Choice,
    best: Candidate,
    objectives: Sequence[Objective],
    defaults: Json,
    arms: ArmEffect | None,
    compared: ComparedLevels | None,
) -> str:
    by_value, winner = choice.by_value or choice.winner, choice.winner
    tied = list(choice.field)
    for objective in objectives:
        tied = tied_with_best(tied, objective)
        if best not in tied:
            values = f"{number(winner.metrics[objective.metric])} against {number(best.metrics[objective.metric])}"
            return f"a tie within {share(TIE_BAND)}, decided by {objective.metric} ({values} {metric_info(objective.metric).unit})"
    tie = "" if by_value is best else f"a tie within {share(TIE_BAND)}, where {_simpler(by_value, best, defaults)}"
    return "; ".join(filter(None, [tie, *_by_pairs(by_value, winner, arms, compared, "that" if tie else "its")]))


def _by_pairs(by_value: Candidate, winner: Candidate, arms: ArmEffect | None, compared: ComparedLevels | None, cell: str) -> Iterator[str]:
    """What the pairs decided against the values. `cell`: "that", of one that was named, or "its"."""
    if by_value.trial.arm != winner.trial.arm and arms is not None and arms["ratio"] is not None:
        yield f"between the arms of {cell} cell the pairs decide (page_aligned {change(arms['ratio'])}, {arms['verdict']})"
    if compared is None:
        return
    contrast = Contrast(compared["factor"], compared["baseline"])
    was, now = contrast.level(by_value.trial), contrast.level(winner.trial)
    deciding = now if now != contrast.baseline else was
    for item in compared["levels"] if was != now else ():
        if item["level"] == deciding and item["ratio"] is not None:
            between = f"{contrast.noun} {level_text(deciding)} and {level_text(contrast.baseline)}"
            yield f"between {between} of {cell} cell the pairs decide ({level_text(deciding)} {change(item['ratio'])}, {item['verdict']})"


def _simpler(winner: Candidate, best: Candidate, defaults: Json) -> str:
    """What `winner` has before `best`, by the first of candidates' rules of simplicity in which they differ."""
    ours, theirs = winner.trial, best.trial
    changed = settings_changed(ours, defaults)
    stock = bool(defaults) and changed == 0
    if winner.is_default_arm != best.is_default_arm:
        return "vLLM's own defaults are taken" if stock else "vLLM's own scheduler is taken"
    if changed != settings_changed(theirs, defaults):
        if stock:
            return f"vLLM's own {'defaults' if winner.is_default_arm else 'page size and chunk budget'} are taken"
        return "the one with fewer changes to vLLM's defaults is taken"
    if ours.block_size != theirs.block_size:
        return "the larger page is taken"
    if ours.max_num_batched_tokens != theirs.max_num_batched_tokens:
        return "the smaller chunk budget is taken"
    return "the one that was measured first is taken"

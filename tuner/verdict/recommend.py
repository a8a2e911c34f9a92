"""Stored evidence -> a recommendation, or the reason why there is none. Pure.

Where finalists were confirmed (started cold, measured afresh), the recommendation rests on them alone: the best of many noisy search
results is an overestimate (the winner's curse), and the body says by how much it was. The order among configurations:
tuner.verdict.candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from storage.records import Environment, Json, Recommendation, Stage, Trial, TrialState
from tuner.core.contract import ARM_PAGE_ALIGNED
from tuner.core.factors import ArmCell, in_arm
from tuner.metrics.catalog import metric_info
from tuner.metrics.objective import Objective, Slo
from tuner.serving.stored_settings import settings_of
from tuner.serving.vllm_args import vllm_config, vllm_environment, vllm_flags
from tuner.stats.intervals import ERROR_RATE, log_mean_interval
from tuner.verdict.answer import (
    STATUS_DEFAULT,
    STATUS_NONE,
    STATUS_RECOMMENDED,
    Answer,
    ArmEffect,
    Expected,
    Gain,
    Grounds,
    Overestimate,
)
from tuner.verdict.candidates import (
    Candidate,
    candidates_of,
    choose,
    feasible,
    nearest_to_defaults,
    pareto_front,
    settings_changed,
)
from tuner.verdict.changes import answer_settings, changes_of
from tuner.verdict.compared import is_of_arms
from tuner.verdict.evidence import Evidence, origin_of, place_of
from tuner.verdict.gain import COST_METRICS, about_the_defaults, gain_over, gain_text, is_cost
from tuner.verdict.guard_words import guard_caveat
from tuner.verdict.level_choice import levels_beside
from tuner.verdict.paired_effects import PairedEffects, candidate_of, compared_caveats
from tuner.verdict.predicted import is_simulated, predicted_only
from tuner.verdict.profile_sessions import profile_json
from tuner.verdict.reason import Choice, reason
from tuner.verdict.slo_cells import unmet_words

FLAG_PLATFORMS = ("tpu", "cpu", "cuda")

_ALWAYS_EXPECTED = (
    "total_token_throughput",
    "output_token_throughput",
    "request_throughput",
    "ttft_p50_ms",
    "ttft_p99_ms",
    "tpot_p50_ms",
    "tpot_p99_ms",
    "mean_step_ms",
)


def recommend(evidence: Evidence, objectives: Sequence[Objective], slos: Sequence[Slo]) -> Recommendation:
    """The study's recommendation as a record; its `body` is an Answer's. Never raises for lack of evidence: status "none" says why."""
    stage = Stage.CONFIRM if evidence.confirming else Stage.SEARCH
    candidates = candidates_of(evidence, stage, objectives)
    fit = feasible(candidates, slos)
    if not fit:
        why_none = "; ".join(filter(None, [_why_none(evidence, stage, candidates, slos), evidence.unconfirmed]))
        return _record(evidence, _answer(evidence, objectives, slos, status=STATUS_NONE, reason=why_none))
    choice = Choice(stage, choose(fit, objectives, evidence.defaults), fit)
    pairs = PairedEffects(evidence, objectives[0])
    if len(objectives) == 1:
        choice = replace(choice, winner=pairs.settled(choice.winner, fit), by_value=choice.winner)
    arms = pairs.arms(choice.winner.trial)
    if arms is not None and len(objectives) == 1:
        arms["set_aside"] = pairs.why_not_aligned(choice.winner, fit, arms)
    compared = pairs.compared(choice.winner, fit, settled=len(objectives) == 1)
    trial = choice.winner.trial
    is_default = choice.winner.is_default_arm and bool(evidence.defaults) and settings_changed(trial, evidence.defaults) == 0
    status = STATUS_DEFAULT if is_default else STATUS_RECOMMENDED
    platform = _flag_platform(evidence.environment)
    gain, *others = (_gain(evidence, choice, objective, slos) for objective in objectives)
    further = [other for other in others if other is not None]
    costs = [] if gain is None else _costs(evidence, choice, objectives, gain)
    config = vllm_config(trial, platform)
    answer = _answer(
        evidence,
        objectives,
        slos,
        status=status,
        reason="; ".join(
            [
                reason(choice, objectives, evidence.defaults, arms, compared, has_slos=bool(slos)),
                *([] if gain is None else [gain_text(gain, further, costs)]),
            ]
        ),
        config=config,
        vllm_args=vllm_flags(config),
        env=vllm_environment(settings_of(trial), platform),
        settings=answer_settings(trial.arm, trial.block_size, trial.max_num_batched_tokens, trial.factors),
        changes=changes_of(in_arm(trial.arm, place_of(trial)), evidence.defaults),
        expected=expected_of(choice.winner, [item.metric for item in objectives] + [slo.metric for slo in slos]),
        evidence=Grounds(
            **_grounds(evidence, choice, objectives),
            arms=arms,
            over_default=gain,
            over_default_further=further,
            over_default_costs=costs,
            **({} if compared is None else {"compared": compared}),
        ),
        caveats=[*_caveats(evidence, choice, arms), *compared_caveats(compared, evidence.contrast, trial)],
        **({"pareto_front": _front(evidence, objectives, slos)} if len(objectives) > 1 else {}),
    )
    return _record(evidence, predicted_only(answer) if is_simulated(evidence.study) else answer)


def expected_of(candidate: Candidate, first: Sequence[str]) -> dict[str, Expected]:
    """Of `first` and the metrics that everybody asks for, as far as they were measured."""
    expected: dict[str, Expected] = {}
    for metric in dict.fromkeys([*first, *_ALWAYS_EXPECTED]):
        if metric in candidate.metrics:
            values = [float(item.metrics[metric]) for item in candidate.measurements]
            interval = log_mean_interval(values)
            median = candidate.metrics[metric]
            expected[metric] = {
                "value": median,
                "low": None if interval is None else min(interval[0], median),
                "high": None if interval is None else max(interval[1], median),
                "confidence": 1 - ERROR_RATE,
                "unit": metric_info(metric).unit,
                "measurements": len(values),
            }
    return expected


def _answer(evidence: Evidence, objectives: Sequence[Objective], slos: Sequence[Slo], /, **found: Any) -> Answer:
    """With what every answer of a study says, also that of status none."""
    environment, workload = evidence.environment, evidence.workload
    study = evidence.study
    common: Json = {
        "objective": ",".join(item.name for item in objectives),
        "slos": [str(slo) for slo in slos],
        "evidence": {"study": study.name, "study_id": study.id, "trial_ids": [], "profile_ids": [], "profiles": []},
        "scope": {
            "model": study.model,
            "model_features": study.model_features,
            "platform": environment.platform if environment else None,
            "accelerator": environment.accelerator if environment else None,
            "device_count": environment.device_count if environment else None,
            "environment": environment.fingerprint if environment else None,
            "versions": dict(environment.versions) if environment else {},
            "workload": {"content_hash": workload.content_hash, "name": workload.name, "summary": workload.summary} if workload else None,
        },
    }
    return Answer.of_body(common, **found)


def _why_none(evidence: Evidence, stage: Stage, candidates: Sequence[Candidate], slos: Sequence[Slo]) -> str:
    trials = [trial for trial in evidence.trials if trial.stage is stage]
    if candidates:
        return f"{unmet_words(candidates, slos)} ({len(candidates)} measured); relax the SLO or search other settings"
    if not trials:
        return "the study has no trial yet"
    completed = sum(trial.state is TrialState.COMPLETE for trial in trials)
    word = "confirmation" if stage is Stage.CONFIRM else "trial"
    if completed == 0:
        given_up = {word for trial in trials for word in ("skipped", "infeasible") if word in trial.notes}
        classes = sorted({trial.error_class for trial in trials if trial.error_class} | given_up)
        return f"none of {len(trials)} {word}s completed" + (f" ({', '.join(classes)})" if classes else "")
    return f"{completed} {word}s completed, none with a valid measurement of the objective"


def _flag_platform(environment: Environment | None) -> str:
    """What the flags are written for. Values out of a table, or of an unknown machine, are taken to be for a TPU."""
    return environment.platform if environment is not None and environment.platform in FLAG_PLATFORMS else "tpu"


def _grounds(evidence: Evidence, choice: Choice, objectives: Sequence[Objective]) -> Grounds:
    winner, contrast = choice.winner, evidence.contrast
    other_arms = [item for item in choice.field if item.is_other_arm_of(winner)]
    levels = () if contrast.of_arms else levels_beside(winner, choice.field, contrast).values()
    used = {winner.trial.id, *(item.trial.id for item in (*other_arms, *levels))}
    profiled = used | _search_ids(evidence, winner)
    profiles = sorted((item for item in evidence.profiles if item.trial_id in profiled), key=lambda item: item.id)
    found: Grounds = {
        "study": evidence.study.name,
        "study_id": evidence.study.id,
        "stage": choice.stage.value,
        "trial_ids": sorted(used),
        "measurement_ids": [item.id for item in winner.measurements],
        "profile_ids": [item.id for item in profiles],
        "profiles": [profile_json(item) for item in profiles],
        "configurations_measured": len(choice.field),
        "comparisons": [
            {"metric": item.metric, "verdict": item.verdict, "ratio": item.ratio, "low": item.low, "high": item.high, "pairs": item.pairs}
            for item in evidence.comparisons
            if is_of_arms(item) == contrast.of_arms and contrast.rest(candidate_of(item)) == contrast.rest(winner.trial)
        ],
    }
    if choice.stage is Stage.CONFIRM:
        found["search_overestimate"] = [_overestimate(evidence, winner, objective) for objective in objectives]
    return found


def _in_the_search(evidence: Evidence, winner: Candidate, objectives: Sequence[Objective]) -> Candidate | None:
    """The search-stage trial of the confirmed configuration. The implementations of the KV write that it measured are pinned in
    the confirmation, so the two differ in that setting."""
    found = candidates_of(evidence, Stage.SEARCH, objectives)
    return next((item for item in found if _names(item.trial) == _names(winner.trial)), None)


def _names(trial: Trial) -> ArmCell:
    return in_arm(trial.arm, place_of(trial))


def _same_path(evidence: Evidence, winner: Candidate) -> bool:
    """Whether search and confirmation measured through the same launcher, so that their values can be laid side by side."""
    searched_trial = _in_the_search(evidence, winner, ())
    return searched_trial is None or origin_of(searched_trial.measurements[0])[0] == origin_of(winner.measurements[0])[0]


def _search_ids(evidence: Evidence, winner: Candidate) -> set[int]:
    searched_trial = _in_the_search(evidence, winner, ())
    return set() if searched_trial is None else {searched_trial.trial.id}


def _overestimate(evidence: Evidence, winner: Candidate, objective: Objective) -> Overestimate:
    """By how much the search promised more than the confirmation held; positive = too optimistic, as a fraction of the confirmed value."""
    searched_trial = _in_the_search(evidence, winner, (objective,)) if _same_path(evidence, winner) else None
    confirmed = winner.metrics[objective.metric]
    searched = None if searched_trial is None else searched_trial.metrics[objective.metric]
    fraction = None if searched is None or confirmed == 0 else objective.direction.sign * (searched / confirmed - 1)
    return {"metric": objective.metric, "search_value": searched, "confirmed_value": confirmed, "overestimate": fraction}


def _gain(evidence: Evidence, choice: Choice, objective: Objective, slos: Sequence[Slo]) -> Gain | None:
    """The gain over vLLM's defaults; None without a default arm to compare with.

    Both values are confirmed ones where the defaults were confirmed too. Else the defaults' value is the search's, and so is the winner's
    where search and confirmation used different launchers.
    """
    winner: Candidate | None = choice.winner
    searched = nearest_to_defaults(candidates_of(evidence, Stage.SEARCH, (objective,)), evidence.defaults)
    if searched is None:
        return None
    confirmed = candidates_of(evidence, Stage.CONFIRM, (objective,))
    baseline = next((item for item in confirmed if item.is_configuration_of(searched.trial)), searched)
    if baseline is searched and choice.stage is Stage.CONFIRM and not _same_path(evidence, choice.winner):
        winner = _in_the_search(evidence, choice.winner, (objective,))
    return None if winner is None else gain_over(baseline, winner, objective, slos, evidence.defaults)


def _costs(evidence: Evidence, choice: Choice, objectives: Sequence[Objective], gain: Gain) -> list[Gain]:
    """What the gain costs: the changes for the worse, against the same baseline, in what nobody asked for but users feel."""
    asked = {objective.metric for objective in objectives}
    metrics = [metric for metric in COST_METRICS if metric not in asked and metric in choice.winner.metrics]
    found = (_gain(evidence, choice, Objective(metric, metric, metric_info(metric).direction), ()) for metric in metrics)
    return [item for item in found if item is not None and is_cost(item) and item["baseline"]["trial_id"] == gain["baseline"]["trial_id"]]


def _caveats(evidence: Evidence, choice: Choice, arms: ArmEffect | None) -> list[str]:
    caveats = ["holds for the model, workload, versions and machine in scope and says nothing about others"]
    environment = evidence.environment
    if environment is None:
        caveats.append("the environment is unknown: the flags are written for a TPU")
    elif environment.platform not in FLAG_PLATFORMS:
        caveats.append(f"values come from {environment.accelerator}, not from an engine that ran here: the flags are written for a TPU")
    elif environment.platform != "tpu":
        caveats.append(f"measured on {environment.platform}, not on a TPU")
    caveats += _confirmation_caveats(evidence, choice)
    caveats += filter(None, [guard_caveat(choice.winner.trial)])
    searched = candidates_of(evidence, Stage.SEARCH, ())
    caveats += filter(None, [about_the_defaults(choice.winner, nearest_to_defaults(searched, evidence.defaults), evidence.defaults)])
    if len(choice.winner.measurements) < 2:
        caveats.append("one valid measurement only: no interval")
    if choice.winner.trial.arm == ARM_PAGE_ALIGNED:
        if arms is None:
            caveats.append("the default arm was not measured beside it: nothing is known about the effect of page alignment itself")
        elif arms["verdict"] != "better":
            caveats.append(f"its advantage over the default arm in the same cell is not established (verdict: {arms['verdict']})")
    if arms is not None and arms.get("set_aside"):
        caveats.append(f"page_aligned is better in this cell over the pairs of the search, but not recommended: {arms['set_aside']}")
    return caveats


def _confirmation_caveats(evidence: Evidence, choice: Choice) -> list[str]:
    caveats = [] if evidence.unconfirmed is None else [evidence.unconfirmed]
    if choice.stage is Stage.SEARCH:
        return [*caveats, "not confirmed by a cold start: the best of a search is an overestimate"]
    if len(choice.field) > 1:
        caveats.append("finalists ran one after the other: a drift of the machine between them is in the difference of their values")
    if not _same_path(evidence, choice.winner):
        caveats.append("confirmed by vllm serve and vllm bench serve, searched in our engine host: the two stages' values do not compare")
    return caveats


def _front(evidence: Evidence, objectives: Sequence[Objective], slos: Sequence[Slo]) -> list[Json]:
    """The Pareto front of all feasible configurations of the search: the finalists are but a few of it. `confirmed`: the values of those
    that were started cold, None for the others."""
    confirmed = {_names(item.trial): _values(item, objectives) for item in candidates_of(evidence, Stage.CONFIRM, objectives)}
    searched = feasible(candidates_of(evidence, Stage.SEARCH, objectives), slos)
    return [
        {
            "trial_id": item.trial.id,
            "arm": item.trial.arm,
            "block_size": item.trial.block_size,
            "max_num_batched_tokens": item.trial.max_num_batched_tokens,
            **({"factors": item.trial.factors} if item.trial.factors else {}),
            "values": _values(item, objectives),
            "confirmed": confirmed.get(_names(item.trial)),
        }
        for item in pareto_front(searched, objectives)
    ]


def _values(item: Candidate, objectives: Sequence[Objective]) -> dict[str, float]:
    return {objective.name: item.metrics[objective.metric] for objective in objectives}


def _record(evidence: Evidence, answer: Answer) -> Recommendation:
    environment = evidence.environment
    workload_hash = evidence.workload.content_hash if evidence.workload else next((t.workload_hash for t in evidence.trials), "")
    return Recommendation(
        study_id=evidence.study.id,
        status=answer.status,
        model=evidence.study.model,
        accelerator=environment.accelerator if environment else "unknown",
        device_count=environment.device_count if environment else 1,
        workload_hash=workload_hash,
        objective=evidence.study.objective,
        body=answer.body(),
    )

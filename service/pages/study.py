"""The page of a study, and the part of it that changes while a search runs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.deps import StorageDep
from service.pages.facts import StudyFacts
from service.pages.parts import FactsDep, PageNumber, PageRoute
from service.pages.study_view import (
    Effects,
    cost_parts,
    effects_of,
    heat_cells,
    history_of,
    other_arm,
    primary_objective,
    unsuccessful,
    winning_place,
)
from service.pages.templating import page
from service.pages.tradeoff_view import trade_off
from storage.records import Trial, TrialState
from tuner.conclude import study_objectives
from tuner.launchers.base import ARMS
from tuner.metric_catalog import CATALOG, metric_info

router = APIRouter(route_class=PageRoute, include_in_schema=False)
_TRIALS_ON_A_PAGE = 50


@router.get("/studies/{name}")
def study(
    request: Request, storage: StorageDep, facts: FactsDep, name: str, state: str = "", arm: str = "", number: PageNumber = 1
) -> Response:
    """`state` and `arm` filter the table of trials."""
    found = facts.read(storage, name)
    return page(request, "study.html", **_context(found), **_trial_table(found.trials, state, arm, number))


@router.get("/studies/{name}/live")
def live(request: Request, storage: StorageDep, facts: FactsDep, name: str) -> Response:
    """The changing part alone, for a page that asks again and again."""
    return page(request, "study_live.html", **_context(facts.read(storage, name)))


@router.get("/studies/{name}/trade-off")
def trade_off_table(request: Request, storage: StorageDep, facts: FactsDep, name: str) -> Response:
    """The numbers behind the picture of two metrics; a page of its own, because it reads every window."""
    found = facts.read(storage, name)
    measurements = storage.list_measurements(study_id=found.study.id)
    points = trade_off(found.trials, measurements, study_objectives(found.study), found.recommendation)
    return page(request, "trade_off.html", facts=found, found=points, version=version_of(found))


def version_of(facts: StudyFacts) -> str:
    """Changes whenever a picture of the study may: part of the pictures' addresses."""
    content = (
        facts.study.updated_at,
        facts.study.state,
        sorted(facts.counts.items()),
        len(facts.comparisons),
        winning_place(facts.recommendation),
    )
    return hashlib.sha256(repr(content).encode()).hexdigest()[:12]


def _context(facts: StudyFacts) -> dict[str, Any]:
    objective = primary_objective(facts.study)
    trials = facts.trials
    effects = _effects(facts)
    points = history_of(trials, objective) if objective is not None else []
    winner = _winner(facts)
    finished = sum(facts.counts[state] for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL))
    return {
        "facts": facts,
        "version": version_of(facts),
        "objective": objective,
        "info": metric_info(objective.metric) if objective is not None else None,
        "cells": heat_cells(trials, objective, facts.recommendation) if objective is not None else [],
        "effects": effects,
        "history": points,
        "parts": cost_parts(facts.study),
        "unsuccessful": unsuccessful(trials),
        "winner": winner,
        "twin": other_arm(trials, winner) if winner is not None else None,
        "numbers": {trial.id: trial.number for trial in trials},
        "finished": finished,
    }


def _effects(facts: StudyFacts) -> list[Effects]:
    """One a metric, the objective's first. None while the search runs: looking early finds differences that are not there."""
    if facts.running:
        return []
    return [
        effects_of(facts.comparisons, metric) for metric in dict.fromkeys(item.metric for item in facts.comparisons) if metric in CATALOG
    ]


def _winner(facts: StudyFacts) -> Trial | None:
    """The trial that the recommendation rests on."""
    place = winning_place(facts.recommendation)
    ids = facts.recommendation.body.get("evidence", {}).get("trial_ids", []) if facts.recommendation is not None else []
    for trial in facts.trials:
        if trial.id in ids and (trial.arm, trial.block_size, trial.max_num_batched_tokens) == place:
            return trial
    return None


def _trial_table(trials: Sequence[Trial], state: str, arm: str, number: int) -> dict[str, Any]:
    chosen = [trial for trial in trials if state in ("", trial.state) and arm in ("", trial.arm)]
    start = (number - 1) * _TRIALS_ON_A_PAGE
    return {
        "trials": chosen[start : start + _TRIALS_ON_A_PAGE],
        "chosen": len(chosen),
        "number": number,
        "pages": max(1, -(-len(chosen) // _TRIALS_ON_A_PAGE)),
        "state": state,
        "arm": arm,
        "states": list(TrialState),
        "arms": ARMS,
    }

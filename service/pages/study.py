"""The page of a study, and the part of it that changes while a search runs."""

from __future__ import annotations

import hashlib
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.answers.deps import StorageDep
from service.pages.answer_view import headline, patterns, price, winning_cell
from service.pages.facts import StudyFacts
from service.pages.next_step import study_steps
from service.pages.parallel_view import parallel_of
from service.pages.parts import FactsDep, PageNumber, PageRoute, chosen
from service.pages.recommendation_view import can_be_served, command_text
from service.pages.running_view import Running, running_of
from service.pages.slo_view import slos_of
from service.pages.study_charts import read_edge_curve, read_main_effects, read_trade_off
from service.pages.study_view import cost_parts, heat_cells, history_of, other_arm, primary_objective
from service.pages.templating import page
from service.pages.trials_view import TrialOrder, failure_groups, in_order
from storage.base import Storage
from storage.records import TrialState
from tuner.core.contract import ARMS
from tuner.metrics.catalog import CATALOG, metric_info
from tuner.metrics.objective import Objective
from tuner.report.asked import short_question
from tuner.report.by_setting import HEADERS, by_setting_rows, by_setting_text
from tuner.report.cell_why import cost_line
from tuner.report.effects import Effects, effects_of
from tuner.search.time_left import time_left
from tuner.verdict.conclude import study_objectives

router = APIRouter(route_class=PageRoute, include_in_schema=False)
_TRIALS_ON_A_PAGE = 50
_OTHERS = 30  # studies of the same model to compare with
_MOST_ROWS = 200  # of a table that repeats a picture; the CSV has them all


@router.get("/studies/{name}")
def study(
    *,
    request: Request,
    storage: StorageDep,
    facts: FactsDep,
    name: str,
    state: str = "",
    arm: str = "",
    order: str = "",
    number: PageNumber = 1,
) -> Response:
    """`state` and `arm` filter the table of trials, `order` sorts it."""
    found = facts.read(storage, name)
    alike = storage.list_studies(model=found.study.model, archived=False, limit=_OTHERS + 1)
    others = [item.name for item in alike if item.id != found.study.id][:_OTHERS]
    submission = next(iter(storage.list_submissions(study=name, limit=1)), None)
    shown = {**_context(storage, found), **_trial_table(found, state, arm, order, number)}
    return page(request, "study.html", **shown, others=others, submission=submission)


@router.get("/studies/{name}/live")
def live(request: Request, storage: StorageDep, facts: FactsDep, name: str) -> Response:
    """The changing part alone, for a page that asks again and again."""
    return page(request, "study_live.html", **_context(storage, facts.read(storage, name)))


@router.get("/studies/{name}/trade-off")
def trade_off_table(request: Request, storage: StorageDep, facts: FactsDep, name: str) -> Response:
    """The numbers behind the picture of two metrics; a page of its own, because it reads every window."""
    found = facts.read(storage, name)
    return page(
        request, "trade_off.html", facts=found, found=read_trade_off(storage, found), slos=_slo_texts(found), version=version_of(found)
    )


def version_of(facts: StudyFacts) -> str:
    """Changes whenever a picture of the study may: part of the pictures' addresses."""
    content = (
        facts.study.updated_at,
        facts.study.state,
        sorted(facts.counts.items()),
        len(facts.comparisons),
        facts.place,
    )
    return hashlib.sha256(repr(content).encode()).hexdigest()[:12]


def _context(storage: Storage, facts: StudyFacts) -> dict[str, Any]:
    objective = primary_objective(facts.study)
    trials = facts.trials
    winner = facts.winner
    finished = sum(facts.counts[state] for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL))
    return {
        "facts": facts,
        "slos": _slo_texts(facts),
        "recommended": facts.compared_place,
        "version": version_of(facts),
        "objective": objective,
        "info": metric_info(objective.metric) if objective is not None else None,
        "cells": heat_cells(trials, objective, facts.place, facts.margins) if objective is not None else [],
        "parallel": parallel_of(trials, objective, facts.place) if objective is not None else None,
        **_by_setting(facts, objective),
        "curve": read_edge_curve(storage, facts) if objective is not None else None,
        "history": history_of(trials, objective) if objective is not None else [],
        "parts": cost_parts(facts.study),
        "failures": failure_groups(trials),
        "winner": winner,
        "other": other_arm(trials, winner) if winner is not None else None,
        "numbers": {trial.id: trial.number for trial in trials},
        "finished": finished,
        "running": _running(storage, facts) if facts.running else None,
        "steps": study_steps(facts.study, facts.counts, facts.life),
        "most_rows": _MOST_ROWS,
        **_answer(facts),
    }


def _by_setting(facts: StudyFacts, objective: Objective | None) -> dict[str, Any]:
    """While it runs nothing: looking early finds differences that are not there."""
    effects = [] if objective is None or facts.running else read_main_effects(facts, objective)
    words = by_setting_text(effects, objective.metric) if objective is not None and effects else ""
    return {"by_setting": by_setting_rows(effects), "by_setting_headers": HEADERS, "by_setting_text": words}


def _running(storage: Storage, facts: StudyFacts) -> Running:
    measured = storage.measured_by_trial(facts.study.id)
    return running_of(facts.trials, measured, time_left(storage, facts.study, facts.trials, measured))


def _slo_texts(facts: StudyFacts) -> list[str]:
    return [str(slo) for slo in slos_of(facts.study)]


def _answer(facts: StudyFacts) -> dict[str, Any]:
    """What the first screen says."""
    effects = _effects(facts)
    first = effects[0] if effects else None
    return {
        "effects": effects,
        "cost": cost_line([row.cause for row in first.rows]) if first is not None else None,
        "headline": headline(facts.said),
        "question": short_question(facts.contrast),
        "of_arms": facts.contrast.of_arms,
        "noun": facts.contrast.noun,
        "patterns": patterns(first) if first is not None else [],
        "winning_cell": winning_cell(first, facts.compared_place) if first is not None else None,
        "price": price(effects),
        "price_there": price(effects, facts.compared_place) if facts.compared_place is not None else "",
        "command": command_text(facts.answer) if facts.answer is not None and can_be_served(facts.answer) else "",
    }


def _effects(facts: StudyFacts) -> list[Effects]:
    """One a metric, the objective's first. None while the search runs: looking early finds differences that are not there."""
    if facts.running:
        return []
    metrics = dict.fromkeys(item.metric for item in facts.comparisons)
    return [effects_of(facts.comparisons, metric) for metric in metrics if metric in CATALOG]


def _trial_table(facts: StudyFacts, state: str, arm: str, order: str, number: int) -> dict[str, Any]:
    wanted_state, wanted_arm = chosen(TrialState, "state", state), chosen(ARMS, "arm", arm)
    wanted = chosen(TrialOrder, "order", order) or TrialOrder.NUMBER
    trials = [trial for trial in facts.trials if wanted_state in (None, trial.state) and wanted_arm in (None, trial.arm)]
    start = (number - 1) * _TRIALS_ON_A_PAGE
    return {
        "trials": in_order(trials, wanted, primary_objective(facts.study))[start : start + _TRIALS_ON_A_PAGE],
        "chosen": len(trials),
        "number": number,
        "pages": max(1, -(-len(trials) // _TRIALS_ON_A_PAGE)),
        "state": state,
        "arm": arm,
        "order": wanted,
        "states": list(TrialState),
        "all_arms": ARMS,
        "orders": list(TrialOrder),
        "units": _units(facts),
    }


def _units(facts: StudyFacts) -> dict[str, str]:
    """Objective -> unit of its values; none where the study's text cannot be read."""
    if primary_objective(facts.study) is None:
        return {}
    return {objective.name: metric_info(objective.metric).unit for objective in study_objectives(facts.study)}

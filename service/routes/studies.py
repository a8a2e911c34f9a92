"""Studies, their trials and verdicts."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from service.answers.deps import StorageDep
from service.answers.state import state_of
from service.schemas.common import StudyName, Text, problems
from service.schemas.studies import (
    StudyComparisonAnswer,
    StudyDetail,
    StudyPage,
    TrialPage,
    comparison_entry,
    study_detail,
    study_entry,
    trial_entry,
)
from service.web.caching import EtagRoute
from service.web.paging import PageQuery, page_of
from storage.records import Json, Stage, StudyState, TrialState
from tuner.report.report import answer_json
from tuner.search.life import life_of
from tuner.setup.stored_study import StoredStudy
from tuner.verdict.conclude import compare_stored

router = APIRouter(prefix="/v1/studies", tags=["studies"], route_class=EtagRoute)


class StudyQuery(PageQuery):
    model: Annotated[Text | None, Field(description="Only studies of this model.")] = None
    state: StudyState | None = None
    q: Annotated[Text | None, Field(description="Stands in the name, model, a tag or the workload's name, in any case.")] = None
    accelerator: Annotated[Text | None, Field(description="Only studies with trials on it.")] = None
    archived: Annotated[bool, Field(description="Those that were archived, and no others.")] = False


class TrialQuery(PageQuery):
    state: TrialState | None = None
    stage: Stage | None = None
    arm: Literal["default", "page_aligned"] | None = None


@router.get("", summary="Studies, newest first", response_model=StudyPage, responses=problems(304))
def studies(query: Annotated[StudyQuery, Query()], storage: StorageDep, request: Request, response: Response) -> Json:
    found = storage.list_studies(
        model=query.model,
        state=query.state,
        text=query.q,
        accelerator=query.accelerator,
        archived=query.archived,
        limit=query.limit + 1,
        offset=query.offset,
    )
    shown, page = page_of(list(found), query, request, response)
    counts = storage.count_trials_of([item.id for item in shown])
    return {"items": [study_entry(item, counts[item.id], life_of(storage, item)) for item in shown], "page": page}


@router.get("/{name}", summary="One study", response_model=StudyDetail, responses=problems(304, 404))
def study(name: StudyName, storage: StorageDep) -> Json:
    found = storage.get_study(name)
    StoredStudy.from_record(found)  # refuses a damaged configuration by name, as the study's page does
    return study_detail(found, storage.count_trials(found.id), life_of(storage, found))


@router.get("/{name}/trials", summary="A study's trials, by number", response_model=TrialPage, responses=problems(304, 404))
def trials(name: StudyName, query: Annotated[TrialQuery, Query()], storage: StorageDep, request: Request, response: Response) -> Json:
    found = storage.list_trials(
        storage.get_study(name).id, state=query.state, stage=query.stage, arm=query.arm, limit=query.limit + 1, offset=query.offset
    )
    shown, page = page_of(list(found), query, request, response)
    return {"items": [trial_entry(item) for item in shown], "page": page}


@router.get(
    "/{name}/comparison",
    summary="Page-aligned against default, or the levels of another compared factor, cell by cell",
    response_model=StudyComparisonAnswer,
    responses=problems(304, 404),
)
def comparison(name: StudyName, storage: StorageDep, request: Request) -> Json:
    found = storage.get_study(name)
    judged = state_of(request).judged.get(found, lambda: compare_stored(storage, found))
    return {
        "study": found.name,
        "state": found.state.value,
        "items": [comparison_entry(item) for item in judged.comparisons],
        "answer": answer_json(judged.answer),
    }

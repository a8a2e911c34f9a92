"""Why one trial's steps take longer or shorter than another's."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import Field

from profiles.diff import diff
from service.answers.deps import SettingsDep, StorageDep
from service.answers.profile_files import summaries_of
from service.schemas.common import MOST_ID, problems
from service.schemas.profiles import ProfileDiffAnswer
from service.web.caching import EtagRoute
from service.web.paging import Query as QueryModel
from storage.records import Json

router = APIRouter(prefix="/v1/profiles", tags=["profiles"], route_class=EtagRoute)


class DiffQuery(QueryModel):
    baseline: Annotated[int, Field(ge=1, le=MOST_ID, description="Trial id.", examples=[1])]
    candidate: Annotated[int, Field(ge=1, le=MOST_ID, description="Trial id.", examples=[2])]
    phase: Literal["all", "prefill", "decode", "mixed"] = "all"
    allow_different: Annotated[bool, Field(description="Compare also where page size or device differ, and say so.")] = False


@router.get(
    "/diff", summary="What differs between two trials' profiles", response_model=ProfileDiffAnswer, responses=problems(304, 404, 409)
)
def difference(query: Annotated[DiffQuery, Query()], storage: StorageDep, settings: SettingsDep) -> Json:
    sides = [summaries_of(storage, settings.logdir, trial_id) for trial_id in (query.baseline, query.candidate)]
    found = diff(*sides, phase=query.phase, allow_different=query.allow_different)
    return {**found.to_json(), "baseline_trial_id": query.baseline, "candidate_trial_id": query.candidate}

"""Submitting a study: what is asked for is checked and planned first, and nothing but a study can be asked for."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response, Security
from starlette.concurrency import run_in_threadpool

from service.answers.deps import SettingsDep, StorageDep
from service.answers.queueing import Sender, Wish, check_wish, enqueue, may_resume
from service.answers.submitting import JSON, YAML, planned, read_body, requirements_of
from service.schemas.common import Text, problems
from service.schemas.queue import MOST_PRIORITY, MOST_WORKERS, SubmittedAnswer, submission_entry
from service.schemas.submissions import dry_run_answer, study_body
from service.web.auth import SCOPE_SUBMIT, bearer_scheme, scope_needed
from service.web.errors import Problem
from service.web.strict import StrictRoute
from storage.records import Json
from tuner.fleet.webhook import LONGEST_URL

router = APIRouter(prefix="/v1/studies", tags=["submissions"], route_class=StrictRoute)
_QUEUED: dict[int | str, dict[str, Any]] = {
    200: {"description": "The plan of a dry run"},
    202: {"description": "In the queue; Location has its address", "model": SubmittedAnswer},
}


@router.post(
    "",
    summary="Submit a study",
    response_model=SubmittedAnswer,
    responses={**_QUEUED, **problems(408, 409, 413, 415)},
    openapi_extra=study_body(),
    dependencies=[Security(bearer_scheme), Security(scope_needed(SCOPE_SUBMIT))],
)
async def submit(
    *,
    request: Request,
    response: Response,
    storage: StorageDep,
    settings: SettingsDep,
    dry_run: Annotated[bool, Query(description="Only say what it would do.")] = False,
    resume: Annotated[bool, Query(description="Go on with the study of this name; with `trials: N` by N configurations.")] = False,
    accelerator: Annotated[Text | None, Query(description="What it is to run on, e.g. TPU v6e-4; without it, on any.")] = None,
    priority: Annotated[int, Query(ge=-MOST_PRIORITY, le=MOST_PRIORITY, description="Higher first; above 0 with the scope `manage`.")] = 0,
    workers: Annotated[int, Query(ge=1, le=MOST_WORKERS, description="How many workers may work on it at once, on machines alike.")] = 1,
    webhook: Annotated[
        str | None, Query(max_length=LONGEST_URL, pattern="^[!-~]+$", description="Told when it is finished, failed, cancelled or stale.")
    ] = None,
) -> Json:
    """The body is a study file as JSON, or as it stands with `Content-Type: application/yaml`. Its name is the key: the same token may send
    the same again, and gets the submission that is there. `resume` wants the settings that the study was begun with; how much is measured
    (trials, time_budget) may differ."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media not in (JSON, YAML):
        raise Problem(415, f"the body has to be a study file; send Content-Type: {JSON} or {YAML}")
    given = read_body(await request.body(), media)
    wish = Wish(requirements_of(accelerator), priority, webhook, workers)
    state = request.scope["state"]
    sender = Sender.of(state["token_name"], state["scopes"])

    def work() -> Json:
        check_wish(settings, wish, sender)
        found = planned(storage, settings, given, accelerator, resume=resume)
        if resume:
            may_resume(storage, found.config.study, sender)
        queued = None if dry_run else enqueue(storage, settings, found, wish, sender)
        return {"submission": None if queued is None else submission_entry(queued), **dry_run_answer(found)}

    answer = await run_in_threadpool(work)
    if not dry_run:
        response.status_code = 202
        response.headers["location"] = f"/v1/submissions/{answer['submission']['id']}"
    return answer

"""What is recommended, with its evidence."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from service.answers.deps import SettingsDep, StorageDep
from service.answers.state import state_of
from service.pages.answer_view import confirmations
from service.pages.facts import answer_with_changes
from service.pages.forms import Refused, posted, signed, with_form
from service.pages.parts import PageNumber, PageRoute, RecordId, chosen
from service.pages.recommendation_view import expected_rows, first_expected, scope_rows, snippets
from service.pages.standing import stale_because
from service.pages.templating import page
from service.web.auth import SCOPE_PUBLISH
from service.web.settings import ServiceSettings
from storage.base import NotFound, Storage
from storage.records import Actor, PublicationState, Trial
from tuner.core.factors import in_arm
from tuner.verdict.answer import Answer, readable_answers
from tuner.verdict.evidence import place_of

router = APIRouter(route_class=PageRoute, include_in_schema=False)
_ON_A_PAGE = 50


@router.get("/recommendations")
def recommendations(
    request: Request, storage: StorageDep, q: str = "", accelerator: str = "", publication: str = "", number: PageNumber = 1
) -> Response:
    """Newest first, the withdrawn ones among them."""
    state = chosen(PublicationState, "publication", publication)
    text, machine = q.strip(), accelerator.strip()
    found = storage.list_recommendations(
        text=text or None,
        accelerator=machine or None,
        publication=state,
        include_withdrawn=True,
        limit=_ON_A_PAGE + 1,
        offset=(number - 1) * _ON_A_PAGE,
    )
    filters: dict[str, Any] = {"q": text, "accelerator": machine, "publication": state or ""}
    kept = {name: value for name, value in filters.items() if value}
    return page(
        request,
        "recommendations.html",
        rows=[(item, answer, first_expected(answer)) for item, answer in readable_answers(found[:_ON_A_PAGE])],
        number=number,
        more=len(found) > _ON_A_PAGE,
        accelerators=storage.list_accelerators(),
        states=list(PublicationState),
        filtered=bool(kept),
        address=f"/recommendations?{urlencode(kept)}{'&' if kept else ''}number=",
        **filters,
    )


@router.get("/recommendations/{recommendation_id}")
def recommendation(request: Request, storage: StorageDep, settings: SettingsDep, recommendation_id: RecordId) -> Response:
    return _shown(request, storage, settings, recommendation_id, form={})


@router.post("/recommendations/{recommendation_id}")
async def mark(request: Request, storage: StorageDep, settings: SettingsDep, recommendation_id: RecordId) -> Response:
    """Publishes or withdraws, as the pressed button says."""
    form = await posted(request, settings)
    try:
        actor = await signed(request, form, SCOPE_PUBLISH)
        await run_in_threadpool(_mark, storage, recommendation_id, form.get("action", ""), actor)
    except Refused as refused:
        return await run_in_threadpool(_shown, request, storage, settings, recommendation_id, form=form, refused=refused)
    state_of(request).version.forget()
    return RedirectResponse(f"/recommendations/{recommendation_id}", HTTPStatus.SEE_OTHER)


def _mark(storage: Storage, recommendation_id: int, action: str, actor: Actor) -> None:
    """Raises Refused, NotFound."""
    if action not in ("publish", "withdraw"):
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "", "press one of the buttons")
    storage.mark_recommendation(recommendation_id, published=action == "publish", by=actor)


def _shown(
    request: Request,
    storage: Storage,
    settings: ServiceSettings,
    recommendation_id: int,
    *,
    form: Mapping[str, str],
    refused: Refused | None = None,
) -> Response:
    found = storage.get_recommendation(recommendation_id)
    study = storage.get_study_by_id(found.study_id)
    answer = answer_with_changes(found, study)
    trials = _trials(storage, answer)
    shown = page(
        request,
        "recommendation.html",
        HTTPStatus.OK if refused is None else refused.status,
        found=found,
        answer=answer,
        study=study,
        place=answer.place,
        snippets=snippets(answer),
        expected=expected_rows(answer),
        scope=scope_rows(answer.scope),
        trials=trials,
        winner=next((trial for trial in trials if in_arm(trial.arm, place_of(trial)) == answer.place), None),
        stale=stale_because(storage, settings, found),
        confirmations=confirmations(answer),
        trail=storage.list_audit(kind="recommendation", subject=str(found.id)),
        given={"reason": form.get("reason", "")},
        errors={} if refused is None else {refused.field: str(refused)},
    )
    return with_form(shown)


def _trials(storage: Storage, answer: Answer) -> list[Trial]:
    """Those that it rests on, as far as they are still there."""
    trials = []
    for trial_id in answer.evidence.get("trial_ids", []):
        try:
            trials.append(storage.get_trial(trial_id))
        except NotFound:
            continue
    return trials

"""The first page: a question (model, accelerator, workload, SLOs), and its answer."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from service.answers.deps import SettingsDep, StorageDep
from service.answers.find import find_answer
from service.pages.ask_view import Question, address_of, choices, next_steps, read, standing
from service.pages.parts import PageRoute
from service.pages.recommendation_view import can_be_served, expected_rows, snippets
from service.pages.templating import page
from service.schemas.recommendations import Answer
from tuner.core.errors import BadInput
from tuner.verdict.answer import STATUS_NONE, STATUS_PREDICTED

router = APIRouter(route_class=PageRoute, include_in_schema=False)
_SHOWN = 12  # questions that are answered here
_SEE_OTHER = 303


@router.get("/")
def ask(request: Request, storage: StorageDep, settings: SettingsDep) -> Response:
    """The same answer as GET /v1/recommendations, whose parameters the fields are. Empty fields leave the address: it can be passed on."""
    pairs = request.query_params.multi_items()
    question = read(pairs)
    if any(not value.strip() for _, value in pairs):
        return RedirectResponse(f"/?{question.query}" if question.query else "/", _SEE_OTHER)
    answer, problem = None, question.errors.get("", "")
    if question.asked is not None:
        try:
            answer = find_answer(storage, question.asked, settings, predicted=question.asked.accept is not None)
        except BadInput as error:
            problem = str(error)
    known = storage.list_answerable()
    return page(
        request,
        "ask.html",
        422 if problem or question.errors else 200,
        question=question,
        problem=problem,
        choices=choices(known),
        known=[(item, address_of(item)) for item in known[:_SHOWN]],
        more=len(known) > _SHOWN,
        studies=storage.count_studies(archived=False),
        **_shown(question, answer),
    )


def _shown(question: Question, answer: Answer | None) -> dict[str, Any]:
    if answer is None:
        return {"answer": None}
    return {
        "answer": answer,
        "place": answer.place,
        "standing": standing(answer),
        "predicted": answer.status == STATUS_PREDICTED,
        "expected": expected_rows(answer),
        "snippets": snippets(answer),
        "bare": answer.status != STATUS_NONE and not can_be_served(answer),
        "steps": next_steps(question, answer),
        "study": answer.evidence.get("study"),
    }

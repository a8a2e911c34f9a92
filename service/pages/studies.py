"""The list of studies."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from service.answers.deps import StorageDep
from service.pages.answer_view import headline
from service.pages.facts import FactsReader
from service.pages.parts import FactsDep, PageNumber, PageRoute
from service.pages.recommendation_view import ExpectedRow, first_expected
from service.pages.templating import page
from storage.base import Storage
from storage.records import FINISHED, Study, StudyState, TrialState
from tuner.search.life import Life, life_of
from tuner.verdict.answer import Answer, readable_answers
from tuner.verdict.study_answer import StudyAnswer

router = APIRouter(route_class=PageRoute, include_in_schema=False)
_ON_A_PAGE = 25


@dataclass(frozen=True)
class StudyRow:
    study: Study
    counts: dict[TrialState, int]
    answer: Answer | None
    said: StudyAnswer | None
    life: Life | None

    @property
    def headline(self) -> str:
        """Whether page alignment can be on there; "" where that was not judged."""
        return headline(self.said) if self.said is not None else ""

    @property
    def running(self) -> bool:
        return self.life is not None and not self.life.note

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def finished(self) -> int:
        return sum(self.counts[state] for state in FINISHED)

    @property
    def best(self) -> ExpectedRow | None:
        """The objective's expected value."""
        return first_expected(self.answer)


@router.get("/")
async def home() -> Response:
    return RedirectResponse("/studies")


@router.get("/studies")
def studies(request: Request, storage: StorageDep, facts: FactsDep, model: str = "", state: str = "", number: PageNumber = 1) -> Response:
    """Newest first. A state that there is not is read as none."""
    chosen = StudyState(state) if state in set(StudyState) else None
    wanted = model.strip() or None
    total = storage.count_studies(model=wanted, state=chosen)
    found = storage.list_studies(model=wanted, state=chosen, limit=_ON_A_PAGE, offset=(number - 1) * _ON_A_PAGE)
    counts = storage.count_trials_of([study.id for study in found])
    return page(
        request,
        "studies.html",
        rows=[_row(storage, facts, study, counts[study.id]) for study in found],
        total=total,
        number=number,
        pages=max(1, -(-total // _ON_A_PAGE)),
        model=wanted or "",
        state=chosen or "",
        states=list(StudyState),
    )


def _row(storage: Storage, facts: FactsReader, study: Study, counts: dict[TrialState, int]) -> StudyRow:
    recommendations = storage.list_recommendations(study_id=study.id, limit=1)
    life = life_of(storage, study)
    said = facts.comparison(storage, study, life).answer
    return StudyRow(study, counts, next((answer for _, answer in readable_answers(recommendations)), None), said, life)

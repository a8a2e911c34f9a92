"""The page that puts two studies beside each other, for instance the same question on two versions of vLLM."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from service.answers.deps import StorageDep
from service.pages.facts import StudyFacts
from service.pages.parts import FactsDep, PageRoute
from service.pages.recommendation_view import first_expected
from service.pages.studies_compare_view import cell_pairs, differences, in_words
from service.pages.study_view import primary_objective
from service.pages.templating import page
from tuner.core.errors import BadInput
from tuner.metrics.catalog import metric_info
from tuner.report.effects import Effects, effects_of

router = APIRouter(route_class=PageRoute, include_in_schema=False)
_LONGEST_NAME = 200
StudyName = Annotated[str, Query(min_length=1, max_length=_LONGEST_NAME)]


@router.get("/compare-studies")
def compare_studies(request: Request, storage: StorageDep, facts: FactsDep, baseline: StudyName, candidate: StudyName) -> Response:
    """Raises BadInput where the two have different objectives or compare different factors: their effects are of different things."""
    sides = facts.read(storage, baseline), facts.read(storage, candidate)
    objectives = [primary_objective(side.study) for side in sides]
    if objectives[0] is None or objectives[1] is None or objectives[0].metric != objectives[1].metric:
        raise BadInput("the two studies have different objectives; compare studies of one question")
    if sides[0].contrast.name != sides[1].contrast.name:
        raise BadInput("the two studies compare different factors in pairs; compare studies of one question")
    effects = _effects(sides[0], objectives[0].metric), _effects(sides[1], objectives[1].metric)
    return page(
        request,
        "compare_studies.html",
        sides=sides,
        effects=effects,
        info=metric_info(objectives[0].metric),
        words=in_words(*effects) if all(item.rows for item in effects) else "",
        cells=cell_pairs(*effects),
        places=[side.answer.place if side.answer is not None else None for side in sides],
        expected=[first_expected(side.answer) for side in sides],
        differences=differences(*sides),
    )


def _effects(facts: StudyFacts, metric: str) -> Effects:
    """None of a running search is shown: looking early finds differences that are not there."""
    return effects_of([] if facts.running else facts.comparisons, metric)

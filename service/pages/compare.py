"""Two trials beside each other: what came out, what was set, where the time of a step went."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from profiles.charts import waterfall
from profiles.diff import ProfileDiff, diff
from profiles.errors import ProfileError
from service.answers.deps import SettingsDep, StorageDep
from service.pages.compare_view import caveats, cell_why, differing_settings, ratio_rows, searched_pair, why_in_words
from service.pages.parts import FactsDep, PageRoute, QueryId, svg_response
from service.pages.profile_files import comparison_link, profile_entries, summaries
from service.pages.profile_pictures import picture_of
from service.pages.study_view import primary_objective
from service.pages.templating import page
from service.pages.trial_view import title_of
from service.web.settings import ServiceSettings
from storage.base import NotFound, Storage
from tuner.report.charts.theme import Scheme
from tuner.verdict.evidence import interim_plan

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/compare")
def compare(
    request: Request, storage: StorageDep, settings: SettingsDep, facts: FactsDep, baseline: QueryId, candidate: QueryId
) -> Response:
    trials = storage.get_trial(baseline), storage.get_trial(candidate)
    studies = storage.get_study_by_id(trials[0].study_id), storage.get_study_by_id(trials[1].study_id)
    measurements = [*storage.list_measurements(trial_id=baseline), *storage.list_measurements(trial_id=candidate)]
    objective, read = primary_objective(studies[0]), facts.read(storage, studies[0].name)
    found, problem = _profile_difference(storage, settings, baseline, candidate)
    profiles = storage.list_profiles(trial_id=baseline), storage.list_profiles(trial_id=candidate)
    return page(
        request,
        "compare.html",
        trials=trials,
        studies=studies,
        titles=[title_of(trial) for trial in trials],
        rows=ratio_rows(*trials, measurements, [objective.metric] if objective is not None else [], interim_plan(studies[0])),
        settings=differing_settings(*trials),
        caveats=caveats(*trials),
        profile=found,
        problem=problem,
        why=why_in_words(found) if found is not None else "",
        cell_why=cell_why([] if read.running else read.comparisons, *trials),
        searched=searched_pair(read.trials, *trials),
        xprof=comparison_link(*profiles, settings.logdir),
    )


@router.get("/compare/waterfall.svg")
def compare_waterfall(
    request: Request, storage: StorageDep, settings: SettingsDep, baseline: QueryId, candidate: QueryId, scheme: Scheme = Scheme.LIGHT
) -> Response:
    """From the baseline's step time to the candidate's, a bar a category."""
    found, problem = _profile_difference(storage, settings, baseline, candidate)
    if found is None:
        raise NotFound(problem)
    labels = storage.get_trial(baseline).arm, storage.get_trial(candidate).arm
    return svg_response(request, picture_of(waterfall(found, labels if labels[0] != labels[1] else ("baseline", "candidate")), scheme))


def _profile_difference(storage: Storage, settings: ServiceSettings, baseline: int, candidate: int) -> tuple[ProfileDiff | None, str]:
    """(the difference, "") or (None, why there is none)."""
    sides = [summaries(profile_entries(storage.list_profiles(trial_id=trial_id), settings.logdir)) for trial_id in (baseline, candidate)]
    if not all(sides):
        return None, "a profile difference needs a summarised profile of both trials"
    try:
        return diff(*sides, allow_different=True), ""
    except ProfileError as error:
        return None, str(error)

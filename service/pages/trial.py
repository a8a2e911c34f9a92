"""The page of a trial."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from profiles.charts import breakdown
from profiles.session_plan import ALL
from service.answers.deps import SettingsDep, StorageDep
from service.pages.parts import FactsDep, PageRoute, RecordId, svg_response
from service.pages.profile_files import labelled, profile_entries
from service.pages.profile_pictures import picture_of
from service.pages.study_view import arms_in_order, other_arm, primary_objective
from service.pages.templating import page
from service.pages.trial_view import config_rows, environment_rows, metric_rows, title_of
from storage.base import NotFound
from tuner.report.charts.theme import Scheme
from tuner.verdict.guard_words import trial_answers

router = APIRouter(route_class=PageRoute, include_in_schema=False)
_PHASES = (ALL, "prefill", "decode", "mixed")


@router.get("/trials/{trial_id}")
def trial(request: Request, storage: StorageDep, settings: SettingsDep, facts: FactsDep, trial_id: RecordId) -> Response:
    found = storage.get_trial(trial_id)
    study = facts.read(storage, storage.get_study_by_id(found.study_id).name)
    objective = primary_objective(study.study)
    measurements = storage.list_measurements(trial_id=trial_id)
    environment = storage.get_environment(found.environment) if found.environment else None
    other = other_arm(study.trials, found)
    entries = profile_entries([profile for profile in study.profiles if profile.trial_id == trial_id], settings.logdir)
    return page(
        request,
        "trial.html",
        trial=found,
        title=title_of(found),
        answers=trial_answers(found),
        study=study.study,
        objective=objective,
        metrics=metric_rows(measurements, [objective.metric] if objective is not None else []),
        measurements=measurements,
        config=config_rows(found.requested, found.effective),
        environment=environment,
        details=environment_rows(environment.details) if environment is not None else [],
        other=other,
        pair=arms_in_order(found, other) if other is not None else None,
        entries=entries,
        phases=_PHASES,
        pictured=bool(labelled(entries)),
    )


@router.get("/trials/{trial_id}/breakdown.svg")
def trial_breakdown(
    request: Request, storage: StorageDep, settings: SettingsDep, trial_id: RecordId, scheme: Scheme = Scheme.LIGHT
) -> Response:
    """Where a step's time goes, a bar a phase."""
    found = labelled(profile_entries(storage.list_profiles(trial_id=trial_id), settings.logdir))
    if not found:
        raise NotFound(f"trial {trial_id} has no summarised profile")
    return svg_response(request, picture_of(breakdown(found, _PHASES), scheme))

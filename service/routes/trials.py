"""One trial: what was asked, what ran, what was measured, where its profiles are."""

from __future__ import annotations

from fastapi import APIRouter

from service.answers.deps import StorageDep
from service.answers.tensorboard_links import link_of
from service.schemas.common import Id, problems
from service.schemas.studies import TrialDetail, TrialProfiles, measurement_entry, profile_entry, trial_entry
from service.web.caching import EtagRoute
from storage.records import Json

router = APIRouter(prefix="/v1/trials", tags=["trials"], route_class=EtagRoute)


@router.get("/{trial_id}", summary="One trial", response_model=TrialDetail, responses=problems(304, 404))
def trial(trial_id: Id, storage: StorageDep) -> Json:
    found = storage.get_trial(trial_id)
    environment = storage.get_environment(found.environment) if found.environment else None
    return {
        **trial_entry(found),
        "study": storage.get_study_by_id(found.study_id).name,
        "workload_hash": found.workload_hash,
        "requested": found.requested,
        "effective": found.effective,
        "environment": environment,
        "log_excerpt": found.log_excerpt,
        "notes": found.notes,
        "measurements": [measurement_entry(item) for item in storage.list_measurements(trial_id=trial_id)],
        "profiles": [profile_entry(item, link_of(item)) for item in storage.list_profiles(trial_id=trial_id)],
    }


@router.get("/{trial_id}/profile", summary="A trial's profiles", response_model=TrialProfiles, responses=problems(304, 404))
def profile(trial_id: Id, storage: StorageDep) -> Json:
    found = storage.get_trial(trial_id)
    return {"trial_id": found.id, "items": [profile_entry(item, link_of(item)) for item in storage.list_profiles(trial_id=trial_id)]}

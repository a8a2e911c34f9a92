"""What people do to studies: rename, tag, archive, delete; each with who, when and why."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Security

from service.answers.deps import SettingsDep, StorageDep
from service.answers.state import actor_of, state_of
from service.schemas.common import StudyName, problems
from service.schemas.history import Mark, history_entries
from service.schemas.studies import Confirmation, Deleted, NewName, StudyDetail, StudyHistory, StudyTags, study_detail
from service.web.auth import SCOPE_MANAGE, bearer_scheme, scope_needed
from service.web.caching import EtagRoute
from service.web.strict import StrictRoute
from storage.base import Storage
from storage.records import Json, Study
from tuner.search import keeping
from tuner.search.life import life_of

router = APIRouter(prefix="/v1/studies", tags=["keeping"], route_class=StrictRoute)
trail = APIRouter(prefix="/v1/studies", tags=["keeping"], route_class=EtagRoute)

_WRITES: dict[str, Any] = {
    "responses": problems(404, 408, 409, 413, 415),
    "dependencies": [Security(bearer_scheme), Security(scope_needed(SCOPE_MANAGE))],
}
_CHANGES: dict[str, Any] = {"response_model": StudyDetail, **_WRITES}


@router.post("/{name}/rename", summary="Give a study another name", **_CHANGES)
def rename(name: StudyName, storage: StorageDep, request: Request, body: NewName) -> Json:
    """In its recommendations too. 409 while it runs, or where the name is taken."""
    found = keeping.rename(storage, name, body.name, by=actor_of(request, body))
    state_of(request).version.forget()
    return _detail(storage, found)


@router.post("/{name}/tags", summary="Replace a study's tags", **_CHANGES)
def tags(name: StudyName, storage: StorageDep, request: Request, body: StudyTags) -> Json:
    return _detail(storage, keeping.tag(storage, name, body.tags, by=actor_of(request, body)))


@router.post("/{name}/archive", summary="Leave a study out of lists", **_CHANGES)
def archive(name: StudyName, storage: StorageDep, request: Request, body: Mark | None = None) -> Json:
    """Its recommendations go on answering questions until they are withdrawn."""
    return _detail(storage, keeping.archive(storage, name, archived=True, by=actor_of(request, body)))


@router.post("/{name}/restore", summary="Take an archived study back into lists", **_CHANGES)
def restore(name: StudyName, storage: StorageDep, request: Request, body: Mark | None = None) -> Json:
    return _detail(storage, keeping.archive(storage, name, archived=False, by=actor_of(request, body)))


@router.post("/{name}/delete", summary="Delete a study with all that was measured", response_model=Deleted, **_WRITES)
def delete(name: StudyName, storage: StorageDep, settings: SettingsDep, request: Request, body: Confirmation) -> Json:
    """The body says its name once more. Recommendations go with it, profiles stay. 409 while it runs, or where the name is another one."""
    found = keeping.delete(storage, settings.storage_url, name, typed=body.name, by=actor_of(request, body))
    state_of(request).version.forget()
    return {"deleted": found.name}


@trail.get("/{name}/history", summary="Who changed a study by hand", response_model=StudyHistory, responses=problems(304, 404))
def history(name: StudyName, storage: StorageDep) -> Json:
    """While it exists; of deleted studies `/audit` and `tuner studies history` have the entries."""
    found = storage.get_study(name)
    return {"study": found.name, "items": history_entries(storage.list_audit(kind="study", subject=str(found.id)))}


def _detail(storage: Storage, study: Study) -> Json:
    return study_detail(study, storage.count_trials(study.id), life_of(storage, study))

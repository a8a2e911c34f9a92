"""From what somebody sent to a study that may be queued, and its plan: the same for the API and the form."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from service.web.errors import Problem
from service.web.settings import ServiceSettings
from storage.base import Conflict, Storage
from storage.records import Json
from tuner.core.errors import BadInput
from tuner.fleet.allowed import about, allowed_study
from tuner.fleet.dry_run import DryRun, dry_run
from tuner.fleet.submitted_text import NotAllowed, read_json, read_yaml
from tuner.search.opening import find_study

JSON = "application/json"
YAML = "application/yaml"  # RFC 9512
_PLANNING = threading.BoundedSemaphore(2)  # the requests of the largest workload take 80 MB each time
_PATIENCE_S = 10.0


def read_body(body: bytes, media: str) -> dict[str, Any]:
    """What was sent, of this media type. Raises NotAllowed; BadInput for what is no YAML."""
    return read_yaml(body.decode("utf-8", errors="replace")) if media == YAML else read_json(body)


def planned(
    storage: Storage, settings: ServiceSettings, given: Mapping[str, Any], accelerator: str | None, *, resume: bool = False
) -> DryRun:
    """`resume`: of a study that is there. Raises NotAllowed, also for a study that no worker could run and for one that is resumed with
    other settings, Conflict for a name that is taken, and Problem where too many ask."""
    config = allowed_study(given, settings.allowed)
    there = find_study(storage, config.study) is not None
    if resume and not there:
        raise NotAllowed(("study",), "is not in this database: nothing to go on with", "leave resume out to begin it, or mend the name")
    if not resume and there:
        raise Conflict(f"study {config.study!r} exists", "choose another name, or go on with it: resume=true")
    if not _PLANNING.acquire(timeout=_PATIENCE_S):
        raise Problem(429, "too many plans are being made here; ask again", headers={"retry-after": "5"})
    try:
        return dry_run(config, storage, accelerator, resume=resume)
    except NotAllowed:
        raise
    except BadInput as error:
        raise about(error) from error
    finally:
        _PLANNING.release()


def requirements_of(accelerator: str | None) -> Json:
    """What a worker has to have (tuner.fleet.requirements)."""
    return {} if accelerator is None else {"accelerator": accelerator}

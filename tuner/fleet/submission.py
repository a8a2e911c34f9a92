"""A study file's settings as a submission, and back into settings on the machine of a worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from storage.base import DamagedRecord
from storage.queue_records import Submission
from storage.records import Json
from storage.secrets import redacted
from tuner.core.errors import BadInput
from tuner.fleet.requirements import implied
from tuner.setup.config import StudyConfig
from tuner.setup.config_file import load_config

OF_THE_WORKER = frozenset({"storage", "logdir", "engine_python"})  # where things lie on a machine is for whoever runs the worker to say
_FILES = ("model", "workload", "table", "step_time")  # settings that may be paths


def submission_of(
    config: StudyConfig,
    by: str,
    *,
    requirements: Json | None = None,
    priority: int = 0,
    team: str | None = None,
    webhook: str | None = None,
    workers: int = 1,
) -> Submission:
    """`config` was checked. What it leaves open stays open, for the worker's machine to decide. Raises BadInput for a secret, which no
    database may keep."""
    given = config.to_json()
    settings = {name: given[name] for name in given if name in config.model_fields_set and name not in OF_THE_WORKER}
    for name in _FILES:
        if isinstance(settings.get(name), str):
            settings[name] = _absolute(settings[name])
    if redacted({**settings, "webhook": webhook}) != {**settings, "webhook": webhook}:
        fix = "give it to the worker in its environment (HF_TOKEN and the like)"
        raise BadInput("a setting holds a secret, which is not stored", setting="submission", fix=fix)
    needs = {**implied(config), **(requirements or {})}
    return Submission(config.study, settings, by, requirements=needs, priority=priority, team=team, webhook=webhook, workers=workers)


def config_of(
    submission: Submission,
    *,
    storage: str,
    logdir: str,
    engine_python: str | None,
    of_the_place: Callable[[Mapping[str, Any]], Json] = lambda _given: {},
) -> StudyConfig:
    """`of_the_place`: what becomes different in the settings where the worker's engines run.

    Raises BadInput for settings that this version does not take, DamagedRecord for what is no mapping.
    """
    if not isinstance(submission.config, dict):
        raise DamagedRecord(f"submission {submission.id}: what is stored as its config is damaged")
    own = {"storage": storage, "logdir": logdir, **({} if engine_python is None else {"engine_python": engine_python})}
    return load_config(None, {**submission.config, **of_the_place(submission.config), "study": submission.study, **own})


def _absolute(name: str) -> str:
    """A path that is there as every worker with the same file system finds it; a name stays one."""
    path = Path(name).expanduser()
    return str(path.absolute()) if len(name) < 255 and ":" not in name and path.exists() else name

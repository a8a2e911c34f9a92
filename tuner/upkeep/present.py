"""What would measure now: the versions on this machine or of the workers, and a study's way into the queue."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from storage.base import Storage
from storage.records import Json, Recommendation
from tuner.advice.lookup import STALE_PACKAGES
from tuner.fleet.dry_run import dry_run
from tuner.fleet.machine import AUTO, engine_versions, find_machine
from tuner.fleet.requirements import Machine, check_requirements, fits
from tuner.fleet.submission import submission_of
from tuner.search.opening import find_study
from tuner.setup.config import WITHOUT_AN_ENGINE, StudyConfig
from tuner.setup.hardware import hardware_of
from tuner.upkeep.revalidate import refuse_what_failed
from tuner.verdict.answer import answer_of

_TABLE = "table "  # the accelerator of what was read from a table

type VersionsFor = Callable[[str, int], Mapping[str, str] | None]


def of_this_machine(python: str | None) -> VersionsFor:
    """In its engine's Python; None for an accelerator that it has not."""
    machine: list[Machine] = []

    def found(accelerator: str, devices: int) -> Mapping[str, str] | None:
        if accelerator.startswith(_TABLE):
            return engine_versions(python)
        if not machine:
            machine.append(find_machine(AUTO, None, python))
        ours, theirs = hardware_of(machine[0].accelerator, machine[0].chips), hardware_of(accelerator, devices)
        return machine[0].versions if (ours.name, ours.device_count) == (theirs.name, theirs.device_count) else None

    return found


def of_workers(storage: Storage) -> VersionsFor:
    """Of the worker that was seen last of those that could measure it."""

    def found(accelerator: str, devices: int) -> Mapping[str, str] | None:
        needs = {"accelerator": accelerator, "chips": devices}
        able = [item for item in storage.list_workers() if fits(needs, Machine(item.accelerator, item.chips, item.versions))]
        newest = max(able, key=lambda item: item.seen_at, default=None)
        return None if newest is None else {name: str(version) for name, version in newest.versions.items()}

    return found


def submitted(storage: Storage, config: StudyConfig, record: Recommendation, versions: Mapping[str, str], *, by: str) -> str:
    """Puts the study into the queue, for a worker with the accelerator and the versions that it is asked of; says so. Raises BadInput."""
    refuse_what_failed(storage, config.study)
    needs: Json = {}
    if config.launcher not in WITHOUT_AN_ENGINE:
        known = (answer_of(record).scope.get("versions") or {}).keys() & versions.keys()
        pinned = {name: f"=={versions[name]}" for name in STALE_PACKAGES if name in known}
        needs = {"accelerator": record.accelerator, "chips": record.device_count, **({"versions": pinned} if pinned else {})}
    check_requirements(needs)
    dry_run(config, storage, record.accelerator, resume=find_study(storage, config.study) is not None)
    stored = storage.submit(submission_of(config, by, requirements=needs))
    return f"submission {stored.id} of study {config.study} is {stored.state.value}"

"""XLA profiles of trials: captured and explained between two groups of windows, never inside one.

Each phase is a capture of its own. It is read at once, while the engine is idle: a background reader would take CPU from the next window,
and only now can a bad capture be tried again. One that cannot be had is recorded as missing; neither costs the trial anything.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from profiles.capture import ALL
from profiles.errors import ProfileError
from profiles.links import plain_name
from profiles.summary import summarise, write_summary
from storage.records import Json, Profile, Trial
from tuner.engines import launcher_errors
from tuner.errors import EngineLost, TrialFailed
from tuner.group import Workshop
from tuner.launchers.base import CaptureResult
from tuner.trial import TrialRun

ATTEMPTS = 2
OK, BAD, MISSING = "ok", "bad", "missing"
_DESCRIBING = ("arm", "block_size", "max_num_batched_tokens", "max_num_seqs", "model")


def run_name(study: str, trial: Trial) -> str:
    """TensorBoard's name of a trial's run; a folder under the logdir."""
    return f"{plain_name(study)}/trial-{trial.number:04d}-{trial.arm}-p{trial.block_size}-b{trial.max_num_batched_tokens}"


@dataclass(frozen=True)
class Explained:
    """What a capture says: storage's status, quality and summary."""

    status: str
    quality: Json
    summary: Json

    @property
    def retry(self) -> bool:
        return bool(self.quality.get("retry"))


def explain(capture: CaptureResult, trial: Trial) -> Explained:
    """Read a capture and write its summary beside it; what cannot be read is bad."""
    settings = {name: getattr(trial, name, None) or trial.requested.get(name) for name in _DESCRIBING}
    planned = [] if capture.phase == ALL else [capture.phase]
    details = {"steps_recorded": len(capture.steps), **capture.details}
    try:
        summary = summarise(capture.path, records=capture.steps, settings={**settings, "trial": trial.number}, planned_phases=planned)
        write_summary(summary, capture.path)
    except ProfileError as error:
        return Explained(BAD, {"ok": False, "retry": True, "problems": ["unreadable"], "error": str(error), "capture": details}, {})
    return Explained(OK if summary.quality["ok"] else BAD, {**summary.quality, "capture": details}, summary.brief())


def capture_profile(shop: Workshop, run: TrialRun) -> None:
    """Profile a finished trial in the engine that runs now; does nothing without an engine or where the trial has a profile already."""
    session = shop.keeper.running
    if session is None or any(profile.status != MISSING for profile in shop.storage.list_profiles(trial_id=run.trial.id)):
        return
    for phase in session.profile_phases:
        for attempt in range(1, ATTEMPTS + 1):
            if shop.keeper.running is None or not _captured(shop, run, phase, attempt):
                break


def _captured(shop: Workshop, run: TrialRun, phase: str, attempt: int) -> bool:
    """One capture of one phase, stored; True where another attempt may give a better one."""
    session, config = shop.keeper.running, shop.setup.config
    assert session is not None
    logdir = Path(config.logdir).expanduser().absolute()
    name, moment = run_name(config.study, run.trial), f"{time.strftime('%Y_%m_%d_%H_%M_%S')}-{phase}{'' if attempt == 1 else '-again'}"
    shop.progress.doing(f"profiling ({phase}): {run.configuration}")
    try:
        with shop.clock.phase("profile"), launcher_errors(f"profiling {run.configuration}"):
            captures = session.profile(run.configuration.live, shop.setup.plan, logdir, name, moment, config.trial_timeout, phase)
    except TrialFailed as error:
        if isinstance(error, EngineLost):
            shop.keeper.drop()
        shop.progress.note(f"no {phase} profile of trial {run.trial.number} ({run.configuration}): {error}")
        shop.storage.add_profile(_missing(run, logdir, name, moment, phase, error))
        return False
    with shop.clock.phase("profile"):
        explained = [explain(capture, run.trial) for capture in captures]
    for capture, found in zip(captures, explained, strict=True):
        shop.storage.add_profile(_record(run, logdir, capture, found, attempt))
    return any(found.retry for found in explained)


def _record(run: TrialRun, logdir: Path, capture: CaptureResult, found: Explained, attempt: int) -> Profile:
    return Profile(
        trial_id=run.trial.id,
        logdir=str(logdir),
        run=capture.run,
        session=capture.session,
        host=capture.host,
        phase=capture.phase,
        size_bytes=capture.size_bytes,
        status=found.status,
        quality={**found.quality, "attempt": attempt},
        summary=found.summary,
    )


def _missing(run: TrialRun, logdir: Path, name: str, moment: str, phase: str, error: TrialFailed) -> Profile:
    return Profile(
        trial_id=run.trial.id,
        logdir=str(logdir),
        run=name,
        session=moment,
        host="",
        phase=phase,
        size_bytes=0,
        status=MISSING,
        quality={"error_class": error.failure.value, "error": str(error)},
    )

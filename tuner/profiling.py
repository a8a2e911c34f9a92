"""XLA profiles of trials, captured outside every measured window. A capture that fails is recorded as missing and costs no trial."""

from __future__ import annotations

import time
from pathlib import Path

from storage.records import Json, Profile, Trial
from tuner.engines import launcher_errors
from tuner.errors import EngineLost, TrialFailed
from tuner.group import Workshop
from tuner.launchers.base import CaptureResult
from tuner.trial import TrialRun


def run_name(study: str, trial: Trial) -> str:
    """TensorBoard's name of a trial's run; a folder under the logdir."""
    return f"{study}/trial-{trial.number:04d}-{trial.arm}-p{trial.block_size}-b{trial.max_num_batched_tokens}"


def capture_profile(shop: Workshop, run: TrialRun) -> None:
    """Profile a finished trial in the engine that runs now; does nothing without an engine or where the trial has a profile already."""
    session = shop.keeper.running
    if session is None or any(profile.status != "missing" for profile in shop.storage.list_profiles(trial_id=run.trial.id)):
        return
    config = shop.setup.config
    logdir = Path(config.logdir).expanduser().absolute()
    name, moment = run_name(config.study, run.trial), time.strftime("%Y_%m_%d_%H_%M_%S")
    shop.progress.doing(f"profiling: {run.configuration}")
    try:
        with shop.clock.phase("profile"), launcher_errors(f"profiling {run.configuration}"):
            captures = session.profile(run.configuration.live, shop.setup.plan, logdir, name, moment, config.trial_timeout)
    except TrialFailed as error:
        if isinstance(error, EngineLost):
            shop.keeper.drop()
        shop.progress.note(f"no profile of trial {run.trial.number} ({run.configuration}): {error}")
        _add_missing(shop, run, logdir, name, moment, error)
        return
    for capture in captures:
        shop.storage.add_profile(
            Profile(
                trial_id=run.trial.id,
                logdir=str(logdir),
                run=capture.run,
                session=capture.session,
                host=capture.host,
                phase=capture.phase,
                size_bytes=capture.size_bytes,
                quality=_quality(capture),
            )
        )


def _quality(capture: CaptureResult) -> Json:
    """What the capture itself says; the reader (profiles) adds what the file says."""
    return {"steps": len(capture.steps), **capture.details}


def _add_missing(shop: Workshop, run: TrialRun, logdir: Path, name: str, moment: str, error: TrialFailed) -> None:
    shop.storage.add_profile(
        Profile(
            trial_id=run.trial.id,
            logdir=str(logdir),
            run=name,
            session=moment,
            host="",
            phase="all",
            size_bytes=0,
            status="missing",
            quality={"error_class": error.failure.value, "error": str(error)},
        )
    )

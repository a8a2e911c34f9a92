"""XLA profiles of trials: captured and explained between two groups of windows, never inside one.

Each phase is a profile session of its own. It is read at once, while the engine is idle: a background reader would take CPU from the next
window, and only now can a bad session be tried again. A bad or missing profile is recorded as such; the trial itself stays as it is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from profiles.errors import ProfileError
from profiles.links import new_session, plain_name
from profiles.session_plan import ALL
from profiles.summary import summarise, write_summary
from storage.records import Json, Profile, Trial
from tuner.core.contract import EngineSession, ProfileResult, ProfileTarget
from tuner.core.errors import EngineLost, TrialFailed
from tuner.serving.stored_settings import settings_of
from tuner.trials.context import RunContext
from tuner.trials.engines import EnginePool, launcher_errors
from tuner.trials.trial import TrialRun
from tuner.verdict.profile_sessions import BAD, MISSING, OK

ATTEMPTS = 2


def run_name(study: str, trial: Trial) -> str:
    """TensorBoard's name of a trial's run; a folder under the logdir."""
    return f"{plain_name(study)}/trial-{trial.number:04d}-{trial.arm}-p{trial.block_size}-b{trial.max_num_batched_tokens}"


@dataclass(frozen=True)
class Explained:
    """What a profile says: storage's status, quality and summary."""

    status: str
    quality: Json
    summary: Json


def explain(result: ProfileResult, trial: Trial) -> Explained:
    """Read a profile and write its summary beside it; what cannot be read is bad. Raises BadInput for a trial of damaged settings."""
    engine = settings_of(trial)
    settings = {
        "arm": trial.arm,
        "block_size": trial.block_size,
        "max_num_batched_tokens": trial.max_num_batched_tokens,
        "max_num_seqs": engine.max_num_seqs,
        **trial.factors,
        "model": engine.model,
        "trial": trial.number,
    }
    planned = [] if result.phase == ALL else [result.phase]
    details = {"steps_recorded": len(result.steps), **result.details}
    try:
        summary = summarise(result.path, records=result.steps, settings=settings, planned_phases=planned)
        write_summary(summary, result.path)
    except ProfileError as error:
        return Explained(BAD, {"ok": False, "retry": True, "problems": ["unreadable"], "error": str(error), "capture": details}, {})
    return Explained(OK if summary.quality["ok"] else BAD, {**summary.quality, "capture": details}, summary.brief())


def capture_profile(context: RunContext, pool: EnginePool, run: TrialRun, sessions: int = 1) -> None:
    """Profile a finished trial in the engine that runs now; does nothing without an engine or where the trial has a profile already.

    `sessions`: how many of each phase; after one that was not captured well there is no second.
    """
    session = pool.running
    if session is None or any(profile.status != MISSING for profile in context.storage.list_profiles(trial_id=run.trial.id)):
        return
    with contextlib.suppress(EngineLost):  # recorded as missing
        profiler = Profiler(context, session)
        good = list(session.profile_phases)
        for _ in range(sessions):
            found = {profile.phase for profile in profiler.capture(run, good) if profile.status == OK}
            good = [phase for phase in good if phase in found]
        return
    pool.drop()


@dataclass(frozen=True)
class Profiler:
    """Profiles trials in a running engine and stores what came of it."""

    context: RunContext
    session: EngineSession

    def capture(self, run: TrialRun, phases: Sequence[str] | None = None) -> list[Profile]:
        """All phases, or those asked for; returns the stored rows, the missing among them. Raises EngineLost, with that recorded, too."""
        stored: list[Profile] = []
        for phase in self.session.profile_phases if phases is None else phases:
            for attempt in range(1, ATTEMPTS + 1):
                fresh = self._capture(run, phase, attempt)
                stored += fresh
                if not any(profile.quality.get("retry") for profile in fresh):
                    break
        return stored

    def _capture(self, run: TrialRun, phase: str, attempt: int) -> list[Profile]:
        config = self.context.setup.config
        logdir, name = Path(config.logdir).expanduser().absolute(), run_name(config.study, run.trial)
        moment = new_session(logdir, name, f"-{phase}{'' if attempt == 1 else '-again'}")
        self.context.progress.doing(f"profiling ({phase}): {run.configuration}")
        try:
            with self.context.clock.phase("profile"), launcher_errors(f"profiling {run.configuration}"):
                results = self.session.profile(
                    run.configuration.live,
                    self.context.setup.plan,
                    ProfileTarget(logdir, name, moment),
                    phase=phase,
                    timeout_s=config.trial_timeout,
                )
        except TrialFailed as error:
            self.context.progress.note(f"no {phase} profile of trial {run.trial.number} ({run.configuration}): {error}")
            missing = self.context.storage.add_profile(_missing(run, logdir, name, moment, phase, error))
            if isinstance(error, EngineLost):
                raise
            return [missing]
        with self.context.clock.phase("profile"):
            records = [_record(run, logdir, result, explain(result, run.trial), attempt) for result in results]
        return [self.context.storage.add_profile(record) for record in records]


def _record(run: TrialRun, logdir: Path, result: ProfileResult, found: Explained, attempt: int) -> Profile:
    return Profile(
        trial_id=run.trial.id,
        logdir=str(logdir),
        run=result.run,
        session=result.session,
        host=result.host,
        phase=result.phase,
        size_bytes=result.size_bytes,
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

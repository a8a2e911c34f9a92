"""What a command line names as a profile: a file, a session's folder, or STUDY:TRIAL out of the database."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.core.errors import BadInput
from tuner.core.factors import further

if TYPE_CHECKING:
    from profiles.summary import Summary
    from storage.base import Storage
    from storage.records import Measurement, Profile, Trial

_TRIAL = re.compile(r"([^/:\\]+):(\d{1,9})")


@dataclass(frozen=True)
class Target:
    """The profiles of one side. `links` open them in TensorBoard; `measurements` are the trial's, empty for files."""

    label: str
    summaries: list[Summary]
    links: list[str]
    measurements: Sequence[Measurement] = ()
    stored: bool = False

    def of_phase(self, phase: str) -> list[Summary]:
        """Those with steps of this phase; all, where none has any, so that the comparison says what is missing."""
        return [summary for summary in self.summaries if phase in summary.phases] or self.summaries


@contextmanager
def readable() -> Iterator[None]:
    """Turns what is wrong with a profile into bad input."""
    from profiles.errors import ProfileError

    try:
        yield
    except ProfileError as error:
        raise BadInput(str(error)) from error


def is_trial(text: str) -> bool:
    """Whether it names a stored trial; a path that exists goes first."""
    return not Path(text).exists() and _TRIAL.fullmatch(text) is not None


def resolve(text: str, storage_url: str, logdir: str | None, *, every: bool = False) -> Target:
    """`every`: all good sessions of a trial, not only the best of each phase. Raises BadInput, ProfileError, StorageFault."""
    from profiles.links import profile_files_at
    from profiles.summary import load_or_summarise
    from tuner.cli.options import reading

    if not is_trial(text):
        return Target(text, [load_or_summarise(file) for file in profile_files_at(Path(text))], [])
    with reading(storage_url) as storage:
        return _stored(storage, text, Path(logdir).expanduser() if logdir is not None else None, every)


def find_trial(storage: Storage, text: str) -> Trial:
    """The trial that STUDY:NUMBER names. Raises BadInput."""
    from tuner.cli.options import required_study

    match = _TRIAL.fullmatch(text)
    if match is None:
        raise BadInput(f"{text!r} names no trial; use STUDY:NUMBER, e.g. first:3 (tuner show STUDY lists the numbers)")
    study = required_study(storage, match[1])
    for trial in storage.list_trials(study.id):
        if trial.number == int(match[2]):
            return trial
    raise BadInput(f"study {study.name!r} has no trial {match[2]}; tuner show {study.name} lists them")


def _stored(storage: Storage, text: str, logdir: Path | None, every: bool) -> Target:
    from profiles.summary import load_or_summarise
    from tuner.verdict.profile_sessions import TENSORBOARD, comparable, link, profile_file, usable

    trial = find_trial(storage, text)
    profiles = storage.list_profiles(trial_id=trial.id)
    found = comparable(profiles) if every else usable(profiles)
    if not found:
        raise BadInput(f"trial {text} {_why_none(profiles)}; capture one with: tuner profile capture {text}")
    return Target(
        label=f"{text} {trial.arm} p{trial.block_size} b{trial.max_num_batched_tokens}{further(trial.factors)}",
        summaries=[load_or_summarise(profile_file(profile, logdir).path) for profile in found],
        links=[link(profile, TENSORBOARD) for profile in found],
        measurements=storage.list_measurements(trial_id=trial.id),
        stored=True,
    )


def _why_none(profiles: Sequence[Profile]) -> str:
    reasons = [str(profile.quality["error"]) for profile in profiles if "error" in profile.quality]
    return f"has no profile ({reasons[-1]})" if reasons else "has no profile"

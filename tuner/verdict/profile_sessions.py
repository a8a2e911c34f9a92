"""The stored profiles of a trial: which of them count, where they lie, how TensorBoard opens them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from profiles.links import ProfileFile, deep_link
from profiles.session_plan import ALL, PHASES
from storage.records import Json, Measurement, Profile

TENSORBOARD = "http://127.0.0.1:6006"  # where `tuner tensorboard` listens unless told otherwise
OK, BAD, MISSING = "ok", "bad", "missing"  # storage's words for a profile's status
_ORDER = {phase: index for index, phase in enumerate((ALL, *PHASES))}


def usable(profiles: Sequence[Profile]) -> list[Profile]:
    """One profile for each phase and host: a good one before a bad one, then the latest; missing ones do not count."""
    best: dict[tuple[str, str], Profile] = {}
    for profile in sorted(profiles, key=lambda item: (item.status != BAD, item.id)):
        if profile.status != MISSING:
            best[profile.phase, profile.host] = profile
    return sorted(best.values(), key=lambda item: (_ORDER.get(item.phase, len(_ORDER)), item.host))


def comparable(profiles: Sequence[Profile]) -> list[Profile]:
    """All good profiles of a phase and host, so that a comparison sees how sessions differ among themselves; else as `usable`."""
    best = usable(profiles)
    good = {(profile.phase, profile.host) for profile in best if profile.status == OK}
    return [item for item in sorted(profiles, key=lambda item: item.id) if item.status == OK and (item.phase, item.host) in good] + [
        item for item in best if item.status != OK
    ]


def profile_file(profile: Profile, logdir: Path | None = None) -> ProfileFile:
    """Where the profile lies; below `logdir` where that was given, because the folder may have been moved."""
    return ProfileFile(logdir or Path(profile.logdir), profile.run, profile.session, profile.host)


def link(profile: Profile, base_url: str = "") -> str:
    """The trace in TensorBoard's Profile tab; relative to TensorBoard's address where none is given."""
    return deep_link(base_url, profile_file(profile))


def profile_json(profile: Profile, base_url: str = "") -> Json:
    """What evidence and `tuner show` say about a profile."""
    return {
        "id": profile.id,
        "trial_id": profile.trial_id,
        "phase": profile.phase,
        "status": profile.status,
        "problems": list(profile.quality.get("problems", [])),
        "link": link(profile, base_url) if profile.status != MISSING else None,
    }


def measured_step_ms(measurements: Sequence[Measurement], phase: str) -> float | None:
    """Mean time of the steps of a phase in a trial's valid windows, measured without a profiler; None where no window saw such a step."""
    steps = total = 0.0
    for item in measurements:
        for name, (count, milliseconds) in item.details.get("phases", {}).items() if item.valid else ():
            if phase in {name, ALL}:
                steps, total = steps + count, total + milliseconds
    return total / steps if steps else None

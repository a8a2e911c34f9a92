"""The profile files of a trial: their summaries, and the links that open them in TensorBoard.

Only what lies under the service's own logdir is read, and only under plain names: what the database says is no path to follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from profiles.charts import Labelled
from profiles.errors import ProfileError
from profiles.links import DIFF_TOOLS, TRACE_VIEWER, ProfileFile, deep_link, session_folder
from profiles.summary import Summary, read_summary, summary_path
from service.answers.tensorboard_links import MOUNT
from storage.records import Profile

_TOOLS = (("trace viewer", TRACE_VIEWER), ("overview", "overview_page"), ("HLO operations", "hlo_stats"), ("memory", "memory_viewer"))


@dataclass(frozen=True)
class ProfileEntry:
    """`problem` says why there is no summary."""

    profile: Profile
    links: tuple[tuple[str, str], ...]
    summary: Summary | None
    problem: str = ""


def profile_entries(profiles: Sequence[Profile], logdir: Path) -> list[ProfileEntry]:
    return [_entry(profile, logdir) for profile in profiles]


def labelled(entries: Sequence[ProfileEntry]) -> list[Labelled]:
    """Those with a summary, each named by its phase."""
    return [Labelled(entry.profile.phase, entry.summary) for entry in entries if entry.summary is not None]


def summaries(entries: Sequence[ProfileEntry]) -> list[Summary]:
    return [entry.summary for entry in entries if entry.summary is not None]


def comparison_link(baseline: Sequence[Profile], candidate: Sequence[Profile], logdir: Path) -> str | None:
    """XProf's own comparison of two sessions; None where a side has no readable profile."""
    sides = [
        next((found for profile in side if (found := profile_file_of(profile, logdir)) is not None), None) for side in (baseline, candidate)
    ]
    if sides[0] is None or sides[1] is None:
        return None
    return deep_link(MOUNT, sides[1], DIFF_TOOLS[0], baseline=sides[0])


def profile_file_of(profile: Profile, logdir: Path) -> ProfileFile | None:
    """None for a missing profile, one that is not below this logdir, and names that are not plain. Where it was captured does not matter: a
    logdir is moved, or mounted elsewhere."""
    if profile.status == "missing" or not profile.host or "/" in profile.host or "\\" in profile.host:
        return None
    try:
        session_folder(logdir, profile.run, profile.session)
    except ProfileError:
        return None
    file = ProfileFile(logdir.expanduser().absolute(), profile.run, profile.session, profile.host)
    here = file.path.is_file() or summary_path(file.path).is_file()
    same_place = Path(profile.logdir).expanduser().absolute() == file.logdir
    return file if here or same_place else None


def _entry(profile: Profile, logdir: Path) -> ProfileEntry:
    if profile.status == "missing":
        return ProfileEntry(profile, (), None, str(profile.quality.get("error") or "the profile session failed"))
    file = profile_file_of(profile, logdir)
    if file is None:
        return ProfileEntry(profile, (), None, "not below the logdir that this service serves; start it with --logdir")
    links = tuple((name, deep_link(MOUNT, file, tool)) for name, tool in _TOOLS)
    path = summary_path(file.path).resolve()
    if not path.is_file() or not path.is_relative_to(logdir.resolve()):
        return ProfileEntry(profile, links, None, "not summarised yet: run tuner profile show on it")
    try:
        return ProfileEntry(profile, links, read_summary(path))
    except ProfileError:
        return ProfileEntry(profile, links, None, "its summary cannot be read; delete it and run tuner profile show again")

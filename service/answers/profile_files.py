"""Opens the files of stored profiles. A path is made only of what a database row names, and has to lie below the service's logdir."""

from __future__ import annotations

from pathlib import Path

from profiles.errors import ProfileError
from profiles.links import ProfileFile
from profiles.summary import Summary, read_summary, summary_path
from service.web.errors import Problem
from storage.base import Storage
from storage.records import Profile


def summaries_of(storage: Storage, logdir: Path, trial_id: int) -> list[Summary]:
    """The summaries that were written beside a trial's profiles. Raises NotFound, and Problem where there is none.

    Profiles without a summary are not read here: that takes minutes of processor time, too much for a request.
    """
    storage.get_trial(trial_id)
    found = [summary for item in storage.list_profiles(trial_id=trial_id) if (summary := _summary(logdir, item)) is not None]
    if not found:
        raise Problem(409, f"trial {trial_id} has no summarised profile under the service's logdir; see tuner profile show")
    return found


def _summary(logdir: Path, profile: Profile) -> Summary | None:
    if profile.status != "ok" or not profile.host or "/" in profile.host or "\0" in profile.host:
        return None
    root = logdir.resolve()
    try:
        path = summary_path(ProfileFile(root, profile.run, profile.session, profile.host).path).resolve()
        return read_summary(path) if path.is_relative_to(root) and path.is_file() else None
    except ProfileError:
        return None

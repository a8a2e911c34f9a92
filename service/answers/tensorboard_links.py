"""Links from stored profiles into the TensorBoard that is mounted under the service."""

from __future__ import annotations

from pathlib import Path

from profiles.errors import ProfileError
from profiles.links import ProfileFile, deep_link
from storage.records import Profile

MOUNT = "/tensorboard"


def link_of(profile: Profile) -> str | None:
    """Path and query; None for a profile that is missing or whose names are no folder names."""
    if profile.status == "missing" or not profile.host:
        return None
    try:
        return deep_link(MOUNT, ProfileFile(Path(), profile.run, profile.session, profile.host))
    except ProfileError:
        return None

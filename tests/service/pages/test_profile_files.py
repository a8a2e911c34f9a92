"""Profiles are found by where they lie now, not by where they were captured."""

from __future__ import annotations

from pathlib import Path

import pytest

from profiles.links import ProfileFile
from profiles.summary import write_summary
from service.pages.profile_files import comparison_link, profile_entries
from tests.profiles.summaries import summary
from tests.storage.builders import a_profile


@pytest.mark.parametrize("captured_at", ["/mnt/tpu-vm/profiles", "tuner-profiles", "gs://bucket/profiles", ""])
def test_a_logdir_that_was_moved_or_mounted_elsewhere_is_shown(tmp_path: Path, captured_at: str) -> None:
    profile = a_profile(1, logdir=captured_at, run="s/trial-0", session="now", host="h")
    file = ProfileFile(tmp_path, "s/trial-0", "now", "h")
    file.path.parent.mkdir(parents=True)
    [absent] = profile_entries([profile], tmp_path)
    assert not absent.links and "not below the logdir" in absent.problem
    file.path.write_bytes(b"")
    [entry] = profile_entries([profile], tmp_path)
    assert entry.links and entry.problem == "not summarised yet: run tuner profile show on it"
    assert comparison_link([profile], [profile], tmp_path) is not None
    write_summary(summary(tmp_path, "elsewhere"), file.path)
    assert profile_entries([profile], tmp_path)[0].summary is not None


def test_names_that_leave_the_logdir_are_still_not_followed(tmp_path: Path) -> None:
    for changes in ({"run": "../s"}, {"session": ".."}, {"host": "../h"}, {"run": "/etc"}):
        assert not profile_entries([a_profile(1, logdir=str(tmp_path), **changes)], tmp_path)[0].links, changes

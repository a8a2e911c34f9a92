"""A file is there as a whole or as it was before."""

from __future__ import annotations

from pathlib import Path

import pytest

from tuner.core.whole_files import write_whole


def test_the_new_text_takes_the_place_of_the_old(tmp_path: Path) -> None:
    for text in ("old", "new \u00e9\n"):
        write_whole(tmp_path / "file", text)
    assert (tmp_path / "file").read_text(encoding="utf-8") == "new \u00e9\n"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_cannot_be_written_leaves_the_old_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="folder"):
        write_whole(tmp_path / "folder", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_without_a_folder_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "nowhere" / "file", "text")

"""The pictures of README.md: what is drawn needs no other machine and names none, and what is committed is small."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from bench.readme_pictures import MOST_BYTES, PICTURES, newest_study, profiled_arms, terminal_svg, without_folders
from storage.base import Storage
from storage.records import StudyState
from tests.storage.builders import a_profile, a_trial, stored_study


def test_a_screen_is_valid_svg_that_fetches_nothing() -> None:
    svg = terminal_svg("make demo", "page size  verdict\n  16 <b> & so on\nanswer: on")
    texts = "".join(ElementTree.fromstring(svg).itertext()).replace("\xa0", " ")
    assert "16 <b> & so on" in texts and "answer: on" in texts
    assert not re.search(r"@font-face|url\(.?http|<image|<script", svg)


def test_folders_of_this_machine_are_not_shown() -> None:
    assert without_folders(f"{Path.home()}/.cache/x {Path.cwd()}/tuner.db") == "~/.cache/x ~/tuner/tuner.db"


@pytest.mark.slow
def test_the_profile_shows_both_arms_of_one_cell(storage: Storage) -> None:
    study = stored_study(storage)
    for number, (arm, page) in enumerate([("page_aligned", 32), ("default", 32), ("default", 64), ("default", 16)]):
        trial = storage.create_trial(a_trial(study.id, number, arm=arm, block_size=page))
        if page != 16:
            storage.add_profile(a_profile(trial.id))
    found = [(trial.arm, trial.block_size) for trial in profiled_arms(storage, study)]
    assert found == [("default", 32), ("page_aligned", 32)]


def test_a_study_that_is_not_finished_or_has_no_profile_is_no_picture(storage: Storage) -> None:
    study = stored_study(storage)
    with pytest.raises(SystemExit, match="no finished study"):
        newest_study(storage, None)
    storage.update_study(study.id, state=StudyState.COMPLETE)
    assert newest_study(storage, None).name == study.name
    with pytest.raises(SystemExit, match="no profile"):
        profiled_arms(storage, study)


def test_the_committed_pictures_are_small_and_whole() -> None:
    paths = sorted(PICTURES.iterdir())
    assert [path.name for path in paths] == ["profile.svg", "search.svg", "study.png"]
    for path in paths:
        assert path.stat().st_size <= MOST_BYTES, path.name
        if path.suffix == ".svg":
            ElementTree.fromstring(path.read_text())
        else:
            Image.open(path).verify()

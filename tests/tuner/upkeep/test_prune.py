"""Retention: space goes, answers stay byte for byte, and nothing goes that somebody still needs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from storage.base import Storage
from storage.records import Actor, StudyState
from storage.retention_contract import PRUNED
from tests.storage.builders import a_lease, a_measurement, a_profile, a_recommendation, a_submission, stored_trial
from tests.tuner.fake_engine import FakeLauncher
from tests.tuner.workbench import Workbench
from tuner.advice.advice import advise
from tuner.advice.lookup import Query
from tuner.report.report import recommendation_json, study_comparison_json
from tuner.setup.space import Configuration
from tuner.upkeep.prune import NEEDED, Age, prune
from tuner.verdict.answer import answer_of
from tuner.verdict.conclude import compare_measured, compare_stored, recommend_stored

ALL = Age(requests_before=1e12, profiles_before=1e12)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "profiles" / "first" / "trial-0" / "plugins" / "profile" / "s1"
    found.mkdir(parents=True)
    (found / "h.xplane.pb").write_bytes(b"x" * 1000)
    return found


@pytest.fixture
def filled(storage: Storage, folder: Path) -> Storage:
    """A study that ended, with a window, a profile and its file."""
    trial = stored_trial(storage)
    storage.add_measurement(a_measurement(trial.id, details={"launcher": "local", "flags": ["--long", "x" * 100]}))
    storage.add_profile(a_profile(trial.id))
    storage.update_study(trial.study_id, state=StudyState.COMPLETE)
    return storage


def _prune(storage: Storage, folder: Path, age: Age = ALL, *, keep_published: bool = False, dry_run: bool = False) -> tuple[int, int, int]:
    """(windows, profiles, studies that were left alone)"""
    found = prune(storage, age, logdir=folder.parents[4], keep_published=keep_published, dry_run=dry_run, now=5.0)
    return found.details.rows, found.files.rows, found.busy + found.published


def test_what_is_old_goes_once_and_a_dry_run_takes_nothing(filled: Storage, folder: Path) -> None:
    assert _prune(filled, folder, Age(1.0, 1.0)) == (0, 0, 0), "everything is younger"
    assert _prune(filled, folder, dry_run=True) == (1, 1, 0)
    assert folder.exists() and "flags" in filled.list_measurements(study_id=1)[0].details
    assert _prune(filled, folder) == (1, 1, 0)
    assert not folder.exists() and filled.list_measurements(study_id=1)[0].details == {"launcher": "local"}
    assert PRUNED in filled.list_profiles(study_id=1)[0].quality
    assert _prune(filled, folder) == (0, 0, 0)


@pytest.mark.parametrize("why", ["running", "leased", "queued", "published"])
def test_what_somebody_needs_stays(filled: Storage, folder: Path, why: str) -> None:
    if why == "running":
        filled.update_study(1, state=StudyState.RUNNING)
    elif why == "leased":
        filled.swap_lease(1, None, a_lease(1))
    elif why == "queued":
        filled.submit(a_submission(study="first"))
    else:
        found = filled.add_recommendation(a_recommendation(1))
        filled.mark_recommendation(found.id, published=True, by=Actor("anna"))
    assert _prune(filled, folder, keep_published=True) == (0, 0, 1)
    assert folder.exists() and "flags" in filled.list_measurements(study_id=1)[0].details


@pytest.mark.parametrize("trap", ["link", "outside", "young"])
def test_no_file_goes_that_is_not_an_old_profile_below_the_logdir(filled: Storage, folder: Path, tmp_path: Path, trap: str) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "h.xplane.pb").write_bytes(b"y")
    trial = filled.list_trials(1)[0]
    if trap == "link":
        (folder.parent / "s9").symlink_to(precious)
        filled.add_profile(a_profile(trial.id, session="s9"))
    elif trap == "outside":
        filled.add_profile(a_profile(trial.id, run="../precious", session="s1"))
    else:
        filled.add_profile(a_profile(trial.id, host="h2", created_at=2e12))
    assert _prune(filled, folder)[1] == (0 if trap == "young" else 1)
    assert (precious / "h.xplane.pb").exists() and folder.exists() is (trap == "young")


@pytest.mark.slow
def test_answers_stay_byte_for_byte(bench: Workbench) -> None:
    """Of a real study with profiles, effects, noise and a configuration that failed."""

    def noisy(configuration: Configuration, nth: int, result: object) -> object:
        return replace(result, details={"flags": ["x" * 50], "nth": nth})  # type: ignore[type-var]

    bench.run(FakeLauncher(on_measure=noisy), profile="finalists")  # type: ignore[arg-type]
    storage = bench.storage
    study = storage.get_study("s")
    (found,) = storage.list_recommendations()
    storage.mark_recommendation(found.id, published=True, by=Actor("anna"))

    def answers() -> bytes:
        asked = Query(model="tiny-qwen3", accelerator="fake engine", device_count=1, workload="demo")
        told = [advise(storage, asked).to_json(), storage.get_recommendation(found.id).body, recommend_stored(storage, study).body]
        compared = [study_comparison_json(compare_stored(storage, study)), study_comparison_json(compare_measured(storage, study))]
        return json.dumps([*told, *compared, recommendation_json(answer_of(storage.get_recommendation(found.id)))]).encode()

    before = answers()
    pruned = prune(storage, ALL, logdir=bench.folder / "profiles", keep_published=False, dry_run=False, now=5.0)
    assert pruned.details.rows > 20 and pruned.files.rows > 0 and pruned.files.bytes > 0
    assert not list((bench.folder / "profiles").rglob("*.xplane.pb"))
    assert answers() == before
    assert {key for item in storage.list_measurements(study_id=study.id) for key in item.details} <= NEEDED

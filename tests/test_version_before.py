"""A database made by the version before is upgraded, answers as it did there, and its interrupted study is resumed; see
assets/version_before/README.md."""

from __future__ import annotations

import html
import json
import math
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.web.settings import ServiceSettings
from storage.records import Stage, StudyState, TrialState
from storage.upgrade import check, open_storage, upgrade
from tests.storage.restore import restore
from tests.tuner.cli.terminal import Terminal

ASSET = Path(__file__).parent / "assets" / "version_before"
MADE, *ANSWERS = [json.loads(line) for line in (ASSET / "answers.jsonl").read_text().splitlines()]
COMMANDS = [answer for answer in ANSWERS if "command" in answer]
REQUESTS = [answer for answer in ANSWERS if "path" in answer]
PAGES = ["/", "/studies/complete", "/studies/interrupted", "/studies/engine", "/recommendations", "/trials/1", "/trials/29"]
A_MINUTE_S = 60.0
# Nothing is stored of it: it is concluded when it is asked for, in this version's words.
WORDED_ANEW = ("recommend interrupted --json[1].reason", "recommend interrupted --json[1].caveats")
_BEST = "(best: page size 32, chunk budget 256: +7.2 % throughput), loses in none"
SENTENCES = {
    "complete": f"undecided: page-aligned scheduling wins in 3 of 6 cells {_BEST}",
    "engine": "on: page-aligned scheduling wins in 4 of 4 cells (best: page size ",
    "interrupted": f"undecided: page-aligned scheduling wins in 2 of 4 cells {_BEST}",
}
_MADE_ANEW = re.compile(r"\.answers?(\.\w+)?\.(answer|sentence): ")

# Cells are judged by this version's rules: one of 3 rounds looked four times as quiet as the others, and is not taken to be.
JUDGED_ANEW = re.compile(r"(comparisons|items)\[3\]\.(low: 1\.068\d* became 1\.055|high: 1\.076\d* became 1\.089)")


@pytest.fixture
def old_url(each_url: str) -> str:
    """The old database, upgraded."""
    restore(ASSET / "database.sqlite.sql", each_url)
    assert upgrade(each_url)["ok"] is True
    return each_url


@pytest.fixture
def in_its_folder(terminal: Terminal, old_url: str, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TUNER_STORAGE", old_url)
    shutil.copyfile(ASSET / "table.csv", terminal.table)
    return terminal


@pytest.fixture
def soon_after(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute after the answers were given, so that their evidence has not aged."""
    monkeypatch.setattr(time, "time", lambda: MADE["made_at"] + A_MINUTE_S)


@pytest.fixture
def old_client(old_url: str, soon_after: None, tmp_path: Path) -> Iterator[TestClient]:
    settings = ServiceSettings(storage_url=old_url, logdir=tmp_path / "profiles", token="another-token-0123456789")
    with TestClient(create_app(settings), base_url="http://127.0.0.1:8000", client=("127.0.0.1", 50000)) as client:
        yield client


def differences(old: Any, new: Any, place: str = "") -> list[str]:
    """Where `new` does not hold what `old` held. More keys are allowed, more items of a list are not."""
    if isinstance(old, dict) and isinstance(new, dict):
        missing = [f"{place}.{key} is gone" for key in old if key not in new]
        return missing + [found for key in old if key in new for found in differences(old[key], new[key], f"{place}.{key}")]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [
            found for nth, (one, other) in enumerate(zip(old, new, strict=True)) for found in differences(one, other, f"{place}[{nth}]")
        ]
    if isinstance(old, float) and isinstance(new, int | float) and math.isclose(old, new, rel_tol=1e-9):
        return []
    return [] if old == new else [f"{place}: {old!r} became {new!r}"]


def test_a_difference_is_found() -> None:
    """The comparison of this module has teeth."""
    assert differences({"a": [1, {"b": 2.0}]}, {"a": [1, {"b": 2.0, "c": 3}], "d": 4}) == []
    assert differences({"a": [1, {"b": 2.0}]}, {"a": [1, {"b": 2.1}]}) == [".a[1].b: 2.0 became 2.1"]
    assert differences({"a": 1, "b": []}, {"b": [1]}) == [".a is gone", ".b: [] became [1]"]


@pytest.mark.slow
@pytest.mark.usefixtures("soon_after")
def test_every_command_answers_as_before(in_its_folder: Terminal) -> None:
    found = []
    for old in COMMANDS:
        result = in_its_folder.run(*old["command"])
        new = result.out if isinstance(old["out"], str) else result.json
        found += differences([old["code"], old["out"]], [result.code, new], " ".join(old["command"]))
    assert _kept(found) == []


@pytest.mark.slow
def test_every_request_is_answered_as_before(old_client: TestClient) -> None:
    found = []
    for old in REQUESTS:
        reply = old_client.get(old["path"])
        body = reply.text if isinstance(old["body"], str) else reply.json()
        found += differences([old["status"], old["body"]], [reply.status_code, body], old["path"])
    assert _kept(found) == []
    for path in PAGES:
        assert old_client.get(path, headers={"accept": "text/html"}).status_code == 200, path


def _kept(found: list[str]) -> list[str]:
    """Without the answers' kinds and sentences, which are made anew from the old measurements."""
    made_anew = (_MADE_ANEW, JUDGED_ANEW)
    return [line for line in found if not line.startswith(WORDED_ANEW) and not any(part.search(line) for part in made_anew)]


@pytest.mark.slow
@pytest.mark.parametrize(("study", "sentence"), SENTENCES.items())
@pytest.mark.usefixtures("soon_after")
def test_an_old_study_shows_the_new_sentence_everywhere(in_its_folder: Terminal, old_client: TestClient, study: str, sentence: str) -> None:
    """Nothing is measured again: the version before asked the average over the cells, and said "on" to all of these."""
    assert in_its_folder.run("compare", study, "--json").json["answer"]["sentence"].startswith(sentence)
    assert f"answer: {sentence}" in in_its_folder.run("show", study).out
    assert old_client.get(f"/v1/studies/{study}/comparison").json()["answer"]["sentence"].startswith(sentence)
    assert sentence in html.unescape(old_client.get(f"/studies/{study}").text)


@pytest.mark.slow
def test_a_token_that_was_given_out_still_opens(old_url: str, tmp_path: Path) -> None:
    settings = ServiceSettings(storage_url=old_url, logdir=tmp_path, host="0.0.0.0", token="another-token-0123456789")
    with TestClient(create_app(settings), base_url="http://service:8000", client=("192.0.2.1", 50000)) as client:
        assert client.get("/v1/studies").status_code == 401
        assert client.get("/v1/studies", headers={"authorization": f"Bearer {MADE['token']}"}).status_code == 200


@pytest.mark.slow
def test_the_interrupted_study_is_resumed_and_completed(old_url: str, in_its_folder: Terminal) -> None:
    storage = open_storage(old_url)
    try:
        study = storage.get_study("interrupted")
        assert study.state is StudyState.INTERRUPTED
        before = {item.id: item for item in storage.list_measurements(study_id=study.id)}
        result = in_its_folder.run(*MADE["searches"]["interrupted"], "--resume", "--json")
        assert result.code == 0, result.err
        assert storage.get_study("interrupted").state is StudyState.COMPLETE
        after = {item.id: item for item in storage.list_measurements(study_id=study.id)}
        assert before.items() <= after.items()
        assert len(before) == 15 and result.json["run"]["measured_windows"] == len(after) - len(before)
        assert result.json["recommendation"]["status"] == "recommended"
        trials = storage.list_trials(study.id, stage=Stage.SEARCH)
        assert sorted((t.block_size, t.max_num_batched_tokens, t.arm) for t in trials if t.state is not TrialState.COMPLETE) == [
            (64, 128, "page_aligned")  # the one that fails by the table
        ]
        rounds = {trial.id: sorted(item.round for item in after.values() if item.trial_id == trial.id) for trial in trials}
        assert len(trials) == 12
        assert [rounds[trial.id] for trial in trials if trial.state is TrialState.COMPLETE] == [[0, 1, 2]] * 11
    finally:
        storage.close()


@pytest.mark.slow
def test_resuming_the_complete_study_measures_nothing(old_url: str, in_its_folder: Terminal) -> None:
    result = in_its_folder.run(*MADE["searches"]["complete"], "--resume", "--json")
    assert (result.code, result.json["run"]["measured_windows"]) == (0, 0)
    (stored,) = [old["out"] for old in COMMANDS if old["command"] == ["recommend", "complete", "--json"]]
    assert differences(stored["config"], result.json["recommendation"]["config"]) == []
    assert check(old_url)["ok"] is True

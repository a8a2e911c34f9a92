"""A running search is seen as it goes: its trials, the time it may take, its last sign of life."""

from __future__ import annotations

import os
import socket
import time
from typing import Any

import psutil
import pytest

from service.pages.running_view import MOST_ROWS, running_of
from storage.base import Storage
from storage.records import Study, Trial, TrialState
from tests.service.conftest import MakeClient
from tests.storage.builders import FINGERPRINT, a_lease, a_measurement, a_trial, stored_study
from tests.tuner.workbench import config_of
from tuner.search.time_left import TimeLeft
from tuner.setup.stored_study import Resolved, stored_config

SINCE_S = 3600.0


def searching(storage: Storage, heartbeat: float, **lease: Any) -> tuple[Study, list[Trial]]:
    """Two of eight configurations have begun, in a search that is alive as of `heartbeat`."""
    stored = stored_config(config_of("going").to_json(), Resolved(max_model_len=512, max_num_seqs=8))
    study = stored_study(storage, name="going", objective="throughput", config=stored)
    storage.swap_lease(study.id, None, a_lease(study.id, heartbeat=heartbeat, **lease))
    trials = [storage.create_trial(a_trial(study.id, number, state=TrialState.RUNNING, environment=FINGERPRINT)) for number in range(2)]
    for trial in trials:
        storage.add_measurement(a_measurement(trial.id, metrics={"total_token_throughput": 5.0}))
    return study, trials


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.slow
def test_a_running_page_showed_neither_trials_nor_time_left_nor_a_sign_of_life(storage: Storage, make_client: MakeClient) -> None:
    _, trials = searching(storage, time.time())
    client = make_client(storage)
    first = words(client.get("/studies/going/live").text)
    assert "0 of 11 trials finished" in first and "Time left, an estimate" in first and "at most about" in first
    assert "Last sign of life" in first and time.strftime("%Y-%m-%d", time.gmtime()) in first and "although process" not in first
    assert first.count('<td class="num" data-label="windows">1</td>') == 2 and first.count("not yet</span></td>") == 2
    storage.add_measurement(a_measurement(trials[1].id, round=1))
    storage.finish_trial(trials[0].id, TrialState.COMPLETE, values={"throughput": 512.5})
    later = words(client.get("/studies/going/live").text)
    assert "1 of 11 trials finished" in later and "512.5" in later
    assert later.index(f"/trials/{trials[1].id}") < later.index(f"/trials/{trials[0].id}"), "what is measured now comes first"
    assert '<td class="num" data-label="windows">2</td>' in later


@pytest.mark.slow
def test_what_to_do_about_a_search_that_is_there_and_silent(storage: Storage, make_client: MakeClient) -> None:
    here = {"pid": os.getpid(), "host": socket.gethostname(), "process_started_at": psutil.Process().create_time()}
    searching(storage, time.time() - SINCE_S, **here)
    page = words(make_client(storage).get("/studies/going").text)
    assert f"although process {os.getpid()} on {socket.gethostname()} is there" in page
    assert f"<code>kill -CONT {os.getpid()}</code>" in page and "tuner search --study going --resume" in page


@pytest.mark.slow
def test_one_that_nobody_runs_any_more_has_no_time_left(storage: Storage, make_client: MakeClient) -> None:
    searching(storage, time.time() - SINCE_S)
    page = words(make_client(storage).get("/studies/going").text)
    assert "Nobody runs this search: no sign of life since" in page and "Time left" not in page


def test_a_study_that_does_not_say_what_it_measures_says_so(storage: Storage, make_client: MakeClient) -> None:
    study = stored_study(storage, name="going", objective="throughput", config={})
    storage.swap_lease(study.id, None, a_lease(study.id, heartbeat=time.time()))
    page = words(make_client(storage).get("/studies/going").text)
    assert "cannot be told from what is stored" in page and "0 of 0 trials finished" in page


@pytest.mark.parametrize(("ended", "hidden"), [(0, 0), (MOST_ROWS - 2, 0), (MOST_ROWS + 30, 32)])
def test_the_latest_are_shown_and_the_others_counted(ended: int, hidden: int) -> None:
    now = [a_trial(1, number, id=number + 1, state=TrialState.RUNNING) for number in range(2)]
    waiting = [a_trial(1, 900, id=900)]
    done = [a_trial(1, number, id=number + 1, state=TrialState.FAIL, finished_at=float(number)) for number in range(2, 2 + ended)]
    left = TimeLeft(trials=100, starts=1, windows=1, start_s=1.0, window_s=1.0, seconds=2.0, source="x")
    found = running_of([*done, *waiting, *now], {1: (7, 3.5)}, left)
    assert [row.trial.number for row in found.rows[:2]] == [0, 1] and [row.windows for row in found.rows[:2]] == [7, 0]
    assert [row.trial.number for row in found.rows[2:]] == list(range(1 + ended, 1 + ended - len(found.rows[2:]), -1))
    assert (found.hidden, found.waiting, found.planned) == (hidden, 1, 100)
    assert running_of([], {}, None).planned == 0

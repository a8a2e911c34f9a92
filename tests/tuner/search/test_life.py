"""A killed search leaves its study RUNNING: whoever looks is told since when there is no sign of life."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import Any

import psutil
import pytest

from storage.base import Storage
from storage.records import Lease, Study, StudyState
from tests.storage.builders import a_study
from tuner.search.lease import HEARTBEAT_S, STALE_AFTER_S
from tuner.search.life import life_json, life_of

SEEN = 1_000_000_000.0


def dead_pid() -> int:
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True)
    return int(done.stdout)


def held(storage: Storage, **changes: Any) -> Study:
    """A running study whose holder was last heard of at SEEN."""
    study = storage.create_study(a_study())
    values: dict[str, Any] = {"token": "x", "pid": os.getpid(), "host": socket.gethostname(), "heartbeat": SEEN}
    values["process_started_at"] = psutil.Process().create_time()
    storage.swap_lease(study.id, None, Lease(study.id, **values | changes))
    return study


def note(storage: Storage, study: Study, after_s: float) -> str | None:
    life = life_of(storage, study, SEEN + after_s)
    return None if life is None else life.note


def test_a_process_that_is_seen_lives_however_old_its_heartbeat(storage: Storage) -> None:
    assert note(storage, held(storage), 10 * STALE_AFTER_S) == ""


def test_a_killed_one_is_noticed_after_two_heartbeats(storage: Storage) -> None:
    study = held(storage, pid=dead_pid())
    assert note(storage, study, HEARTBEAT_S) == ""  # it may run in a container from which nothing is seen
    said = note(storage, study, 2 * HEARTBEAT_S + 1)
    assert said is not None and said.startswith("no sign of life since 2001-09-09 01:46:40 UTC; resume with")
    assert "tuner search --study first --resume" in said


def test_another_process_under_its_id_is_not_the_holder(storage: Storage) -> None:
    assert note(storage, held(storage, process_started_at=1.0), STALE_AFTER_S)


@pytest.mark.parametrize(("after_s", "silent"), [(STALE_AFTER_S - 1, False), (STALE_AFTER_S + 1, True)])
def test_another_machine_is_believed_until_it_falls_silent(storage: Storage, after_s: float, silent: bool) -> None:
    assert bool(note(storage, held(storage, host="elsewhere"), after_s)) is silent


def test_nobody_holds_it(storage: Storage) -> None:
    study = storage.create_study(a_study())
    life = life_of(storage, study)
    assert life is not None and life.note and life.seen_at == study.updated_at
    assert life_json(life) == {"last_sign_of_life": study.updated_at, "no_sign_of_life": life.note}


@pytest.mark.parametrize("state", [state for state in StudyState if state is not StudyState.RUNNING])
def test_what_has_ended_needs_no_sign(storage: Storage, state: StudyState) -> None:
    study = held(storage, pid=dead_pid())
    assert note(storage, storage.update_study(study.id, state=state), 10 * STALE_AFTER_S) is None
    assert note(storage, study, 10 * STALE_AFTER_S)  # as it was read before it ended
    assert life_json(None) == {"last_sign_of_life": None, "no_sign_of_life": None}


def test_somebody_who_is_there_and_silent_was_told_of_by_nobody(storage: Storage) -> None:
    """A search that was stopped (SIGSTOP), or does not reach the database, looked as if it measured."""
    study = held(storage)
    fresh, late = (life_of(storage, study, SEEN + after_s) for after_s in (HEARTBEAT_S, 2 * HEARTBEAT_S + 1))
    assert fresh is not None and (fresh.note, fresh.silence) == ("", "")
    assert (
        late is not None and late.note == "" and late.silence.startswith("no sign of life since 2001-09-09 01:46:40 UTC, although process")
    )
    assert f"kill -CONT {os.getpid()}" in late.silence and "tuner search --study first --resume" in late.silence
    assert life_json(late)["no_sign_of_life"] is None


@pytest.mark.parametrize(("host", "after_s", "silent"), [("elsewhere", 15, False), ("elsewhere", 45, True), ("elsewhere", 75, False)])
def test_another_machine_that_is_slow_is_silent_before_it_is_given_up(storage: Storage, host: str, after_s: float, silent: bool) -> None:
    life = life_of(storage, held(storage, host=host), SEEN + after_s)
    assert life is not None and bool(life.silence) is silent and bool(life.note) is (after_s > STALE_AFTER_S)

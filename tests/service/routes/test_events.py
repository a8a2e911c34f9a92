"""A study followed as server-sent events."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.routes.events import study_look
from storage.base import Storage
from storage.records import StudyState, TrialState
from tests.service.builders import Filled
from tests.service.queries import counted_queries
from tests.storage.builders import a_lease, a_trial


def _read(client: TestClient, name: str = "first", **headers: str) -> list[dict[str, Any]]:
    """The events until the stream ends."""
    with client.stream("GET", f"/v1/studies/{name}/events", headers=headers) as answer:
        assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/event-stream")
        assert "content-encoding" not in answer.headers and answer.headers["cache-control"] == "no-store"
        blocks = "".join(answer.iter_text()).split("\n\n")
    found = [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks if block.startswith("id: ")]
    return [{**event, "data": json.loads(event["data"])} for event in found]


@pytest.fixture
def quick(client: TestClient) -> TestClient:
    client.app.state.service.streams.poll_s = 0.02  # type: ignore[attr-defined]
    return client


@pytest.fixture
def followed(storage: Storage, client: TestClient) -> Filled:
    from tests.service.builders import fill

    del client
    found = fill(storage)
    storage.swap_lease(found.study.id, None, a_lease(found.study.id, heartbeat=time.time() + 60))
    return found


@pytest.mark.slow
def test_each_change_is_told_until_the_search_has_ended(quick: TestClient, storage: Storage, followed: Filled) -> None:
    def search() -> None:
        time.sleep(0.1)
        trial = storage.create_trial(a_trial(followed.study.id, 9))
        time.sleep(0.1)
        storage.finish_trial(trial.id, TrialState.FAIL, error_class="timeout", error_message="late")
        storage.update_study(followed.study.id, state=StudyState.COMPLETE)

    thread = threading.Thread(target=search)
    thread.start()
    events = _read(quick)
    thread.join()
    assert [event["event"] for event in (events[0], events[-1])] == ["running", "complete"]
    assert events[0]["data"]["trials"] == {"WAITING": 0, "RUNNING": 0, "COMPLETE": 2, "PRUNED": 0, "FAIL": 1}
    assert events[-1]["data"]["trials"]["FAIL"] == 2
    assert len({event["id"] for event in events}) == len(events) >= 3


@pytest.mark.slow
def test_who_comes_back_gets_what_has_changed_since(quick: TestClient, storage: Storage, followed: Filled) -> None:
    before = study_look(storage, "first", "").events[0].id
    storage.update_study(followed.study.id, state=StudyState.COMPLETE)
    [last] = _read(quick, **{"last-event-id": before})
    assert last["event"] == "complete"
    assert quick.get("/v1/studies/first/events", headers={"last-event-id": last["id"]}).status_code == 204


def test_a_search_that_was_killed_is_stale(storage: Storage, followed: Filled) -> None:
    held = storage.get_lease(followed.study.id)
    assert held is not None
    storage.swap_lease(followed.study.id, held.token, a_lease(followed.study.id, host="elsewhere", heartbeat=1.0))
    found = study_look(storage, "first", "")
    [event] = found.events
    assert (event.name, found.final) == ("stale", False) and "no sign of life" in event.data["no_sign_of_life"]


def test_an_unknown_study_is_a_problem_and_a_stream_that_is_left_ends(quick: TestClient, followed: Filled) -> None:
    del followed
    assert quick.get("/v1/studies/nobody/events").status_code == 404
    assert quick.get("/v1/studies/first/events?since=1").status_code == 422
    streams = quick.app.state.service.streams  # type: ignore[attr-defined]
    streams.ending = True
    assert len(_read(quick)) == 1 and streams.open == 0
    streams.ending, streams.open = False, 200
    assert quick.get("/v1/studies/first/events").status_code == 429


def test_nothing_is_asked_of_the_database_between_two_looks(quick: TestClient, storage: Storage, followed: Filled) -> None:
    storage.update_study(followed.study.id, state=StudyState.COMPLETE)
    with counted_queries() as queries:
        _read(quick)
    assert len([query for query in queries if query.startswith("SELECT")]) <= 8

"""The queue over REST: submitted, followed, cancelled; who may, and how many."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.answers.notifier import Notifier
from storage.base import Storage
from storage.queue_records import Claim, FleetWorker, Submission, SubmissionState
from tests.service.conftest import TOKEN, MakeClient
from tests.service.routes.tokens import token_of
from tests.service.webhooks import Sent
from tests.storage.builders import stored_study
from tests.tuner.fleet import hostile_submissions as hostile
from tuner.fleet.webhook import AllowedHosts
from tuner.setup.config import StudyConfig

pytestmark = pytest.mark.slow  # each submission is planned
BEARER = {"authorization": f"Bearer {TOKEN}"}
STUDY = hostile.GOOD | {"launcher": "simulate", "accelerator": "v6e-1"}


def _bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def _claim(storage: Storage, token: str = "held", lease_s: float = 60.0) -> Submission:
    found = storage.claim_submission(Claim("worker-1", token, lease_s))
    assert found is not None
    return found


def test_a_submitted_study_waits_runs_and_ends(each_client: TestClient, each_storage: Storage) -> None:
    answer = each_client.post("/v1/studies?accelerator=TPU%20v6e-1", json=STUDY, headers=BEARER)
    assert answer.status_code == 202, answer.text
    where = answer.headers["location"]
    assert answer.json()["plan"]["trials"] == 16 and answer.json()["submission"]["state"] == "QUEUED"
    found = each_client.get(where).json()
    assert where == f"/v1/submissions/{found['id']}"
    assert (found["submitted_by"], found["requirements"]) == ("environment", {"accelerator": "TPU v6e-1"})
    assert StudyConfig.model_validate(found["config"]).study == "qwen3-chat", "a worker can read it"
    assert found["config"].keys() == STUDY.keys() | {"time_budget"}, "what is left open is for the worker to decide"
    _claim(each_storage)
    assert each_client.get("/v1/submissions?state=RUNNING").json()["items"][0]["claimed_by"] == "worker-1"
    each_storage.release_submission(found["id"], "held", SubmissionState.COMPLETE)
    ended = each_client.get(where).json()
    assert ended["state"] == "COMPLETE" and ended["finished_at_rfc3339"].endswith("Z")
    assert [change["what"] for change in ended["changes"]] == ["QUEUED", "RUNNING", "COMPLETE"]


def test_several_workers_on_one_study_are_asked_for_and_shown(client: TestClient, storage: Storage) -> None:
    assert client.post("/v1/studies?workers=0", json=STUDY, headers=BEARER).status_code == 422
    where = client.post("/v1/studies?workers=3", json=STUDY, headers=BEARER).headers["location"]
    _claim(storage)
    study = stored_study(storage, name="qwen3-chat").id
    page_16 = '{"block_size":16,"factors":{"dtype":"float16"},"first_round":8}'
    for worker, key in (("worker-1", page_16), ("worker-2", "concluding"), ("worker-3", "asking")):
        storage.claim_group(study, key, worker=worker, token=worker, lease_s=60.0)
    found = client.get(where).json()
    assert found["workers"] == 3
    parts = {part["worker"]: part["what"] for part in found["parts"]}
    assert parts == {"worker-1": "measures page size 16, dtype float16, rounds from 9 on", "worker-2": "ends the study"}
    page = client.get(where.replace("/v1/submissions/", "/queue/")).text
    assert "up to 3 workers at once" in page
    assert "measures page size 16, dtype float16, rounds from 9 on" in page


def test_a_model_that_is_split_waits_for_as_many_chips(client: TestClient) -> None:
    split = hostile.GOOD | {"factors": {"tensor_parallel_size": [1, 4]}, "platform": "tpu", "model": "nobody/has-this"}
    answer = client.post("/v1/studies", json=split, headers=BEARER).json()
    assert answer["submission"]["requirements"] == {"accelerator": "tpu", "chips": 4} and answer["plan"] is None


def test_the_same_again_is_the_same_and_another_one_is_a_conflict(client: TestClient) -> None:
    first, again = (client.post("/v1/studies", json=STUDY, headers=BEARER) for _ in range(2))
    assert first.headers["location"] == again.headers["location"]
    other = client.post("/v1/studies", json=STUDY | {"rounds": 4}, headers=BEARER)
    assert (other.status_code, other.json()["detail"]) == (409, "a study 'qwen3-chat' is in the queue; choose another name")
    assert len(client.get("/v1/submissions?study=qwen3-chat").json()["items"]) == 1


def test_whose_it_is_and_how_many(make_client: MakeClient, storage: Storage) -> None:
    ci, other, reader = (token_of(storage, [scope], name) for name, scope in (("ci", "submit"), ("other", "submit"), ("reader", "read")))
    client = make_client(storage, most_submissions=2)
    assert client.post("/v1/studies", json=STUDY, headers=_bearer(reader)).status_code == 403
    urgent = client.post("/v1/studies?priority=5", json=STUDY, headers=_bearer(ci))
    assert urgent.status_code == 403 and "manage" in urgent.json()["detail"]
    where = client.post("/v1/studies?priority=-5", json=STUDY, headers=_bearer(ci)).headers["location"]
    assert client.post("/v1/studies", json=STUDY | {"study": "b"}, headers=_bearer(ci)).status_code == 202
    third = client.post("/v1/studies", json=STUDY | {"study": "c"}, headers=_bearer(ci))
    assert third.status_code == 429 and "2 studies of ci" in third.json()["detail"]
    assert client.post("/v1/studies", json=STUDY | {"study": "c"}, headers=_bearer(other)).status_code == 202
    assert client.post(f"{where}/cancel", headers=_bearer(other)).status_code == 403
    for who, rank, status in ((other, -1, 403), (ci, 1, 403), (ci, -1, 200), (TOKEN, 9, 200), (TOKEN, 101, 422), (TOKEN, "9", 422)):
        assert client.post(f"{where}/priority", json={"priority": rank}, headers=_bearer(who)).status_code == status, (rank, status)
    for whole, status in ((9.0, 200), (9.5, 422), (True, 422), ("9", 422)):  # 9.0 is an integer to JSON Schema
        answer = client.post(f"{where}/priority", json={"priority": whole}, headers=BEARER)
        assert answer.status_code == status, (whole, answer.text)
    assert [change["reason"] for change in client.get(where).json()["changes"][1:]] == ["priority -5 -> -1", "priority -1 -> 9"]
    done = client.post(f"{where}/cancel", json={"reason": "wrong model"}, headers=_bearer(ci))
    assert (done.status_code, done.json()["state"]) == (200, "CANCELLED")
    assert (done.json()["changes"][-1]["by"], done.json()["changes"][-1]["reason"]) == ("ci", "wrong model")
    assert client.post(f"{where}/cancel", headers=BEARER).status_code == 409
    assert client.post("/v1/submissions/999/cancel", headers=BEARER).status_code == 404
    assert client.post("/v1/studies?priority=100", json=STUDY | {"study": "d"}, headers=BEARER).status_code == 202


def test_it_is_followed_to_its_end_and_resumed_by_number(client: TestClient, storage: Storage) -> None:
    client.app.state.service.streams.poll_s = 0.02  # type: ignore[attr-defined]
    where = client.post("/v1/studies", json=STUDY, headers=BEARER).headers["location"]

    def work() -> None:
        time.sleep(0.1)
        held = _claim(storage)
        time.sleep(0.1)
        storage.release_submission(held.id, "held", SubmissionState.FAILED, "no room")

    thread = threading.Thread(target=work)
    thread.start()
    events = _events(client, where)
    thread.join()
    assert [name for _, name, _ in events] == ["queued", "running", "failed"]
    assert events[-1][2]["reason"] == "no room"
    assert [name for _, name, _ in _events(client, where, events[1][0])] == ["failed"]
    assert client.get(f"{where}/events", headers={"last-event-id": events[-1][0]}).status_code == 204
    assert len(_events(client, where, "9" * 60)) == 3, "an id of somebody else's is none"


def _events(client: TestClient, where: str, last: str = "") -> list[tuple[str, str, dict[str, Any]]]:
    with client.stream("GET", f"{where}/events", headers={"last-event-id": last} if last else {}) as answer:
        blocks = "".join(answer.iter_text()).split("\n\n")
    lines = [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks if "event: " in block]
    return [(line.get("id", ""), line["event"], json.loads(line["data"])) for line in lines]


def test_metrics_of_the_queue_and_its_workers(client: TestClient, storage: Storage) -> None:
    for name in ("a", "b"):
        assert client.post("/v1/studies", json=STUDY | {"study": name}, headers=BEARER).status_code == 202
    held = _claim(storage, lease_s=-1.0)
    assert _claim(storage, "second").id == held.id, "its worker is dead"
    storage.put_worker(FleetWorker("worker-1", "host", "TPU v6e", 4, {}, "running", held.id))
    lines = client.get("/metrics").text.splitlines()
    for line in (
        'tuner_submissions{state="QUEUED"} 1.0',
        'tuner_submissions{state="RUNNING"} 1.0',
        'tuner_submissions_running{accelerator="TPU v6e"} 1.0',
        "tuner_submissions_taken_over 1.0",
        'tuner_workers{accelerator="TPU v6e",state="running"} 1.0',
    ):
        assert line in lines, (line, lines)
    (oldest,) = [float(line.split()[1]) for line in lines if line.startswith("tuner_submissions_oldest_waiting_seconds ")]
    assert 0 <= oldest < 60


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (lambda storage, item: storage.release_submission(item.id, "held", SubmissionState.COMPLETE), "finished"),
        (lambda storage, item: storage.release_submission(item.id, "held", SubmissionState.FAILED, "no room"), "failed"),
        (lambda storage, item: storage.beat_submission(item.id, "held", 1.0), None),
    ],
    ids=["complete", "failed", "running"],
)
def test_each_end_is_told_once_by_any_number_of_services(
    make_client: MakeClient, storage: Storage, end: Callable[[Storage, Submission], object], told: str | None
) -> None:
    client = make_client(storage, webhook_hosts=AllowedHosts.parse(["hooks.example.com"]))
    hook = "https://hooks.example.com/a?key=secret"
    answer = client.post("/v1/studies", params={"webhook": hook}, json=STUDY, headers=BEARER)
    assert answer.status_code == 202 and "secret" not in answer.text
    sent = Sent()
    services = [Notifier(storage, sent) for _ in range(3)]
    end(storage, _claim(storage))
    for service in (*services, *services):
        service.look()
    assert [(url, event["event"]) for url, event in sent.events] == ([(hook, told)] if told else [])
    later = Notifier(storage, sent)
    later.look()
    assert len(sent.events) == (1 if told else 0), "nor after a restart"


def test_a_silent_worker_is_told_once(make_client: MakeClient, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    client = make_client(storage, webhook_hosts=AllowedHosts.parse(["hooks.example.com"]))
    client.post("/v1/studies", params={"webhook": "https://hooks.example.com/"}, json=STUDY, headers=BEARER)
    _claim(storage)
    sent = Sent()
    monkeypatch.setattr("service.answers.notifier.STALE_S", 0.0)
    for _ in range(3):
        Notifier(storage, sent).look()
    assert [event["event"] for _, event in sent.events] == ["stale"]
    monkeypatch.undo()
    storage.release_submission(1, "held", SubmissionState.COMPLETE)
    Notifier(storage, sent).look()
    assert [event["event"] for _, event in sent.events] == ["stale", "finished"]


@pytest.mark.parametrize("hook", ["http://169.254.169.254/", "https://evil.example/", "file:///etc/passwd", "http://127.0.0.1:1/"])
def test_a_webhook_that_is_not_allowed_is_refused_before_anything_is_queued(client: TestClient, storage: Storage, hook: str) -> None:
    answer = client.post("/v1/studies", params={"webhook": hook}, json=STUDY, headers=BEARER)
    assert answer.status_code == 422 and "webhook" in answer.json()["detail"]
    assert sum(storage.count_submissions().values()) == 0

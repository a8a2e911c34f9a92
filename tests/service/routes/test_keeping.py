"""Studies renamed, tagged, archived and deleted over REST."""

from __future__ import annotations

import hashlib
import time

import optuna
import pytest
from fastapi.testclient import TestClient

from storage.base import NotFound, Storage
from storage.records import Actor, ApiToken, StudyState
from storage.url import optuna_storage_arguments
from tests.service.builders import Filled
from tests.service.conftest import TOKEN, MakeClient
from tests.storage.builders import a_lease, a_study
from tests.storage.raw import url_of
from tuner.search.lease import StudyLease

BEARER = {"authorization": f"Bearer {TOKEN}"}
RENAME, TAGS = {"name": "chat-v6e", "reason": "found more easily"}, {"tags": ["v6e", "nightly"]}


def _ended(storage: Storage, filled: Filled) -> None:
    storage.update_study(filled.study.id, state=StudyState.COMPLETE)


@pytest.mark.slow
def test_a_renamed_study_answers_under_its_new_name_only(each_client: TestClient, each_storage: Storage, filled: Filled) -> None:
    _ended(each_storage, filled)
    ask = "/v1/recommendations?model=tiny-qwen3&workload=chat"
    assert each_client.get(ask).json()["evidence"]["study"] == "first"
    answer = each_client.post("/v1/studies/first/rename", json=RENAME, headers={**BEARER, "x-request-id": "request-0001"})
    assert (answer.status_code, answer.json()["name"]) == (200, "chat-v6e")
    assert each_client.get("/v1/studies/first").status_code == 404
    assert each_client.get("/v1/studies/chat-v6e/trials").json()["items"][0]["id"] == filled.default.id
    assert each_client.get(ask).json()["evidence"]["study"] == "chat-v6e", "the kept answer is not given any more"
    [entry] = each_client.get("/v1/studies/chat-v6e/history").json()["items"]
    assert (entry["actor"], entry["action"], entry["detail"]) == ("environment", "rename", "first -> chat-v6e")
    assert (entry["reason"], entry["request_id"]) == ("found more easily", "request-0001")


@pytest.mark.slow
def test_tags_and_archive_come_and_go(each_client: TestClient, each_storage: Storage, filled: Filled) -> None:
    del filled
    assert each_client.post("/v1/studies/first/tags", json=TAGS, headers=BEARER).json()["tags"] == ["nightly", "v6e"]
    assert [item["name"] for item in each_client.get("/v1/studies?q=NIGHT").json()["items"]] == ["first"]
    archived = each_client.post("/v1/studies/first/archive", headers=BEARER).json()
    assert archived["archived_at"] == pytest.approx(time.time(), abs=60)
    assert archived["archived_at_rfc3339"].endswith("Z")
    assert [item["name"] for item in each_client.get("/v1/studies").json()["items"]] == ["second"]
    assert [item["name"] for item in each_client.get("/v1/studies?archived=true").json()["items"]] == ["first"]
    assert each_client.get("/v1/studies/first").json()["tags"] == ["nightly", "v6e"]
    assert each_client.get("/v1/recommendations?model=tiny-qwen3&workload=chat").json()["status"] == "recommended", "it still answers"
    assert each_client.post("/v1/studies/first/restore", headers=BEARER).json()["archived_at"] is None
    assert len(each_client.get("/v1/studies").json()["items"]) == 2
    assert [entry.action for entry in each_storage.list_audit(kind="study")] == ["restore", "archive", "tag"]


@pytest.mark.slow
def test_a_deleted_study_is_gone_with_its_answers_and_leaves_a_trail(
    each_client: TestClient, each_storage: Storage, filled: Filled
) -> None:
    _ended(each_storage, filled)
    optunas = optuna.storages.RDBStorage(**optuna_storage_arguments(url_of(each_storage)))
    for name in ("first", "second"):
        optuna.create_study(study_name=name, storage=optunas)
    ask = "/v1/recommendations?model=tiny-qwen3&workload=chat"
    assert each_client.get(ask).json()["id"] == filled.recommended.id
    wrong = each_client.post("/v1/studies/first/delete", json={"name": "second"}, headers=BEARER)
    assert wrong.status_code == 409 and "type the study's name, first" in wrong.json()["detail"]
    assert each_client.post("/v1/studies/first/delete", json={"name": "first"}, headers=BEARER).json() == {"deleted": "first"}
    assert each_client.get("/v1/studies/first").status_code == 404
    assert each_client.get(ask).json()["id"] is None
    assert optuna.get_all_study_names(optunas) == ["second"], "a new study of this name begins empty"
    entries = each_storage.list_audit(kind="study", subject=str(filled.study.id))
    assert [(entry.action, entry.detail) for entry in entries] == [("delete", "first, 3 trials")]


@pytest.mark.slow
@pytest.mark.parametrize("what", ["rename", "delete"])
def test_a_running_study_is_neither_renamed_nor_deleted(make_client: MakeClient, each_storage: Storage, filled: Filled, what: str) -> None:
    client = make_client(each_storage)
    each_storage.swap_lease(filled.study.id, None, a_lease(filled.study.id, heartbeat=time.time()))
    for state in (StudyState.RUNNING, StudyState.INTERRUPTED):  # the second: its search opens it just now
        each_storage.update_study(filled.study.id, state=state)
        refused = client.post(f"/v1/studies/first/{what}", json={"name": "first" if what == "delete" else "other"}, headers=BEARER)
        assert refused.status_code == 409, state
        assert "is running" in refused.json()["detail"] or "by somebody else just now; try again" in refused.json()["detail"]
    assert each_storage.get_study("first").id == filled.study.id
    assert each_storage.list_audit(kind="study") == []


@pytest.mark.slow
@pytest.mark.parametrize("what", ["rename", "delete"])
def test_two_changes_at_once_do_not_tell_people_to_stop_the_service(
    each_client: TestClient, each_storage: Storage, filled: Filled, what: str
) -> None:
    """Six renames at once: three were told that a search runs, and to stop process so-and-so, which was the service."""
    each_storage.update_study(filled.study.id, state=StudyState.COMPLETE)
    other = StudyLease(each_storage, each_storage.get_study("first"))
    other.claim()
    body = {"name": "first" if what == "delete" else "other"}
    refused = each_client.post(f"/v1/studies/first/{what}", json=body, headers=BEARER)
    other.release()
    assert refused.status_code == 409 and "by somebody else just now; try again" in refused.json()["detail"]
    assert "stop" not in refused.json()["detail"] and "process" not in refused.json()["detail"]
    assert each_client.post(f"/v1/studies/first/{what}", json=body, headers=BEARER).status_code == 200


@pytest.mark.slow
def test_a_killed_study_can_be_deleted(each_client: TestClient, each_storage: Storage, filled: Filled) -> None:
    """Its state says running for ever; nobody runs it."""
    lease = a_lease(filled.study.id, heartbeat=time.time() - 3600)
    each_storage.swap_lease(filled.study.id, None, lease)
    assert each_client.post("/v1/studies/first/delete", json={"name": "first"}, headers=BEARER).status_code == 200
    with pytest.raises(NotFound):
        each_storage.get_study("first")


@pytest.mark.slow
def test_changing_studies_needs_the_scope_manage(make_client: MakeClient, each_storage: Storage, filled: Filled) -> None:
    for name, scopes in (("reader", ["read"]), ("publisher", ["read", "publish"]), ("keeper", ["manage"])):
        digest = hashlib.sha256(name.encode() * 5).hexdigest()
        each_storage.add_token(ApiToken(name, f"key-{name}", digest, scopes), by=Actor("operator"))
    _ended(each_storage, filled)
    client = make_client(each_storage, token=None, refresh_s=0.0)
    for verb, body in (("rename", RENAME), ("tags", TAGS), ("archive", {}), ("restore", {}), ("delete", {"name": "first"})):
        where = f"/v1/studies/first/{verb}"
        assert client.post(where, json=body).status_code == 401
        for name in ("reader", "publisher"):
            refused = client.post(where, json=body, headers={"authorization": f"Bearer {name * 5}"})
            assert (refused.status_code, refused.json()["detail"][:32]) == (403, "the token lacks the scope manage"), (verb, name)
    keeper = {"authorization": f"Bearer {'keeper' * 5}"}
    assert client.post(f"/v1/recommendations/{filled.recommended.id}/publish", headers=keeper).status_code == 403
    assert client.post("/v1/studies/first/tags", json=TAGS, headers=keeper).status_code == 200


@pytest.mark.parametrize("name", ["", ".hidden", "-x", "a b", "../up", "x" * 101, "a/b", "é", "<b>"])
def test_a_name_that_no_search_would_take_is_refused(each_client: TestClient, each_storage: Storage, filled: Filled, name: str) -> None:
    _ended(each_storage, filled)
    refused = each_client.post("/v1/studies/first/rename", json={"name": name}, headers=BEARER)
    assert refused.status_code == 422 and "1 to 100 letters" in refused.json()["detail"]
    assert each_storage.get_study("first").id == filled.study.id


@pytest.mark.parametrize("tags", ["v6e", [""], ["a b"], ["a,b"], ["x" * 41], ["a\tb"], [str(number) for number in range(21)], None])
def test_what_is_no_tag_is_refused(each_client: TestClient, each_storage: Storage, filled: Filled, tags: object) -> None:
    assert each_client.post("/v1/studies/first/tags", json={"tags": tags}, headers=BEARER).status_code == 422
    assert each_storage.get_study("first").tags == filled.study.tags


@pytest.mark.slow
def test_a_taken_name_is_refused(each_client: TestClient, each_storage: Storage, filled: Filled) -> None:
    _ended(each_storage, filled)
    assert each_client.post("/v1/studies/first/rename", json={"name": "second"}, headers=BEARER).status_code == 409
    optuna.create_study(study_name="of-somebody-else", storage=optuna.storages.RDBStorage(**optuna_storage_arguments(url_of(each_storage))))
    assert each_client.post("/v1/studies/first/rename", json={"name": "of-somebody-else"}, headers=BEARER).status_code == 409
    assert each_storage.get_study("first").id == filled.study.id
    assert each_client.post("/v1/studies/nobody/archive", headers=BEARER).status_code == 404


@pytest.mark.slow
def test_times_stand_beside_their_text(each_client: TestClient, each_storage: Storage, filled: Filled) -> None:
    each_storage.create_study(a_study(name="dated", created_at=1764000000.25))
    found = each_client.get("/v1/studies/dated").json()
    assert (found["created_at"], found["created_at_rfc3339"]) == (1764000000.25, "2025-11-24T16:00:00.250Z")
    trial = each_client.get(f"/v1/trials/{filled.default.id}").json()
    assert trial["finished_at_rfc3339"][:10] == time.strftime("%Y-%m-%d", time.gmtime(trial["finished_at"]))
    assert trial["measurements"][0]["started_at_rfc3339"] == "1970-01-01T00:16:40.000Z"
    answer = each_client.get(f"/v1/recommendations/{filled.recommended.id}").json()
    assert (answer["created_at_rfc3339"], answer["published_at_rfc3339"]) == ("1970-01-01T00:00:02.000Z", None)


@pytest.mark.parametrize("seconds", [1e18, 253402300800.0, 1e308])
def test_a_time_that_is_none_has_no_text(each_client: TestClient, each_storage: Storage, seconds: float) -> None:
    each_storage.create_study(a_study(name="dated", created_at=seconds))
    found = each_client.get("/v1/studies/dated").json()
    assert (found["created_at"], found["created_at_rfc3339"]) == (seconds, None)

"""Hosts in quarantine over REST: seen by all, put there and released by the scope `manage`, told to the operator's address."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from fastapi.testclient import TestClient

from service.answers.notifier import Notifier
from storage.base import Storage
from storage.queue_records import Quarantine
from tests.service.routes.tokens import token_of
from tests.service.webhooks import Sent
from tuner.cli.command_line import cli
from tuner.core.errors import BadInput

FOUND = Quarantine("tpu-7", "its default arm measures 6 % less", "w1", details={"ratio": 0.94})
HOOK = "https://hooks.example.com/fleet"


def _bearer(storage: Storage, *scopes: str, name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token_of(storage, scopes, name)}"}


def _hosts(client: TestClient, query: str = "") -> Sequence[str]:
    return [item["host"] for item in client.get(f"/v1/hosts{query}").json()["items"]]


def test_who_is_there_since_when_by_whom_and_why(each_client: TestClient, each_storage: Storage) -> None:
    stored = each_storage.quarantine_host(FOUND)
    assert stored is not None and each_storage.take_quarantine_notice(stored.id, "quarantined")
    (found,) = each_client.get("/v1/hosts").json()["items"]
    assert (found["host"], found["by"], found["reason"], found["since"]) == ("tpu-7", "w1", FOUND.reason, stored.since)
    assert found["since_rfc3339"].endswith("Z") and found["details"] == {"ratio": 0.94}, "whom it was told is nobody's business"
    assert found["released_at"] is None


def test_it_is_put_there_and_released_with_who_and_why(each_client: TestClient, each_storage: Storage) -> None:
    ann, bob = (_bearer(each_storage, "manage", name=name) for name in ("ann", "bob"))
    done = each_client.post("/v1/hosts/tpu-7/quarantine", json={"reason": "its fan is broken"}, headers=ann)
    assert (done.status_code, done.json()["by"], done.json()["reason"]) == (200, "ann", "its fan is broken")
    again = each_client.post("/v1/hosts/tpu-7/quarantine", headers=bob)
    assert (again.status_code, again.json()["detail"]) == (409, "host 'tpu-7' is in quarantine already")
    assert each_storage.list_quarantines(host="tpu-7")[0].by == "ann"
    over = each_client.post("/v1/hosts/tpu-7/release", json={"reason": "new fan"}, headers=bob)
    assert (over.status_code, over.json()["released_by"], over.json()["release_reason"]) == (200, "bob", "new fan")
    assert each_client.post("/v1/hosts/tpu-7/release", headers=bob).status_code == 404
    each_client.post("/v1/hosts/tpu-8/quarantine", headers=bob)
    assert _hosts(each_client) == ["tpu-8"] and _hosts(each_client, "?host=tpu-7") == []
    assert _hosts(each_client, "?released=true") == ["tpu-8", "tpu-7"], "the trail stays"
    page = each_client.get("/v1/hosts?released=true&limit=1")
    assert page.json()["page"]["next"] == "/v1/hosts?released=true&limit=1&offset=1"


@pytest.mark.parametrize("what", ["quarantine", "release"])
def test_it_takes_the_scope_manage(client: TestClient, storage: Storage, what: str) -> None:
    submit = _bearer(storage, "read", "submit", "publish", name="ci")
    assert client.post(f"/v1/hosts/tpu-7/{what}").status_code == 401
    assert client.post(f"/v1/hosts/tpu-7/{what}", headers=submit).status_code == 403
    assert storage.list_quarantines(released=True) == []


@pytest.mark.parametrize("host", ["-x", "a b", "x" * 256, "tpu;7", "."])
def test_what_is_no_host_is_refused(client: TestClient, storage: Storage, host: str) -> None:
    manage = _bearer(storage, "manage", name="ann")
    assert client.post(f"/v1/hosts/{host}/quarantine", headers=manage).status_code in (404, 422)
    assert storage.list_quarantines() == []


def test_any_number_of_services_tell_each_change_once(each_storage: Storage) -> None:
    sent = Sent()
    services = [Notifier(each_storage, sent, HOOK) for _ in range(3)]
    assert sum(service.look() for service in services) == 0
    stored = each_storage.quarantine_host(FOUND)
    assert stored is not None
    assert sum(service.look() for service in (*services, *services)) == 1
    expected = {"event": "host_quarantined", "host": "tpu-7", "by": "w1", "reason": FOUND.reason, "at": stored.since}
    assert sent.events == [(HOOK, {**expected, "quarantine": stored.id})]
    over = each_storage.release_host("tpu-7", by="ada", reason="new fan")
    assert sum(service.look() for service in (*services, Notifier(each_storage, sent, HOOK))) == 1
    told = sent.events[-1][1]
    assert (told["event"], told["by"], told["reason"], told["at"]) == ("host_released", "ada", "new fan", over.released_at)


def test_what_is_old_is_told_to_nobody_and_without_an_address_nothing_is(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    storage.quarantine_host(FOUND)
    sent = Sent()
    assert Notifier(storage, sent).look() == 0
    monkeypatch.setattr("service.answers.notifier.FORGET_S", 0.0)
    assert Notifier(storage, sent, HOOK).look() == 0 and sent.events == []


def test_the_operators_address_is_checked_before_the_service_starts() -> None:
    with pytest.raises(BadInput, match=r"^webhook: goes to a host that is not allowed here; have --allow-webhook-host name it$"):
        cli.main(["serve", "--host-webhook", HOOK, "--allow-webhook-host", "other.example.com"], standalone_mode=False)

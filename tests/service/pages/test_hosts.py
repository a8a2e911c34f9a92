"""Hosts put into quarantine and released from the page."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from storage.base import Storage
from storage.queue_records import FleetWorker, Quarantine
from tests.service.conftest import ORIGIN, TOKEN


def press(client: TestClient, button: str, host: str = "tpu-7", **fields: str) -> Any:
    return client.post("/hosts", data={"host": host, "token": TOKEN, **fields, "action": button}, headers=ORIGIN, follow_redirects=False)


def test_a_host_is_put_there_and_released_and_the_trail_says_by_whom_and_why(client: TestClient, storage: Storage) -> None:
    done = press(client, "quarantine", reason="its fan is broken")
    assert (done.status_code, done.headers["location"]) == (303, "/hosts")
    (held,) = storage.list_quarantines()
    assert (held.host, held.reason) == ("tpu-7", "its fan is broken")
    assert "its fan is broken" in client.get("/hosts").text
    assert press(client, "release", reason="new fan").status_code == 303
    assert storage.list_quarantines() == []
    shown = client.get("/hosts").text
    assert "No host is in quarantine" in shown and f"by {held.by}: new fan" in shown


def test_the_queue_leads_to_its_release_and_workers_hosts_are_offered(client: TestClient, storage: Storage) -> None:
    storage.quarantine_host(Quarantine("tpu-7", "-12.0 % beside its peers", "w1"))
    storage.put_worker(FleetWorker("worker-1", "tpu-9", "TPU v6e", 4, {}))
    assert 'href="/hosts?host=tpu-7#change"' in client.get("/queue").text
    shown = client.get("/hosts?host=tpu-7").text
    assert 'name="host" type="text" value="tpu-7"' in shown and '<option value="tpu-9">' in shown


@pytest.mark.parametrize(
    ("button", "host", "fields", "status", "said"),
    [
        ("quarantine", "tpu-7", {"token": ""}, 401, "a token with the scope manage is needed"),
        ("quarantine", "tpu-7", {"token": "guessed-" + 20 * "x"}, 401, "token"),
        ("quarantine", "../etc", {}, 422, "is no name of a host"),
        ("quarantine", "", {}, 422, "is no name of a host"),
        ("quarantine", 256 * "h", {}, 422, "is no name of a host"),
        ("quarantine", "tpu-7", {"reason": "two\nlines"}, 422, "in one line"),
        ("release", "tpu-8", {}, 404, "is not in quarantine"),
        ("delete", "tpu-7", {}, 422, "press Put into quarantine or Release"),
    ],
)
def test_what_is_refused_is_shown_beside_the_form_and_changes_nothing(
    client: TestClient, storage: Storage, button: str, host: str, fields: dict[str, str], status: int, said: str
) -> None:
    answer = press(client, button, host, **fields)
    assert answer.status_code == status and said in answer.text
    assert f'value="{host}"' in answer.text, "what was typed is still there"
    assert storage.list_quarantines(released=True) == []


def test_putting_one_there_twice_says_that_it_is_there(client: TestClient, storage: Storage) -> None:
    press(client, "quarantine")
    again = press(client, "quarantine")
    assert again.status_code == 409 and "in quarantine already" in again.text
    assert len(storage.list_quarantines(released=True)) == 1


def test_a_page_of_another_site_changes_nothing(client: TestClient, storage: Storage) -> None:
    sent = {"host": "tpu-7", "token": TOKEN, "action": "quarantine"}
    assert client.post("/hosts", data=sent, headers=ORIGIN | {"origin": "https://evil.example"}).status_code == 403
    assert storage.list_quarantines() == []


def test_names_and_reasons_are_shown_as_text(client: TestClient, storage: Storage) -> None:
    storage.quarantine_host(Quarantine("<b>tpu-7</b>", "<i>why</i>", "<u>w1</u>"))
    shown = client.get("/hosts").text
    assert "&lt;b&gt;tpu-7&lt;/b&gt;" in shown and "&lt;i&gt;why" in shown and "&lt;u&gt;w1" in shown
    assert "<b>tpu" not in shown and "<i>why" not in shown
    assert press(client, "release", "<b>tpu-7</b>").status_code == 303, "a worker's host is released whatever its name"
    assert storage.list_quarantines() == []

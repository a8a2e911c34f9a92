from __future__ import annotations

import yaml
from fastapi.testclient import TestClient

from tests.service.builders import BODY, Filled


def test_a_stored_recommendation(each_client: TestClient, filled: Filled) -> None:
    found = each_client.get(f"/v1/recommendations/{filled.recommended.id}").json()
    assert {name: found[name] for name in BODY} == BODY
    assert found["links"]["config"] == f"/v1/recommendations/{filled.recommended.id}/config"
    assert each_client.get("/v1/recommendations/4711").status_code == 404


def test_the_list(each_client: TestClient, filled: Filled) -> None:
    found = each_client.get("/v1/recommendations/stored").json()["items"]
    assert [item["id"] for item in found] == [filled.recommended.id, filled.nothing.id]
    assert "config" not in found[1]["links"]
    assert each_client.get("/v1/recommendations/stored?accelerator=TPU+v6e-1").json()["items"] == []


def test_forms_that_are_used_as_they_are(each_client: TestClient, filled: Filled) -> None:
    where = f"/v1/recommendations/{filled.recommended.id}/config"
    answer = each_client.get(where)
    assert answer.headers["content-type"] == "application/yaml"
    assert yaml.safe_load(answer.text) == {"model": "tiny-qwen3", "block-size": 32, "max-num-batched-tokens": 256}
    assert each_client.get(f"{where}?format=flags").text == "--block-size 32 --max-num-batched-tokens 256\n"
    assert each_client.get(f"{where}?format=env").text == "JAX_PLATFORMS=cpu\n"
    assert yaml.safe_load(each_client.get(f"{where}?format=kubernetes").text)["args"][0] == "tiny-qwen3"
    assert each_client.get(f"{where}?format=sh").status_code == 422


def test_nothing_recommended_has_no_config(each_client: TestClient, filled: Filled) -> None:
    answer = each_client.get(f"/v1/recommendations/{filled.nothing.id}/config")
    assert (answer.status_code, answer.json()["detail"]) == (409, "nothing is recommended: no trial completed")


def test_one_answer_to_a_question(each_client: TestClient, filled: Filled) -> None:
    where = "/v1/recommendations?model=tiny-qwen3&accelerator=cpu+x86_64&workload=chat"
    answer = each_client.get(where)
    assert (answer.json()["id"], answer.json()["status"]) == (filled.recommended.id, "recommended")
    again = each_client.get(where)  # out of memory
    assert (again.content, again.headers["etag"]) == (answer.content, answer.headers["etag"])
    assert each_client.get(where, headers={"if-none-match": answer.headers["etag"]}).status_code == 304
    assert 'tuner_cache_total{result="hit"} 2.0' in each_client.get("/metrics").text


def test_nothing_measured_is_an_answer(each_client: TestClient, filled: Filled) -> None:
    found = each_client.get("/v1/recommendations?model=unheard/of").json()
    assert (found["status"], found["id"], found["config"]) == ("default", None, {"model": "unheard/of"})
    assert found["match"]["kind"] == "none"
    assert found["reason"]


def test_a_misspelt_parameter_is_named(each_client: TestClient) -> None:
    answer = each_client.get("/v1/recommendations?model=a&acelerator=b")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["where"] == "query.acelerator"


def test_slos_versions_and_age_are_looked_at(each_client: TestClient, filled: Filled) -> None:
    ask = "/v1/recommendations?model=tiny-qwen3&workload=chat"
    assert each_client.get(f"{ask}&slo=ttft_p99_ms<=1").json()["status"] == "none"
    assert each_client.get(f"{ask}&slo=ttft_p99_ms<=1&slo=nonsense<=2").status_code == 422
    stale = each_client.get(f"{ask}&version=jax=9.9.9&max_age_days=30").json()["stale"]
    assert stale["stale"] is True
    assert [reason.split()[0] for reason in stale["reasons"]] == ["jax", "measured"]

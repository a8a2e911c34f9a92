"""accept=predicted over HTTP: asked for it is given, with its error; not asked for, nothing changes."""

from __future__ import annotations

import pytest
import yaml
from fastapi.testclient import TestClient

from storage.base import Storage
from tests.service.builders import Filled
from tests.tuner.search.foreseen import kept_predictions

ASKED = "/v1/recommendations?model=other/model&accelerator=TPU+v6e-1&workload=chat"
CONFIG = ASKED.replace("?", "/config?")


@pytest.fixture(autouse=True)
def foreseen(each_storage: Storage) -> None:
    each_storage.put_foresight(kept_predictions(100.0, 300.0, 200.0))


@pytest.mark.slow
def test_it_is_given_to_who_accepts_it(each_client: TestClient) -> None:
    found = each_client.get(f"{ASKED}&accept=predicted").json()
    assert (found["status"], found["id"], found["match"]["kind"]) == ("predicted", None, "none")
    assert found["settings"]["block_size"] == 32
    assert (found["prediction"]["low"], found["prediction"]["high"], found["prediction"]["held_out"]) == (0.9, 1.2, "its file says so")
    assert "self" not in found["links"]
    form = each_client.get(found["links"]["config"])
    assert form.status_code == 200 and form.headers["x-tuner-status"] == "predicted"
    assert yaml.safe_load(form.text) == {"model": "other/model", "block-size": 32}


@pytest.mark.parametrize("accept", ["", "&accept=exact", "&accept=nearest", "&accept=default"])
def test_nobody_else_sees_it(each_client: TestClient, accept: str) -> None:
    """The very bytes that came before anything was simulated."""
    if accept:
        form = each_client.get(f"{CONFIG}{accept}")
        assert form.status_code == (200 if accept.endswith("default") else 409)
        assert "block-size" not in form.text
        return
    found = each_client.get(ASKED).json()
    assert found["status"] == "default" and found["vllm_args"] == [] and "prediction" not in found
    assert found["links"]["config"].endswith("accept=default")


@pytest.mark.parametrize("value", ["nonsense", "recommended", "Predicted", "", "predicted,default", "exact"])
def test_a_bad_value_is_a_problem_document(each_client: TestClient, value: str) -> None:
    answer = each_client.get(f"{ASKED}&accept={value}")
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert "accept" in answer.text and "predicted" in answer.text


def test_a_bad_value_for_the_settings_is_a_problem_document(each_client: TestClient) -> None:
    answer = each_client.get(f"{CONFIG}&accept=measured")
    assert answer.status_code == 422 and "accept" in answer.text


def test_what_was_measured_is_given_all_the_same(each_client: TestClient, filled: Filled) -> None:
    where = "/v1/recommendations?model=tiny-qwen3&accelerator=cpu+x86_64&workload=chat"
    found = each_client.get(f"{where}&accept=predicted").json()
    assert found == each_client.get(where).json()
    assert (found["id"], found["status"]) == (filled.recommended.id, "recommended")


def test_a_chip_without_step_times_has_no_prediction_and_the_reason(each_client: TestClient) -> None:
    found = each_client.get(f"{ASKED.replace('v6e', 'v5p')}&accept=predicted").json()
    assert found["status"] == "default"
    assert found["prediction"]["reason"].startswith("step times of a TPU v5p are not known, only of TPU v6e")
    refused = each_client.get(f"{CONFIG.replace('v6e', 'v5p')}&accept=predicted")
    assert refused.status_code == 409 and "no prediction: step times of a TPU v5p are not known" in refused.json()["detail"]


def test_a_prediction_can_be_neither_found_in_lists_nor_published(each_client: TestClient, each_storage: Storage) -> None:
    each_client.get(f"{ASKED}&accept=predicted")
    assert each_client.get("/v1/recommendations/stored").json()["items"] == []
    assert each_storage.list_recommendations(include_withdrawn=True) == []
    assert each_storage.list_studies() == []


def test_what_is_simulated_later_is_answered(each_client: TestClient, each_storage: Storage) -> None:
    assert each_client.get(f"{ASKED}&accept=predicted").json()["settings"]["block_size"] == 32
    each_storage.put_foresight(kept_predictions(700.0, 300.0, family="later"))
    each_client.app.state.service.version.forget()  # type: ignore[attr-defined]
    assert each_client.get(f"{ASKED}&accept=predicted").json()["settings"]["block_size"] == 16

"""The OpenAPI document: every answer has an example, and every example is an answer that the API could give."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

REQUIRED = {"model", "baseline", "candidate", "capacity_id", "host", "name", "recommendation_id", "submission_id", "trial_id"}


def _operations(client: TestClient) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in client.get("/openapi.json").json()["paths"].items():
        for method, operation in methods.items():
            yield f"{method} {path}", operation


@pytest.mark.slow
def test_every_answer_has_an_example(client: TestClient) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    seen = 0
    for where, operation in _operations(client):
        for media in operation["responses"]["200"]["content"].values():
            name = media["schema"].get("$ref", "").rpartition("/")[2]
            assert "example" in media or schemas[name].get("examples"), where
            seen += 1
    assert seen >= 16


@pytest.mark.slow
def test_examples_are_answers(client: TestClient) -> None:
    routes = [route for route in client.app.routes if isinstance(route, APIRoute)]  # type: ignore[attr-defined]
    checked = 0
    for route in routes:
        model = route.response_model
        if model is not None and route.include_in_schema:
            [example] = model.model_config["json_schema_extra"]["examples"]
            read = model.model_validate(example)
            assert set(example) >= set(model.model_fields), route.path
            assert read.model_dump(mode="json", exclude_unset=True) == example, route.path
            checked += 1
    assert checked >= 12


@pytest.mark.slow
def test_what_has_to_be_given_has_an_example(client: TestClient) -> None:
    parameters = [item for _, operation in _operations(client) for item in operation.get("parameters", []) if item["required"]]
    assert {item["name"] for item in parameters} == REQUIRED
    assert all(item["schema"].get("examples") or item.get("examples") or item.get("example") for item in parameters)


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/v1/recommendations", "/v1/studies/qwen3-chat", "/v1/recommendations/7/publish"])
def test_the_reference_shows_them(client: TestClient, path: str) -> None:
    page = client.get("/docs").text
    assert path.replace("qwen3-chat", "{name}").replace("/7/", "/{recommendation_id}/") in page
    assert "qwen3-chat" in page and "total_token_throughput" in page

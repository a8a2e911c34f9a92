"""A recommendation's page says whether it still holds, as the API's answer does."""

from __future__ import annotations

import time

import pytest
from fastapi.testclient import TestClient

from service.pages.standing import stale_because
from service.web.settings import ServiceSettings
from storage.base import Storage
from storage.records import Recommendation
from tests.service.builders import BODY, Filled, fill
from tests.service.conftest import MakeClient
from tests.storage.builders import a_recommendation, stored_study

DAY_S = 86400.0
SETTINGS = ServiceSettings(max_age_days=30.0)


@pytest.fixture
def filled(storage: Storage) -> Filled:
    return fill(storage)


def stored(storage: Storage, filled: Filled, *, days_ago: float = 0.0, **body: object) -> Recommendation:
    made = time.time() - days_ago * DAY_S
    return storage.add_recommendation(a_recommendation(filled.study.id, body={**BODY, **body}, created_at=made))


def test_a_fresh_one_holds_and_an_old_one_says_its_age(storage: Storage, filled: Filled) -> None:
    assert stale_because(storage, SETTINGS, stored(storage, filled, scope={})) == []
    (reason,) = stale_because(storage, SETTINGS, stored(storage, filled, days_ago=45, scope={}))
    assert reason == "measured 45 days ago, at most 30 are trusted"


def test_newer_evidence_of_another_study_is_named(storage: Storage, filled: Filled) -> None:
    settings = {"arm": "default", "block_size": 32, "max_num_batched_tokens": 256}
    old = stored(storage, filled, days_ago=2, scope={}, settings=settings)
    other = stored_study(storage, name="newer")
    turned = {**BODY, "scope": {}, "settings": {**settings, "arm": "page_aligned"}, "evidence": {"study": "newer"}}
    storage.add_recommendation(a_recommendation(other.id, body=turned, created_at=time.time()))
    reasons = stale_because(storage, SETTINGS, old)
    assert len(reasons) == 1 and "study newer" in reasons[0]


@pytest.mark.slow
def test_the_page_and_the_api_agree(storage: Storage, filled: Filled, make_client: MakeClient) -> None:
    found = stored(storage, filled, days_ago=45)
    client: TestClient = make_client(storage, max_age_days=30.0)
    assert "Stale: measure again" in client.get(f"/recommendations/{found.id}").text
    question = {"model": found.model, "accelerator": found.accelerator, "objective": found.objective}
    assert client.get("/v1/recommendations", params=question).json()["stale"]["stale"] is True
    fresh = stored(storage, filled)
    assert "Stale: measure again" not in client.get(f"/recommendations/{fresh.id}").text

"""Studies submitted over REST: what may be asked for, and what it would do."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.answers import submitting
from storage.base import Storage
from storage.queue_records import Claim, Submission, SubmissionState
from storage.records import Study, StudyState
from tests.service.conftest import TOKEN, MakeClient
from tests.service.routes.tokens import token_of
from tests.storage.builders import a_study
from tests.tuner.fleet import hostile_submissions as hostile
from tuner.fleet.allowed import Allowed
from tuner.search.opening import resolved_of
from tuner.search.plan import plan_search
from tuner.setup.config_file import load_config
from tuner.setup.stored_study import stored_config
from tuner.setup.study_setup import prepare_study

BEARER = {"authorization": f"Bearer {TOKEN}"}
GOOD = hostile.GOOD
SIMULATED = GOOD | {"launcher": "simulate", "accelerator": "v6e-1"}
PLAN = "/v1/studies?dry_run=true"


@pytest.mark.slow
@pytest.mark.slow
def test_a_dry_run_is_the_plan_of_the_command_line(client: TestClient, storage: Storage) -> None:
    answer = client.post(PLAN, json=SIMULATED, headers=BEARER)
    assert answer.status_code == 200, answer.text
    config = load_config(None, SIMULATED | {"time_budget": "72h"})
    assert answer.json()["plan"] == plan_search(prepare_study(config), storage).to_json()
    assert answer.json()["study"] == "qwen3-chat" and answer.json()["reason"] is None
    assert storage.count_studies() == 0


@pytest.mark.parametrize("more", ["webhook=file:///etc/passwd", "webhook=http://127.0.0.1/", "webhook=https://example.com/", "webhook=x"])
def test_a_dry_run_refuses_what_the_queue_would_refuse(client: TestClient, storage: Storage, more: str) -> None:
    """A webhook to anywhere got a plan, and was refused when it was sent in earnest."""
    dry, real = (client.post(f"{address}{more}", json=SIMULATED, headers=BEARER) for address in (f"{PLAN}&", "/v1/studies?"))
    assert 400 <= dry.status_code < 500 and (dry.status_code, dry.json()) == (real.status_code, real.json())
    assert sum(storage.count_submissions().values()) == 0


@pytest.mark.slow
def test_what_cannot_run_on_the_accelerator_is_said_in_the_plan(client: TestClient) -> None:
    body = GOOD | {"page_sizes": [8, 256], "chunk_budgets": [2048, 4096], "max_model_len": 4096, "max_num_seqs": 2048, "factors": {}}
    answer = client.post(f"{PLAN}&accelerator=TPU%20v6e-1", json=body, headers=BEARER).json()
    assert any("skipped" in line for line in answer["warnings"]), answer


@pytest.mark.slow
def test_a_model_that_is_not_here_is_left_to_the_worker(client: TestClient) -> None:
    answer = client.post(PLAN, json=GOOD | {"model": "nobody/has-this"}, headers=BEARER).json()
    assert answer["plan"] is None and "nobody/has-this" in answer["reason"]


def test_a_study_file_may_be_sent_as_it_stands(client: TestClient) -> None:
    text = "study: a\nmodel: tiny-qwen3\npage_sizes: [16]\nchunk_budgets: [128]\nworkload: demo\nrounds: 3-4\n"
    answer = client.post(PLAN, content=text, headers=BEARER | {"content-type": "application/yaml"})
    assert answer.json()["plan"]["rounds"] == {"min": 3, "max": 4}
    assert client.post(PLAN, content=text, headers=BEARER | {"content-type": "text/plain"}).status_code == 415


def test_the_problem_names_the_field_and_the_fix(client: TestClient) -> None:
    answer = client.post(PLAN, json=GOOD | {"engine_args": {"worker-cls": "evil.Worker"}}, headers=BEARER)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    [error] = answer.json()["errors"]
    assert error["pointer"] == "/engine_args/worker-cls" and "--allow-engine-args" in error["fix"]
    assert "evil" not in answer.text, "what was sent is not repeated"


def test_a_name_that_is_taken_is_a_conflict(client: TestClient, storage: Storage) -> None:
    storage.create_study(a_study(name="qwen3-chat"))
    answer = client.post(PLAN, json=SIMULATED, headers=BEARER)
    assert (answer.status_code, answer.json()["detail"]) == (
        409,
        "study 'qwen3-chat' exists; choose another name, or go on with it: resume=true",
    )


@pytest.mark.slow
@pytest.mark.slow
def test_it_takes_a_token_that_may_submit(make_client: MakeClient, storage: Storage) -> None:
    tokens = [token_of(storage, scopes) for scopes in (["read", "publish", "manage"], ["submit"])]
    client = make_client(storage)
    assert client.post(PLAN, json=GOOD).status_code == 401
    answers = [client.post(PLAN, json=SIMULATED, headers={"authorization": f"Bearer {token}"}).status_code for token in tokens]
    assert answers == [403, 200]


@pytest.mark.slow
def test_hostile_submissions_are_refused_and_leave_nothing(make_client: MakeClient, storage: Storage) -> None:
    client = make_client(storage, rate_limit="", write_rate_limit="")
    sent: list[tuple[str, bytes, str]] = [(name, body, "application/json") for name, body in hostile.ALL.items()]
    sent += [(name, text.encode(), "application/yaml") for name, text in hostile.IN_YAML.items()]
    for name, body, media in sent:
        for target in ("/v1/studies", PLAN):
            answer = client.post(target, content=body, headers=BEARER | {"content-type": media})
            assert 400 <= answer.status_code < 500, (name, answer.status_code, answer.text)
            assert answer.headers["content-type"] == "application/problem+json", name
            assert "Traceback" not in answer.text and "\\n" not in answer.json()["detail"], name
    assert storage.count_studies() == 0


@pytest.mark.slow
@pytest.mark.slow
def test_the_operator_widens_it(make_client: MakeClient, storage: Storage) -> None:
    body: dict[str, Any] = SIMULATED | {"engine_args": {"max_logprobs": 5}}
    assert make_client(storage).post(PLAN, json=body, headers=BEARER).status_code == 422
    wider = make_client(storage, allowed=Allowed(engine_args=frozenset({"max_logprobs"})))
    assert wider.post(PLAN, json=body, headers=BEARER).status_code == 200


@pytest.mark.slow
def test_who_asks_while_others_plan_waits_and_is_told(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submitting, "_PATIENCE_S", 0.01)
    with submitting._PLANNING, submitting._PLANNING:
        answer = client.post(PLAN, json=SIMULATED, headers=BEARER)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")
    assert client.post(PLAN, json=SIMULATED, headers=BEARER).status_code == 200, "and nobody is locked out by it"
    assert client.post(PLAN, json=SIMULATED | {"accelerator": "no-chip"}, headers=BEARER).status_code == 422
    assert client.post(PLAN, json=SIMULATED, headers=BEARER).status_code == 200


class _Begun:
    """A study that a token submitted and a worker has ended, ready to go on with."""

    def __init__(self, storage: Storage, body: dict[str, Any], by: str) -> None:
        setup = prepare_study(load_config(None, body))
        storage.put_workload(setup.workload)
        settings = stored_config(setup.config.to_json(), resolved_of(setup))
        storage.create_study(Study(body["study"], body["model"], settings, setup.config.objective, state=StudyState.COMPLETE))
        storage.submit(Submission(body["study"], body, by))
        claimed = storage.claim_submission(Claim("w", "t", 60.0))
        assert claimed is not None
        storage.release_submission(claimed.id, "t", SubmissionState.COMPLETE)


@pytest.mark.slow
def test_a_study_is_gone_on_with_by_so_many_configurations(make_client: MakeClient, storage: Storage) -> None:
    token, other = token_of(storage, ("submit",), "mine"), token_of(storage, ("submit",), "other")
    client = make_client(storage)
    body = GOOD | {"launcher": "simulate", "accelerator": "v6e-1", "time_budget": "72h"}
    _Begun(storage, body, "mine")
    mine, theirs = ({"authorization": f"Bearer {text}"} for text in (token, other))
    more = "/v1/studies?resume=true"
    assert client.post(more, json=body | {"trials": 3, "study": "nobody"}, headers=mine).status_code == 422
    changed = client.post(more, json=body | {"trials": 3, "chunk_budgets": [128]}, headers=mine)
    assert changed.status_code == 422 and "chunk_budgets" in changed.text
    refused = client.post(more, json=body | {"trials": 3}, headers=theirs)
    assert refused.status_code == 403 and "manage" in refused.text
    planned = client.post(f"{more}&dry_run=true", json=body | {"trials": 3}, headers=mine)
    assert (planned.status_code, planned.json()["plan"]["trials"]) == (200, 3)
    assert storage.count_submissions()[SubmissionState.QUEUED] == 0
    taken = client.post(more, json=body | {"trials": 3}, headers=mine)
    assert taken.status_code == 202, taken.text
    queued = storage.get_submission(taken.json()["submission"]["id"])
    assert (queued.state, queued.config["trials"]) == (SubmissionState.QUEUED, 3)
    assert client.post(more, json=body | {"trials": 3}, headers=mine).json()["submission"]["id"] == queued.id, "sent twice, queued once"
    assert client.post(more, json=body | {"trials": 4}, headers=BEARER).status_code == 409

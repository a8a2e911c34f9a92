"""Schemathesis over the whole API: whatever a client sends, no server error, and every answer is as the OpenAPI document says.

Cases are drawn from the document, valid and invalid ones, from a fixed seed. One application per dialect. That nothing
is answered without a token where one is needed is tested in routes/test_publication.py: Schemathesis would ask over the network.
With a token, a case whose only fault was its Authorization is a good one: that bad data are refused is checked without.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import ignored_auth, negative_data_rejection, positive_data_acceptance
from starlette.testclient import TestClient

from storage.base import Storage
from tests.service.builders import fill
from tests.service.conftest import TOKEN, MakeClient

pytestmark = pytest.mark.slow

CASES = 18  # for each operation, kind of case and dialect
LEAST = 1000  # for each dialect

# What a study may ask for is more than a schema can say: models that there are, sizes that go together.
MORE_THAN_A_SCHEMA = {"POST /v1/studies": [positive_data_acceptance]}
REFUSALS = ["400", "401", "403", "404", "405", "409", "413", "414", "415", "422", "431"]  # 413, 414, 431: wrong, and too long besides

type Operation = APIOperation[Any, Any, Any, Any]

_settings = settings(
    max_examples=CASES,
    derandomize=True,
    deadline=None,
    database=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def api(make_client: MakeClient, each_storage: Storage) -> tuple[TestClient, dict[str, str]]:
    """On SQLite a service on loopback, asked without a token; on PostgreSQL one on all addresses, asked with it. The cases are the same,
    and of the four pairs these two have each database and each kind of access."""
    fill(each_storage)
    unlimited = {"rate_limit": "", "write_rate_limit": "", "failed_auth_rate_limit": ""}
    if each_storage.check()["dialect"] == "sqlite":
        return make_client(each_storage, **unlimited), {}
    return make_client(each_storage, host="0.0.0.0", **unlimited), {"Authorization": f"Bearer {TOKEN}"}


def _operations(client: TestClient) -> Iterator[Operation]:
    config = schemathesis.Config.from_dict({"checks": {"negative_data_rejection": {"expected-statuses": REFUSALS}}})
    schema = schemathesis.openapi.from_dict(client.app.openapi(), config=config)  # type: ignore[attr-defined]
    schema.config.update(base_url="http://127.0.0.1:8000")
    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        yield result.ok()


def test_no_answer_contradicts_the_document(api: tuple[TestClient, dict[str, str]]) -> None:
    client, headers = api
    client.app.state.service.streams.ending = True  # type: ignore[attr-defined]  # streams of what never ends: the first look is enough
    sent: Counter[int] = Counter()
    for operation in _operations(client):
        for mode in GenerationMode:
            _ask(client, headers, operation, mode, sent)
    assert sum(sent.values()) >= LEAST, sent
    assert {200, 404, 422} <= set(sent), sent
    assert max(sent) < 500, sent


def _ask(client: TestClient, headers: dict[str, str], operation: Operation, mode: GenerationMode, sent: Counter[int]) -> None:
    @_settings
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        request = case.as_transport_kwargs(headers=headers)
        answer = client.request(**request)
        sent[answer.status_code] += 1
        case.validate_response(
            answer,
            headers=headers,
            transport_kwargs=request,
            excluded_checks=[ignored_auth, *MORE_THAN_A_SCHEMA.get(operation.label, []), *([negative_data_rejection] if headers else [])],
        )

    try:
        check()
    except Unsatisfiable:
        assert mode is GenerationMode.NEGATIVE, operation.label  # an operation without parameters has no wrong ones

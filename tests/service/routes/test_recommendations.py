from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import httpx
import pytest
import yaml
from fastapi.testclient import TestClient
from sqlalchemy import text

from service.answers.cache import AnswerCache, Kept
from service.answers.state import ServiceState
from service.app import create_app
from service.web.settings import ServiceSettings
from storage.base import Storage
from storage.records import Actor
from tests.service.builders import BODY, Filled
from tests.storage.builders import a_recommendation, a_study, a_workload, stored_study
from tests.storage.raw import raw_connection, url_of

DIGITS = "write the limit with the digits 0 to 9 alone, at most nine and six more after a point, for instance ttft_p99_ms<=500"


def test_a_stored_recommendation(each_client: TestClient, filled: Filled) -> None:
    found = each_client.get(f"/v1/recommendations/{filled.recommended.id}").json()
    assert {name: found[name] for name in BODY} == BODY
    assert found["links"]["config"] == f"/v1/recommendations/{filled.recommended.id}/config"
    assert each_client.get("/v1/recommendations/4711").status_code == 404


@pytest.mark.slow
def test_the_list(each_client: TestClient, filled: Filled) -> None:
    found = each_client.get("/v1/recommendations/stored").json()["items"]
    assert [item["id"] for item in found] == [filled.recommended.id, filled.nothing.id]
    assert "config" not in found[1]["links"]
    assert each_client.get("/v1/recommendations/stored?accelerator=TPU+v6e-1").json()["items"] == []


@pytest.mark.slow
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


@pytest.mark.slow
def test_one_answer_to_a_question(each_client: TestClient, filled: Filled) -> None:
    where = "/v1/recommendations?model=tiny-qwen3&accelerator=cpu+x86_64&workload=chat"
    answer = each_client.get(where)
    assert (answer.json()["id"], answer.json()["status"]) == (filled.recommended.id, "recommended")
    again = each_client.get(where)  # out of memory
    assert (again.content, again.headers["etag"]) == (answer.content, answer.headers["etag"])
    assert each_client.get(where, headers={"if-none-match": answer.headers["etag"]}).status_code == 304
    metrics = each_client.get("/metrics").text
    assert 'tuner_cache_total{result="hit"} 2.0' in metrics
    assert 'tuner_recommendation_answers_total{match="exact",stale="true",status="recommended"} 3.0' in metrics


def test_nothing_measured_is_an_answer(each_client: TestClient, filled: Filled) -> None:
    found = each_client.get("/v1/recommendations?model=unheard/of").json()
    assert (found["status"], found["id"], found["config"]) == ("default", None, {"model": "unheard/of"})
    assert found["match"]["kind"] == "none"
    assert found["reason"]


def test_a_misspelt_parameter_is_named(each_client: TestClient) -> None:
    answer = each_client.get("/v1/recommendations?model=a&acelerator=b")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["where"] == "query.acelerator"


@pytest.mark.slow
def test_slos_versions_and_age_are_looked_at(each_client: TestClient, filled: Filled) -> None:
    ask = "/v1/recommendations?model=tiny-qwen3&workload=chat"
    assert each_client.get(f"{ask}&slo=ttft_p99_ms<=1").json()["status"] == "none"
    assert each_client.get(f"{ask}&slo=ttft_p99_ms<=1&slo=nonsense<=2").status_code == 422
    stale = each_client.get(f"{ask}&version=jax=9.9.9&max_age_days=30").json()["stale"]
    assert stale["stale"] is True
    assert [reason.split()[0] for reason in stale["reasons"]] == ["jax", "measured"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("slo=ttft_p99_ms", "query.slo.0: SLO 'ttft_p99_ms' cannot be read; write METRIC<=NUMBER, for instance ttft_p99_ms<=500"),
        ("slo=ttft_p99_ms+<=+5", "query.slo.0: write it without spaces, for instance ttft_p99_ms<=500"),
        (
            "slo=ttft_p99_ms\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}=100",
            "query.slo.0: SLO 'ttft_p99_ms\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}=100' cannot be read",
        ),
        ("slo=ttft_p99_ms<=\N{FULLWIDTH DIGIT ONE}00", f"query.slo.0: {DIGITS}"),
        ("slo=ttft_p99_ms<=1_000", f"query.slo.0: {DIGITS}"),
        ("slo=throughput>=1e308", f"query.slo.0: {DIGITS}"),
        ("slo=throughput>=1234567890123", f"query.slo.0: {DIGITS}"),
        ("objective=speed", "query.objective: metric 'speed' is unknown"),
        ("version=vllm", "query.version.0: write package=version, for instance vllm=0.32.0"),
    ],
)
def test_what_cannot_be_read_is_said_with_an_example(each_client: TestClient, asked: str, said: str) -> None:
    answer = each_client.get(f"/v1/recommendations?model=a&{asked}")
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(said)


@pytest.mark.parametrize("where", ["/v1/studies/first", "/v1/studies/first/comparison", "/v1/recommendations/{}/config", "/v1/trials/1"])
def test_no_address_ignores_a_parameter(each_client: TestClient, filled: Filled, where: str) -> None:
    answer = each_client.get(where.format(filled.recommended.id), params={"fromat": "flags"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["where"] == "query.fromat"


@pytest.mark.slow
def test_another_device_count_is_another_question(each_client: TestClient, filled: Filled) -> None:
    ask = "/v1/recommendations?model=tiny-qwen3&workload=chat"
    assert each_client.get(f"{ask}&device_count=1").json()["match"]["kind"] == "exact"
    assert each_client.get(f"{ask}&device_count=4").json()["match"]["kind"] == "none"


ARCHITECTURE = {"layers": 28, "hidden_size": 1024, "heads": 16, "kv_heads": 8, "head_size": 128}
WORDS = {"attention": "full", "dtype": "bfloat16", "quantization": None, "experts": 0, "experts_per_token": 0}


@pytest.mark.slow
def test_a_model_that_was_never_measured_is_described_by_its_architecture(each_client: TestClient, each_storage: Storage) -> None:
    summary = {"input_quantiles": {"p50": 300.0, "p99": 900.0}, "output_quantiles": {"p50": 150.0, "p99": 300.0}, "max_concurrency": 32}
    each_storage.put_workload(a_workload(content_hash="h", name="ours", summary={**summary, "prefix_share": 0.0}))
    study = stored_study(each_storage, model_features={**ARCHITECTURE, **WORDS})
    body = {**BODY, "vllm_args": ["--block-size", "32"]}
    stored = each_storage.add_recommendation(a_recommendation(study.id, body=body, workload_hash="h"))
    asked = {"model": "org/new", "accelerator": "cpu x86_64", "workload": "ours", **ARCHITECTURE, **WORDS, "quantization": "none"}
    found = each_client.get("/v1/recommendations", params={**asked, "layers": 36}).json()
    assert (found["id"], found["status"], found["match"]["kind"]) == (stored.id, "recommended", "nearest")
    assert list(found["match"]["parts"]) == ["layers"]
    assert found["config"]["model"] == "org/new"
    refused = each_client.get("/v1/recommendations/config", params=asked)
    assert refused.status_code == 409
    assert refused.json()["detail"].endswith("away: take it with accept=nearest")
    taken = each_client.get(found["links"]["config"])
    assert yaml.safe_load(taken.text) == {"model": "org/new", "block-size": 32, "max-num-batched-tokens": 256}
    assert taken.headers["x-tuner-match"] == "nearest"
    assert each_client.get("/v1/recommendations", params={**asked, "head_size": 64}).json()["match"]["kind"] == "none"


def test_half_an_architecture_finds_nothing_and_says_why(each_client: TestClient) -> None:
    found = each_client.get("/v1/recommendations?model=org/new&layers=28&hidden_size=1024").json()
    assert (found["status"], found["reason"]) == (
        "default",
        "vLLM's defaults: the architecture that is given lacks heads, kv_heads, head_size",
    )


QUESTION = "/v1/recommendations/config?model=tiny-qwen3&accelerator=cpu+x86_64&workload=chat"


@pytest.mark.slow
def test_a_question_is_answered_in_the_form_it_is_used_in(each_client: TestClient, filled: Filled) -> None:
    for _ in range(2):  # made, then out of memory
        answer = each_client.get(f"{QUESTION}&format=flags")
        assert answer.text == "--block-size 32 --max-num-batched-tokens 256\n"
        assert answer.headers["content-type"].startswith("text/plain")
        assert answer.links["describedby"]["url"] == f"/v1/recommendations/{filled.recommended.id}"
        marks = {name: answer.headers[f"x-tuner-{name}"] for name in ("status", "match", "stale")}
        assert marks == {"status": "recommended", "match": "exact", "stale": "true"}  # of 1970
    assert each_client.get(f"{QUESTION}&format=flags", headers={"if-none-match": answer.headers["etag"]}).status_code == 304
    assert yaml.safe_load(each_client.get(QUESTION).text)["block-size"] == 32


@pytest.mark.slow
def test_an_answer_weaker_than_accepted_is_refused(each_client: TestClient, filled: Filled) -> None:
    """So that `curl --fail` in a script falls back instead of serving with what was never measured."""
    unheard = "/v1/recommendations/config?model=unheard/of&format=kubernetes"
    refused = each_client.get(unheard)
    assert refused.status_code == 409
    assert "take them with accept=default" in refused.json()["detail"]
    assert each_client.get(f"{unheard}&accept=nearest").status_code == 409
    assert yaml.safe_load(each_client.get(f"{unheard}&accept=default").text) == {"command": ["vllm", "serve"], "args": ["unheard/of"]}
    unmet = each_client.get(f"{QUESTION}&slo=ttft_p99_ms<=1&accept=default")
    assert unmet.status_code == 409
    assert unmet.json()["detail"].startswith("nothing is recommended: ttft_p99_ms<=1 is not shown to be met")


@pytest.mark.slow
def test_the_link_to_the_settings_asks_the_same_question(each_client: TestClient, filled: Filled) -> None:
    found = each_client.get("/v1/recommendations?model=unheard%2Fof&slo=ttft_p99_ms<=5").json()
    assert found["links"] == {"config": "/v1/recommendations/config?model=unheard%2Fof&slo=ttft_p99_ms%3C%3D5&accept=default"}
    assert each_client.get(found["links"]["config"]).text == "model: unheard/of\n"


@pytest.mark.parametrize("form", ["yaml", "flags", "env", "kubernetes"])
def test_what_an_older_version_stored_is_rendered_too(each_client: TestClient, each_storage: Storage, filled: Filled, form: str) -> None:
    bare = each_storage.add_recommendation(a_recommendation(filled.study.id, body={}))
    assert each_client.get(f"/v1/recommendations/{bare.id}/config?format={form}").status_code == 200


@pytest.mark.slow
def test_what_another_process_publishes_is_answered(each_client: TestClient, each_storage: Storage, filled: Filled) -> None:
    """The storage here is not the service's own: as another process would write."""
    ask = "/v1/recommendations?model=tiny-qwen3&workload=chat"
    older = each_storage.add_recommendation(a_recommendation(filled.study.id, body=BODY, created_at=1.0))
    state = each_client.app.state.service  # type: ignore[attr-defined]
    state.version.forget()
    assert each_client.get(ask).json()["id"] == filled.recommended.id
    each_storage.mark_recommendation(older.id, published=True, by=Actor("another process"))
    state.version.forget()  # in place of half a second
    assert each_client.get(ask).json()["id"] == older.id


@pytest.mark.slow
def test_an_answer_is_renewed_behind_the_readers_back(each_client: TestClient, each_storage: Storage, filled: Filled) -> None:
    """By the same way as a request's: what was changed past the storage, so that no version tells, is in the next answer but one."""
    state: ServiceState = each_client.app.state.service  # type: ignore[attr-defined]
    seconds = [0.0]
    state.answers = AnswerCache(10, state.metrics, now=lambda: seconds[0])
    targets = ["/v1/recommendations?model=tiny-qwen3&workload=chat", "/v1/recommendations/config?model=tiny-qwen3&workload=chat"]
    before = [each_client.get(target).content for target in targets]
    with raw_connection(url_of(each_storage)) as connection:
        connection.execute(text("DELETE FROM tuner_recommendations WHERE id = :id"), {"id": filled.recommended.id})
    assert [each_client.get(target).content for target in targets] == before
    seconds[0] = 121.0
    assert [each_client.get(target).content for target in targets] == before
    done = 'tuner_cache_renewals_total{result="done"} 2.0'
    while done not in each_client.get("/metrics").text:
        time.sleep(0.01)
    answer, config = (each_client.get(target) for target in targets)
    assert (answer.json()["status"], answer.json()["id"]) == ("none", filled.nothing.id)
    assert config.status_code == 409


@pytest.mark.slow
def test_a_deleted_study_is_answered_no_more(each_client: TestClient, each_storage: Storage, filled: Filled) -> None:
    ask = "/v1/recommendations?model=tiny-qwen3&workload=chat"
    assert each_client.get(ask).json()["id"] == filled.recommended.id
    newest = each_storage.create_study(a_study(name="newest", model="another/model"))
    each_storage.add_recommendation(a_recommendation(newest.id, model="another/model"))  # so the newest id says nothing
    each_client.get(ask)
    each_storage.delete_study(filled.study.id, by=Actor("another process"))
    each_client.app.state.service.version.forget()  # type: ignore[attr-defined]  # in place of half a second
    assert each_client.get(ask).json()["id"] is None


@pytest.mark.slow
def test_clients_that_ask_the_same_at_once_cause_one_look_up(each_client: TestClient, filled: Filled) -> None:
    targets = [QUESTION, QUESTION, QUESTION, f"{QUESTION}&slo=ttft_p99_ms<=1", QUESTION]

    async def ask() -> list[bytes]:
        transport = httpx.ASGITransport(each_client.app, client=("127.0.0.1", 50000))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
            return [answer.content for answer in await asyncio.gather(*(client.get(target) for target in targets))]

    assert each_client.portal is not None
    found = each_client.portal.call(ask)  # in the application's own loop
    assert len(set(found)) == 2 and found[0] == found[1] == found[2] == found[4]
    metrics = each_client.get("/metrics").text
    assert 'tuner_cache_total{result="miss"} 2.0' in metrics
    assert 'tuner_cache_total{result="shared"} 3.0' in metrics


def test_an_application_that_ends_leaves_no_look_up_behind(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends before the storage that it reads is closed; left to itself it would end with the loop, later."""
    app = create_app(ServiceSettings(storage_url=url_of(storage)))
    ended: list[str] = []
    close = app.state.storage.close

    def closed() -> None:
        ended.append("storage closed")
        close()

    monkeypatch.setattr(app.state.storage, "close", closed)

    async def endless() -> Kept:
        try:
            return await asyncio.Event().wait()  # type: ignore[return-value]
        except asyncio.CancelledError:
            ended.append("look-up cancelled")
            raise

    async def begin() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.01):  # a client that does not wait
                await app.state.service.answers.look_up(1, "question", endless)

    with TestClient(app) as client:
        assert client.portal is not None
        client.portal.call(begin)
        assert ended == []
    assert ended == ["look-up cancelled", "storage closed"]

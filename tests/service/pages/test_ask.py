"""The first page: a question gets the API's answer, and what is wrong with it is said beside the field."""

from __future__ import annotations

import html
import re
import shlex
from urllib.parse import urlencode

import pytest
from fastapi.testclient import TestClient

from storage.base import Storage
from storage.records import Actor
from tests.service.builders import BODY, Filled
from tests.service.pages.gallery import EVIL, FINISHED, Gallery
from tests.storage.builders import a_recommendation
from tests.tuner.search.foreseen import ERROR, kept_predictions

ASK = {"model": "tiny-qwen3", "accelerator": "cpu x86_64", "workload": "chat", "objective": "output_token_throughput"}


def text_of(page: str) -> str:
    """What a reader sees, in one line."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", page.split("<main", 1)[1])))


def command_in(page: str, key: str) -> list[str]:
    """The words of a command that is there to be copied."""
    (found,) = re.findall(rf'<pre id="{key}(?:-[0-9]+)*">(.*?)</pre>', page, re.DOTALL)
    return shlex.split(html.unescape(found).replace("\\\n", " "))


@pytest.mark.slow
def test_a_question_gets_the_answer_of_the_api(each_client: TestClient, filled: Filled) -> None:
    """Whoever asks for the page and whoever asks the API are told the same."""
    asked = urlencode(ASK)
    answer = each_client.get(f"/v1/recommendations?{asked}").json()
    page = each_client.get(f"/?{asked}")
    assert page.status_code == 200 and answer["id"] == filled.recommended.id
    shown = text_of(page.text)
    assert answer["reason"] in shown and "Measured for exactly this, 1 window;" in shown
    assert all(reason in shown for reason in answer["stale"]["reasons"])
    assert command_in(page.text, "command") == ["JAX_PLATFORMS=cpu", "vllm", "serve", "tiny-qwen3", *BODY["vllm_args"]]
    links = set(re.findall(r'href="([^"]+)"', html.unescape(page.text)))
    assert {f"/recommendations/{answer['id']}", "/studies/first", f"/v1/recommendations?{asked}"} <= links
    for link in (f"/recommendations/{answer['id']}", "/studies/first"):
        assert each_client.get(link).status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize(
    ("question", "said"),
    [
        ({"model": "tiny-qwen3", "slo": "ttft_p99_ms<=0.5"}, "ttft_p99_ms<=0.5 is not shown to be met"),
        ({"model": "tiny-qwen3", "workload": "chat", "slo": "tpot_p99_ms<=3"}, "tpot_p99_ms was not measured"),
        ({"model": "org/new", "accelerator": "TPU v6e-1"}, "vLLM's defaults: model 'org/new' was not measured for this question"),
        ({"model": "tiny-qwen3", "workload": "nobody's"}, 'workload "nobody\'s" is unknown here'),
        ({"model": "tiny-qwen3", "accelerator": "TPU v6e-9223372036854775808"}, "vLLM's defaults"),
    ],
)
def test_where_nothing_is_recommended_the_page_says_why_and_what_to_do(
    each_client: TestClient, filled: Filled, question: dict[str, str], said: str
) -> None:
    del filled
    page = each_client.get("/", params=question)
    assert page.status_code == 200
    shown = text_of(page.text)
    assert said in shown and said in each_client.get("/v1/recommendations", params=question).json()["reason"]
    assert "What to do next" in shown
    words = command_in(page.text, "next")
    assert words[:4] == ["tuner", "search", "--model", question["model"]]
    for name, option in (("workload", "--workload"), ("slo", "--slo")):
        if name in question and question[name] != "nobody's":
            assert words[words.index(option) + 1] == question[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nonexistent", "nobody's", "chat2", "0" * 64])
def test_a_search_is_never_proposed_for_a_workload_that_it_refuses(each_client: TestClient, filled: Filled, name: str) -> None:
    del filled
    page = each_client.get("/", params={"model": "tiny-qwen3", "workload": name}).text
    assert "--workload" not in command_in(page, "next")
    assert '"Prompt length, median tokens"' in text_of(page).split("What to do next")[1], "the form's own fields"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("slo", "said"),
    [
        ("ttft_p99_ms<=0", "ttft_p99_ms<=0 can never be met: ttft_p99_ms is never 0 or below"),
        ("tpot_p99_ms<0", "tpot_p99_ms<0 can never be met"),
        ("preemptions<0", "preemptions<0 can never be met: preemptions is never below 0"),
        ("prefix_cache_hit_rate>=2", "prefix_cache_hit_rate>=2 can never be met"),
        ("prefix_cache_hit_rate>1", "prefix_cache_hit_rate>1 can never be met"),
    ],
)
def test_no_search_is_proposed_for_a_limit_that_nothing_can_meet(each_client: TestClient, filled: Filled, slo: str, said: str) -> None:
    del filled
    page = each_client.get("/", params={"model": "tiny-qwen3", "workload": "chat", "slo": slo})
    assert page.status_code == 200 and said in text_of(page.text) and "tuner search" not in page.text


@pytest.mark.parametrize("slo", ["preemptions<=0", "failed<=0", "itl_p50_ms<=0", "prefix_cache_hit_rate>=1", "ttft_p99_ms<=0.001"])
def test_a_hard_limit_that_can_be_met_keeps_its_search(each_client: TestClient, filled: Filled, slo: str) -> None:
    del filled
    assert slo in command_in(each_client.get("/", params={"model": "tiny-qwen3", "workload": "chat", "slo": slo}).text, "next")


def test_goodput_without_a_limit_is_not_proposed_as_a_search(each_client: TestClient) -> None:
    page = each_client.get("/", params={"model": "org/new", "objective": "goodput"}).text
    assert "latency SLO that every request has to meet" in text_of(page) and "tuner search" not in page


@pytest.mark.parametrize(
    ("query", "field", "said"),
    [
        ("accelerator=v6e-1", "model", "name the model"),
        ("model=a&model=b", "model", "given more than once"),
        ("model=x&slo=soon", "slo", "'soon' cannot be read"),
        ("model=x&slo=ttft_p99_ms<=500&slo=latency<=5", "slo", "latency"),
        ("model=x&objective=speed", "objective", "speed"),
        ("model=x&device_count=none", "device_count", "valid integer"),
        ("model=x&prefix_share=2", "prefix_share", "less than or equal to 1"),
        ("model=x&layers=-3", "layers", "greater than or equal to 1"),
        (f"model={'x' * 301}", "model", "at most 300"),
        ("model=x&accept=anything", "accept", "predicted"),
    ],
)
def test_what_is_wrong_is_said_beside_the_field(each_client: TestClient, query: str, field: str, said: str) -> None:
    page = each_client.get(f"/?{query}")
    assert page.status_code == 422 and page.headers["content-type"].startswith("text/html")
    (told,) = re.findall(rf'<p class="bad error" id="{field}-error">(.*?)</p>', page.text)
    assert said in html.unescape(told)
    assert f'aria-describedby="{field}-error"' in page.text
    if field in ("device_count", "prefix_share", "layers"):
        assert '<details id="further" open>' in page.text, "it is not folded away"


@pytest.mark.slow
def test_a_prediction_is_shown_to_who_asks_for_one_and_never_as_a_measurement(client: TestClient, storage: Storage) -> None:
    storage.put_foresight(kept_predictions(100.0, 300.0))
    asked = {"model": "other/model", "accelerator": "TPU v6e-1", "workload": "chat"}
    without = client.get("/", params=asked).text
    assert "vLLM's own defaults" in text_of(without) and "--block-size" not in without and 'value="predicted">' in without
    (offered,) = re.findall(r'<a href="([^"]+)">See whether a prediction is kept', without)
    page = client.get(html.unescape(offered)).text
    shown = text_of(page)
    assert "Predicted flags, never measured" in shown and "no measurement stands behind this" in shown
    assert command_in(page, "command") == ["vllm", "serve", "other/model", "--block-size", "32"]
    assert "300 tokens/s 250 to 333.3" in shown and "90 % interval of the step times" in shown and ERROR.sentence in shown
    answer = page.split('<section class="card answer"', 1)[1].split("</section>", 1)[0]
    assert "Windows" not in answer and "95 %" not in answer and "Measured" not in answer
    assert 'value="predicted" checked>' in page and command_in(page, "next")[:2] == ["tuner", "search"]


def test_where_there_is_no_prediction_the_reason_is_told(client: TestClient) -> None:
    page = client.get("/", params={"model": "other/model", "accelerator": "TPU v5p-8", "workload": "chat", "accept": "predicted"})
    shown = text_of(page.text)
    assert "vLLM's own defaults" in shown and "there is no prediction: step times of a TPU v5p are not known" in shown
    assert "See whether a prediction" not in shown


def test_what_was_measured_is_shown_to_who_would_take_a_prediction(each_client: TestClient, filled: Filled) -> None:
    del filled
    shown = text_of(each_client.get("/", params={**ASK, "accept": "predicted"}).text)
    assert "Measured for exactly this" in shown and "Predicted" not in shown


def test_everything_that_is_wrong_is_told_at_once(each_client: TestClient) -> None:
    page = each_client.get("/?slo=soon&layers=many&dtype=a+b&strange=1").text
    assert {"model", "slo", "layers", "dtype"} == set(re.findall(r'id="([a-z_]+)-error"', page))
    assert "there is no field strange" in page


@pytest.mark.parametrize("query", ["model=x&modle=y", "q=qwen&model=x", "model=x&number=2", "model=x&a=1&b=2"])
def test_a_field_that_there_is_not_is_told_and_not_ignored(each_client: TestClient, query: str) -> None:
    page = each_client.get(f"/?{query}")
    assert page.status_code == 422 and "there is no field" in page.text


@pytest.mark.parametrize("typed", ["ttft_p99_ms <= 12.5", " ttft_p99_ms<=12.5 ", "ttft_p99_ms<= 12.5"])
def test_spaces_in_a_limit_do_not_matter(each_client: TestClient, filled: Filled, typed: str) -> None:
    del filled
    page = each_client.get("/", params={"model": "tiny-qwen3", "slo": typed})
    assert page.status_code == 200 and "slo=ttft_p99_ms%3C%3D12.5" in page.text


def test_empty_fields_leave_the_address(each_client: TestClient) -> None:
    """What a browser sends for a form with one field filled in; the address is passed on."""
    sent = "/?model=Qwen%2FQwen3-0.6B&accelerator=&workload=+&objective=&slo=&slo=&device_count="
    assert each_client.get(sent, follow_redirects=False).headers["location"] == "/?model=Qwen%2FQwen3-0.6B"
    assert each_client.get("/?model=&slo=", follow_redirects=False).headers["location"] == "/"


@pytest.mark.slow
def test_the_form_suggests_what_is_stored(each_client: TestClient, each_storage: Storage, filled: Filled) -> None:
    each_storage.add_recommendation(a_recommendation(filled.study.id, model="Qwen/Qwen3-0.6B", accelerator="TPU v6e-4", device_count=4))
    gone = each_storage.add_recommendation(a_recommendation(filled.study.id, model="withdrawn/model"))
    each_storage.mark_recommendation(gone.id, published=False, by=Actor("anna"))
    page = each_client.get("/").text
    for choice in ("Qwen/Qwen3-0.6B", "tiny-qwen3", "TPU v6e-4", "cpu x86_64", "chat", "decode-heavy"):
        assert f'<option value="{choice}">' in page, choice
    assert "withdrawn/model" not in page
    for address in re.findall(r'<th scope="row"><a href="(/\?[^"]+)"', page):
        assert "Measured for exactly this" in text_of(each_client.get(html.unescape(address)).text), address


def test_an_empty_database_says_how_to_begin(each_client: TestClient) -> None:
    page = each_client.get("/").text
    assert command_in(page, "begin")[:2] == ["tuner", "search"]


@pytest.mark.slow
def test_hostile_words_stay_text(pages: TestClient, gallery: Gallery) -> None:
    del gallery
    for query in ({"model": EVIL}, {"model": "x", "slo": EVIL}, {EVIL: EVIL, "model": "x"}, {"model": "x", "workload": EVIL}):
        answer = pages.get("/", params=query)
        assert answer.status_code in (200, 422)
        assert "<script>window" not in answer.text and "<img src=x" not in answer.text


@pytest.mark.slow
def test_a_real_studys_answer_is_found_by_the_form(pages: TestClient, gallery: Gallery) -> None:
    found = gallery.recommendation
    page = pages.get("/", params={"model": found.model, "accelerator": found.accelerator, "slo": "ttft_p99_ms<=400"}).text
    shown = text_of(page)
    assert "Recommended flags" in shown and "after a cold start" in shown and f"The study {FINISHED}" in shown

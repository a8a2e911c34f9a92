"""The lists: what a reader sees of each study and recommendation, what filters find, and what is never drawn green."""

from __future__ import annotations

import html
import re

import pytest
from fastapi.testclient import TestClient

from storage.base import Storage
from storage.records import StudyState
from tests.service.builders import Filled
from tests.service.pages.gallery import ALL_FAILED, EMPTY, FINISHED, KILLED, LARGE, RUNNING, STOPPED, Gallery
from tests.storage.builders import ANNA, FINGERPRINT, a_recommendation, a_study, a_trial, an_environment

NAME = re.compile(r'<th scope="row"><a href="/studies/([^"]+)"')
ROW = re.compile(r"<tr>\s*<th scope=\"row\">.*?</tr>", re.DOTALL)


def names_in(page: str) -> list[str]:
    return NAME.findall(page)


def row_of(page: str, name: str) -> str:
    (found,) = [row for row in ROW.findall(page) if f'href="/studies/{name}"' in row]
    return str(found)


def _three(storage: Storage) -> None:
    """A Qwen, one tagged so, and another on a TPU."""
    storage.put_environment(an_environment(fingerprint="f" * 64, accelerator="TPU v6e-4", device_count=4))
    for name, model, machine in (
        ("night", "Qwen/Qwen3-0.6B", FINGERPRINT),
        ("gemma", "google/gemma-3", FINGERPRINT),
        ("v6e", "other/model", "f" * 64),
    ):
        study = storage.create_study(a_study(name=name, model=model, config={"slos": ["ttft_p99_ms<=500"], "workload": "chat"}))
        storage.create_trial(a_trial(study.id, environment=machine))
        storage.add_recommendation(a_recommendation(study.id, model=model, accelerator="TPU v6e-4" if name == "v6e" else "cpu x86_64"))
    storage.label_study(storage.get_study("gemma").id, tags=["like-QWEN"], by=ANNA)
    storage.update_study(storage.get_study("v6e").id, state=StudyState.FAIL)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("q=qwen", {"night", "gemma", "first"}),
        ("q=QWEN3-0", {"night"}),
        ("model=qwen3", {"night", "first"}),
        ("q=%20gem%20", {"gemma"}),
        ("q=chat", {"night", "gemma", "v6e", "first"}),
        ("accelerator=TPU+v6e-4", {"v6e"}),
        ("state=FAIL", {"v6e"}),
        ("q=qwen&accelerator=TPU+v6e-4", set()),
        ("q=%25", set()),
    ],
)
def test_filters_find_what_people_type(each_client: TestClient, each_storage: Storage, filled: Filled, query: str, found: set[str]) -> None:
    del filled
    _three(each_storage)
    page = each_client.get(f"/studies?{query}")
    assert page.status_code == 200 and set(names_in(page.text)) == found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("q=qwen", {"Qwen/Qwen3-0.6B", "google/gemma-3", "tiny-qwen3"}),
        ("q=NIGHT", {"Qwen/Qwen3-0.6B"}),
        ("accelerator=TPU+v6e-4", {"other/model"}),
        ("publication=published", {"google/gemma-3"}),
        ("publication=withdrawn", {"other/model"}),
        ("publication=open&q=Qwen3-0", {"Qwen/Qwen3-0.6B"}),
        ("q=nobody", set()),
    ],
)
def test_recommendations_are_found_as_well(
    each_client: TestClient, each_storage: Storage, filled: Filled, query: str, found: set[str]
) -> None:
    del filled
    _three(each_storage)
    made = {item.model: item.id for item in each_storage.list_recommendations()}
    each_storage.mark_recommendation(made["google/gemma-3"], published=True, by=ANNA)
    each_storage.mark_recommendation(made["other/model"], published=False, by=ANNA)
    page = each_client.get(f"/recommendations?{query}").text
    assert set(re.findall(r'<a href="/recommendations/\d+">([^<]+)<', page)) == found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("/studies?state=zzz&q=qwen", "state 'zzz' is unknown; choose RUNNING"),
        ("/studies?state=complete", "state 'complete' is unknown"),
        ("/recommendations?publication=zzz", "publication 'zzz' is unknown; choose published"),
        ("/audit?kind=zzz", "kind 'zzz' is unknown; choose study, recommendation"),
        ("/audit?kind=token", "kind 'token' is unknown"),
        ("/studies?archived=zzz", "archived 'zzz' is unknown; choose 1"),
        ("/studies/{study}?state=zzz", "state 'zzz' is unknown; choose WAITING"),
        ("/studies/{study}?arm=aligned", "arm 'aligned' is unknown; choose default"),
        ("/studies/{study}?order=PAGE", "order 'PAGE' is unknown; choose"),
    ],
)
def test_a_filter_that_there_is_not_is_told_and_not_passed_over(each_client: TestClient, filled: Filled, address: str, said: str) -> None:
    address = address.format(study=filled.study.name)
    page = each_client.get(address)
    assert page.status_code == 422 and said in html.unescape(page.text)
    assert each_client.get(f"{address.partition('=')[0]}=").status_code == 200, "an empty field of the form is no filter"


@pytest.mark.slow
def test_a_row_says_what_was_asked(each_client: TestClient, each_storage: Storage, filled: Filled) -> None:
    del filled
    _three(each_storage)
    row = html.unescape(row_of(each_client.get("/studies").text, "v6e"))
    for said in ("chat", "TPU v6e-4", "output_token_throughput", "ttft_p99_ms<=500"):
        assert said in row, said
    assert "TPU v6e-4 \N{MULTIPLICATION SIGN}" not in row, "the name says its devices"
    listed = html.unescape(each_client.get("/recommendations?q=v6e").text)
    assert "TPU v6e-4" in listed and "output_token_throughput" in listed
    assert "like-QWEN" in row_of(each_client.get("/studies").text, "gemma")


@pytest.mark.slow
def test_what_measured_nothing_is_never_green(pages: TestClient, gallery: Gallery) -> None:
    del gallery
    listed = pages.get("/studies").text
    for name, word in ((ALL_FAILED, "nothing measured"), (KILLED, "no sign of life"), (STOPPED, "interrupted"), (RUNNING, "running")):
        for page in (row_of(listed, name), pages.get(f"/studies/{name}").text):
            (css,) = re.findall(rf'<span class="state ([a-z]+)">{word}</span>', page)[:1]
            assert css != "complete", name
    assert 'class="state complete">complete<' in row_of(listed, FINISHED)
    assert 'class="state complete">complete<' in row_of(listed, LARGE)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("state", "drawn"), [(StudyState.FAIL, "fail"), (StudyState.INTERRUPTED, "interrupted"), (StudyState.COMPLETE, "waiting")]
)
def test_a_study_without_trials_is_not_green_either(each_client: TestClient, each_storage: Storage, state: StudyState, drawn: str) -> None:
    each_storage.create_study(a_study(name="none", state=state))
    for page in ("/studies", "/studies/none"):
        assert f'class="state {drawn}"' in each_client.get(page).text and 'class="state complete"' not in each_client.get(page).text


@pytest.mark.slow  # the gallery takes seconds
@pytest.mark.parametrize(
    ("name", "command"), [(STOPPED, "--resume"), (KILLED, "--resume"), (EMPTY, "--resume"), (ALL_FAILED, f"--study {ALL_FAILED}-again")]
)
def test_what_did_not_end_well_says_what_to_do_next(pages: TestClient, gallery: Gallery, name: str, command: str) -> None:
    del gallery
    for page in (row_of(pages.get("/studies").text, name), pages.get(f"/studies/{name}").text):
        assert command in "".join(re.findall(r"<pre[^>]*>(.*?)</pre>", page, re.DOTALL)), page[:200]
        assert 'data-copy="next' in page
    for fine in (FINISHED, RUNNING):
        assert "What to do next" not in row_of(pages.get("/studies").text, fine)


@pytest.mark.slow
def test_archived_studies_are_left_out_and_the_list_says_so(each_client: TestClient, each_storage: Storage, filled: Filled) -> None:
    each_storage.label_study(filled.study.id, archived=True, by=ANNA)
    page = each_client.get("/studies").text
    assert names_in(page) == ["second"] and "1 archived study is not shown" in page
    (shown,) = re.findall(r'href="(/studies\?[^"]*archived=1[^"]*)"', page)
    archived = each_client.get(html.unescape(shown)).text
    assert names_in(archived) == ["first"] and "go on answering questions until they are withdrawn" in archived
    assert "not shown" not in archived
    assert each_client.get("/studies/first").status_code == 200
    assert "1 archived study is not shown" in each_client.get("/studies?q=tiny").text, "the filter counts there too"
    assert "not shown" not in each_client.get("/studies?q=other").text


@pytest.mark.slow
def test_filters_stay_from_page_to_page(each_client: TestClient, each_storage: Storage) -> None:
    for number in range(30):
        each_storage.create_study(a_study(name=f"q-{number}", model="Qwen/A & B", state=StudyState.COMPLETE))
    page = each_client.get("/studies", params={"q": "a & b", "state": "COMPLETE"}).text
    (following,) = re.findall(r'rel="next" href="([^"]+)"', page)
    assert len(names_in(page)) == 25 and len(names_in(each_client.get(html.unescape(following)).text)) == 5


@pytest.mark.slow
def test_an_empty_list_says_how_to_begin(each_client: TestClient) -> None:
    for page in ("/studies", "/recommendations"):
        assert "tuner search --model tiny-qwen3" in each_client.get(page).text
        assert "tuner search" not in each_client.get(f"{page}?q=nobody").text

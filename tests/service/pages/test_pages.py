"""Pages without a browser: what they answer, how often they ask the database, and that nothing stored becomes markup."""

from __future__ import annotations

import re
import time
from urllib.parse import quote
from xml.etree import ElementTree

import pytest
from fastapi.testclient import TestClient

from storage.records import TrialState
from tests.service.conftest import MakeClient
from tests.service.pages.gallery import EMPTY, EVIL, FINISHED, RUNNING, STATUSES, Gallery
from tests.service.queries import counted_queries
from tests.storage.builders import FINGERPRINT, a_lease, a_measurement, a_study, a_trial, stored_study

PICTURE = re.compile(r'(?:src|srcset)="([^"]+\.svg[^"]*)"')


@pytest.mark.slow
def test_every_page_answers_and_every_picture_it_names_is_valid_and_described(pages: TestClient, gallery: Gallery) -> None:
    pictures: set[str] = set()
    for name, address in gallery.pages().items():
        answer = pages.get(address)
        assert answer.status_code == STATUSES.get(name, 200), name
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert "unsafe-inline" not in answer.headers["content-security-policy"]
        assert not re.search(r"\sstyle=|<style|\son\w+=|javascript:", answer.text.replace("onerror=&#39;", "")), name
        pictures |= {found.replace("&amp;", "&") for found in PICTURE.findall(answer.text)}
    drawn = [address for address in pictures if "/static/" not in address]
    assert len(drawn) > 40
    for address in drawn:
        answer = pages.get(address)
        assert answer.status_code == 200, address
        assert answer.headers["content-type"] == "image/svg+xml"
        root = ElementTree.fromstring(answer.text)
        assert root.get("role") == ("group" if "<a " in answer.text else "img")
        assert " style=" not in answer.text and "<script" not in answer.text
        if "breakdown" not in address and "waterfall" not in address:
            assert root[0].tag.endswith("title") and root[1].tag.endswith("desc")


@pytest.mark.slow
def test_the_winner_can_be_compared_with_what_its_gain_is_told_against(pages: TestClient, gallery: Gallery) -> None:
    link = re.compile(r'href="(/compare\?baseline=\d+&amp;candidate=\d+)">Why: compared with the nearest to vLLM&#39;s defaults<')
    (of_study,) = link.findall(pages.get(f"/studies/{FINISHED}").text)
    (of_recommendation,) = link.findall(pages.get(gallery.pages()["recommendation"]).text)
    assert of_study == of_recommendation
    answer = pages.get(of_study.replace("&amp;", "&"))
    assert answer.status_code == 200 and "chunk budget 512" in answer.text


@pytest.mark.slow
def test_stored_markup_stays_text(pages: TestClient, gallery: Gallery) -> None:
    for name in ("study-hostile", "trial-hostile", "recommendation-hostile", "studies", "recommendations"):
        text = pages.get(gallery.pages()[name]).text
        assert "&lt;script&gt;window.hacked" in text, name
        assert "<script>window" not in text and "<img src=x" not in text, name
    excerpt = pages.get(gallery.pages()["trial-hostile"]).text
    assert "&lt;/pre&gt;" in excerpt
    assert "not below the logdir" in excerpt and "/etc" not in excerpt


@pytest.mark.slow
@pytest.mark.parametrize("evil", [EVIL, "../../etc/passwd", "%00", "a\x1bb", "\u202e" * 3, "x" * 3000])
def test_hostile_addresses_are_refused_or_shown_as_text(pages: TestClient, evil: str) -> None:
    for address in ("/studies", f"/studies/{FINISHED}"):
        answer = pages.get(address, params={"model": evil, "state": evil, "arm": evil})
        assert answer.status_code == (414 if len(evil) > 1000 else 422)
        assert EVIL not in answer.text
    for address in ("/studies/{}", "/studies/{}/live", "/studies/{}/charts/forest.svg", "/trials/{}", "/recommendations/{}", "/static/{}"):
        answer = pages.get(address.format(quote(evil)))
        assert 400 <= answer.status_code < 500, address
        assert EVIL not in answer.text


@pytest.mark.slow  # the gallery takes seconds
@pytest.mark.parametrize(
    "address",
    ["/trials/0", "/trials/-1", f"/trials/{2**31}", "/trials/x", "/compare", "/compare?baseline=1", "/compare?baseline=1&candidate=9e9",
     "/studies?number=0", f"/studies/{FINISHED}/charts/pie.svg", f"/studies/{FINISHED}/charts/heat-map.svg?scheme=neon",
     f"/studies/{FINISHED}/charts/forest.svg?metric=nonsense", f"/studies/{EMPTY}/charts/heat-map.svg"],
)  # fmt: skip
def test_what_cannot_be_shown_is_a_page_that_says_why(pages: TestClient, address: str) -> None:
    answer = pages.get(address)
    assert answer.status_code in {404, 422}
    assert answer.headers["content-type"].startswith("text/html")
    assert '<p class="lead">' in answer.text


@pytest.mark.slow
def test_a_page_that_has_not_changed_is_not_sent_again(pages: TestClient) -> None:
    for address in (f"/studies/{FINISHED}", f"/studies/{RUNNING}/live", f"/studies/{FINISHED}/charts/heat-map.svg"):
        first = pages.get(address)
        again = pages.get(address, headers={"if-none-match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert pages.get(address, headers={"if-none-match": '"another"'}).status_code == 200


@pytest.mark.slow
def test_the_page_follows_a_running_search(make_client: MakeClient, gallery: Gallery, tmp_path_factory: pytest.TempPathFactory) -> None:
    from storage.upgrade import open_storage

    storage = open_storage(f"sqlite:///{tmp_path_factory.mktemp('running') / 'tuner.db'}")
    study = stored_study(storage, name="going", objective="throughput")
    storage.swap_lease(study.id, None, a_lease(study.id, heartbeat=time.time()))
    trials = [storage.create_trial(a_trial(study.id, number, state=TrialState.RUNNING, environment=FINGERPRINT)) for number in range(2)]
    client = make_client(storage)
    first = client.get("/studies/going/live")
    assert "0 of 2 trials finished" in first.text and "data-live" not in first.text
    assert 'data-live="/studies/going/live"' in client.get("/studies/going").text
    storage.finish_trial(trials[0].id, TrialState.COMPLETE, values={"throughput": 5.0})
    later = client.get("/studies/going/live", headers={"if-none-match": first.headers["etag"]})
    assert later.status_code == 200
    assert "1 of 2 trials finished" in later.text and "/studies/going/charts/history.svg" in later.text
    storage.close()


@pytest.mark.slow
def test_queries_of_a_page_do_not_grow_with_trials_or_other_studies(make_client: MakeClient, tmp_path: pytest.TempPathFactory) -> None:
    from storage.upgrade import open_storage

    storage = open_storage(f"sqlite:///{tmp_path}/tuner.db")
    small, large = (stored_study(storage, name=name, objective="throughput") for name in ("small", "large"))
    for study, count in ((small, 2), (large, 60)):
        storage.swap_lease(study.id, None, a_lease(study.id, heartbeat=time.time()))
        for number in range(count):
            place = {"block_size": 16 * (1 + number // 2), "arm": ("default", "page_aligned")[number % 2]}
            trial = storage.create_trial(a_trial(study.id, number, state=TrialState.RUNNING, environment=FINGERPRINT, **place))
            storage.add_measurement(a_measurement(trial.id, metrics={"total_token_throughput": 1.0 + number}))
            storage.finish_trial(trial.id, TrialState.COMPLETE, values={"throughput": 1.0 + number})
    client = make_client(storage)
    counts = {}
    for name in ("small", "large"):
        with counted_queries() as statements:
            assert client.get(f"/studies/{name}").status_code == 200
        counts[name] = len([text for text in statements if text.startswith("SELECT")])
    assert counts["small"] == counts["large"] <= 11  # one of them asks whether it came by the queue
    for number in range(20):
        storage.create_study(a_study(name=f"other-{number}"))
    with counted_queries() as statements:
        client.get("/studies/large")
    assert len([text for text in statements if text.startswith("SELECT")]) == counts["large"]
    storage.close()

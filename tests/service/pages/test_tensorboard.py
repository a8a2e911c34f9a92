"""TensorBoard itself behind the service: it starts when asked, comes back when it dies, ends with the service, gets only what it needs."""

from __future__ import annotations

import html
import importlib.util
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from fastapi.testclient import TestClient

from profiles.tensorboard import HParamsTrial, write_hparams
from service.app import create_app
from service.pages.tensorboard_child import TensorBoardChild
from service.web.settings import ServiceSettings
from tests.plugins.browser import OpenPage
from tests.service.pages.gallery import FINISHED, Gallery

pytestmark = [
    pytest.mark.browser,  # as slow as one: TensorBoard takes seconds to start
    pytest.mark.timeout(300),
    pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="TensorBoard is not installed (extra: ui)"),
]
PATIENCE_S = 120


@pytest.fixture(scope="module")
def logdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logdir")
    write_hparams(folder, [HParamsTrial("s/trial-0", {"arm": "default", "block_size": 32}, {"tpot_p50_ms": 7.5}, 100.0, 110.0)])
    return folder


@pytest.fixture(scope="module")
def client(logdir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    url = f"sqlite:///{tmp_path_factory.mktemp('db') / 'tuner.db'}"
    app = create_app(ServiceSettings(storage_url=url, logdir=logdir, rate_limit=""))
    with TestClient(app, base_url="http://127.0.0.1:8000", client=("127.0.0.1", 50000)) as opened:
        yield opened
        child = child_of(opened)
        pid = child.pid
    assert pid is None or not psutil.pid_exists(pid)


def child_of(client: TestClient) -> TensorBoardChild:
    child: TensorBoardChild = client.app.state.tensorboard  # type: ignore[attr-defined]
    return child


def until_it_answers(client: TestClient) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        answer = client.get("/tensorboard/data/runs")
        if answer.status_code == 200:
            return
        assert answer.status_code == 503, answer.text
        assert answer.headers["retry-after"] == "2"
        time.sleep(0.3)
    raise AssertionError(f"TensorBoard does not answer: {child_of(client).problem}")


def test_it_starts_when_somebody_asks_and_shows_what_the_logdir_holds(client: TestClient) -> None:
    assert child_of(client).pid is None
    waiting = client.get("/tensorboard/", headers={"accept": "text/html"})
    assert waiting.status_code == 503 and waiting.headers["refresh"] == "2"
    assert "It is starting" in waiting.text and "unsafe-inline" not in waiting.headers["content-security-policy"]
    until_it_answers(client)
    deadline = time.monotonic() + PATIENCE_S
    while not (runs := client.get("/tensorboard/data/runs").json()) and time.monotonic() < deadline:
        time.sleep(0.3)  # it answers before it has read the folder
    assert "s/trial-0" in runs
    page = client.get("/tensorboard/")
    assert page.status_code == 200 and "<title>TensorBoard</title>" in page.text
    assert "frame-ancestors 'self'" in page.headers["content-security-policy"]
    assert page.headers["x-frame-options"] == "SAMEORIGIN"
    hparams = client.post("/tensorboard/data/plugin/hparams/experiment", json={"experimentName": ""})
    assert hparams.status_code == 200 and "tpot_p50_ms" in hparams.text


@pytest.mark.parametrize(
    ("header", "packed"), [("identity", False), ("gzip;q=0", False), ("br", False), ("", False), ("gzip", True), ("GZIP;q=0.5", True)]
)
def test_it_compresses_for_those_alone_who_take_it(client: TestClient, header: str, packed: bool) -> None:
    until_it_answers(client)
    for path, said in (("", "<title>TensorBoard</title>"), ("index.js", "function")):
        answer = client.get(f"/tensorboard/{path}", headers={"accept-encoding": header})
        assert answer.status_code == 200 and said in answer.text
        assert (answer.headers.get("content-encoding") == "gzip") is packed, path
        assert "accept-encoding" in answer.headers["vary"].lower()


def test_only_loopback_hears_it(client: TestClient) -> None:
    until_it_answers(client)
    listening = [item for item in psutil.Process(child_of(client).pid).net_connections("inet") if item.status == psutil.CONN_LISTEN]
    assert listening and {item.laddr.ip for item in listening} == {"127.0.0.1"}


def test_nothing_goes_through_that_it_does_not_need(client: TestClient) -> None:
    until_it_answers(client)
    assert client.put("/tensorboard/data/runs").status_code == 405
    assert client.delete("/tensorboard/data/runs").status_code == 405
    for path in ("..%2f..%2fv1/studies", "%2e%2e/%2e%2e/etc/passwd", "data/..%5c..%5cx"):
        assert client.get(f"/tensorboard/{path}").status_code in {400, 404}
    answer = client.get("/tensorboard/data/runs", headers={"authorization-x": "secret", "connection": "x-drop", "x-drop": "1"})
    assert answer.status_code == 200
    assert not {"server", "connection", "transfer-encoding", "date"} & answer.headers.keys()


def test_it_comes_back_after_it_has_died(client: TestClient) -> None:
    until_it_answers(client)
    before = child_of(client).pid
    assert before is not None
    os.kill(before, signal.SIGKILL)
    psutil.Process(before).wait(PATIENCE_S)
    until_it_answers(client)
    assert child_of(client).pid not in {None, before}


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    app = create_app(ServiceSettings(storage_url=f"sqlite:///{tmp_path / 'tuner.db'}", logdir=tmp_path / "none"))
    with TestClient(app, base_url="http://127.0.0.1:8000", client=("127.0.0.1", 50000)) as client:
        answer = client.get("/tensorboard/", headers={"accept": "text/html"})
        assert answer.status_code == 503
        assert "the folder of profiles does not exist yet" in answer.text


def test_off_loopback_it_needs_the_token_like_everything_else(tmp_path: Path) -> None:
    token = "a-token-of-the-tests-0123456789"
    app = create_app(
        ServiceSettings(storage_url=f"sqlite:///{tmp_path / 'tuner.db'}", logdir=tmp_path / "none", host="0.0.0.0", token=token)
    )
    with TestClient(app, base_url="http://127.0.0.1:8000", client=("127.0.0.1", 50000)) as client:
        assert client.get("/tensorboard/").status_code == 401
        assert client.get("/studies").status_code == 401
        allowed = {"authorization": f"Bearer {token}"}
        assert client.get("/studies", headers=allowed).status_code == 200
        assert client.get("/tensorboard/", headers=allowed).status_code == 503


def test_its_page_works_in_a_browser_and_asks_no_other_machine(site: str, open_page: OpenPage) -> None:
    watched = open_page(f"{site}/tensorboard/")
    for _ in range(PATIENCE_S):
        if watched.page.title() == "TensorBoard":
            break
        watched.page.wait_for_timeout(1000)
    watched.page.wait_for_selector("tb-webapp", state="attached")
    watched.page.wait_for_timeout(2000)
    assert watched.hosts() == {site.removeprefix("http://")}


def test_xprofs_overview_says_what_it_lacks_and_leads_back_to_our_numbers(
    site: str, pages: TestClient, gallery: Gallery, open_page: OpenPage
) -> None:
    trial = pages.get(f"/trials/{gallery.winner.id}").text
    assert "draw with Google Charts, which is not loaded here" in trial
    (link, *_) = re.findall(r'href="(/tensorboard/[^"]*tool=overview_page[^"]*)"', trial)
    deadline = time.monotonic() + PATIENCE_S
    while httpx.get(f"{site}/tensorboard/data/runs").status_code == 503 and time.monotonic() < deadline:
        time.sleep(0.5)
    watched = open_page(site + html.unescape(link))
    frame = None
    while frame is None and time.monotonic() < deadline:
        watched.page.wait_for_timeout(200)
        frame = next((each for each in watched.page.frames if "/data/plugin/profile/overview_page" in each.url), None)
    assert frame is not None
    notice = frame.locator("#tuner-notice")
    notice.wait_for(state="visible", timeout=1000 * PATIENCE_S)
    said = " ".join(notice.inner_text().split())
    assert "Tables and charts are missing here" in said and f"The trials of {FINISHED} have the step's time" in said
    assert notice.get_by_role("link").get_attribute("href") == f"/studies/{FINISHED}#trials"
    assert watched.hosts() == {site.removeprefix("http://")}

"""More than 40 hostile requests at /tensorboard/, before and while it runs: refused, nothing read or written elsewhere, nobody called."""

from __future__ import annotations

import importlib.util
import socket
import time

import httpx
import pytest
from fastapi.testclient import TestClient

from service.pages.tensorboard_child import TensorBoardChild
from storage.base import Storage
from tests.service import hostile_tensorboard
from tests.service.conftest import MakeClient
from tests.service.hostile_tensorboard import REFUSED, XPROF
from tests.service.places import SECRET, Place
from tests.service.watching import watched
from tests.waiting import PATIENCE_S


@pytest.fixture
def client(make_client: MakeClient, storage: Storage, place: Place) -> TestClient:
    return make_client(storage, logdir=place.logdir, rate_limit="", write_rate_limit="", failed_auth_rate_limit="")


def child_of(client: TestClient) -> TensorBoardChild:
    child: TensorBoardChild = client.app.state.tensorboard  # type: ignore[attr-defined]
    return child


def _attack(client: TestClient | httpx.Client, place: Place, listener: socket.socket) -> None:
    host, port = listener.getsockname()
    requests = hostile_tensorboard.requests_at(str(place.outside), f"{host}:{port}")
    assert len({(item.method, item.target, str(item.options)) for item in requests}) == len(requests) >= 40
    before = sorted(place.linked.iterdir())
    with watched(place.outside) as touched:
        for item in requests:
            answer = client.request(item.method, item.target, **item.options)
            assert answer.status_code in REFUSED, (item, answer.status_code, answer.text[:300])
            assert SECRET not in answer.text and "x-evil" not in answer.headers, item
    assert touched == []
    assert sorted(place.linked.iterdir()) == before
    with pytest.raises(BlockingIOError):
        listener.accept()


@pytest.mark.slow
def test_hostile_requests_do_not_even_start_tensorboard(client: TestClient, place: Place, listener: socket.socket) -> None:
    _attack(client, place, listener)
    assert child_of(client).pid is None


@pytest.mark.browser
@pytest.mark.timeout(300)
@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="TensorBoard is not installed (extra: ui)")
def test_tensorboard_itself_refuses_them_too(client: TestClient, place: Place, listener: socket.socket) -> None:
    """Through the service, and at its own port, which other users of this machine reach; honest requests are answered before and after."""
    _until_it_answers(client)
    for _ in range(2):
        _honest(client)
        _attack(client, place, listener)
        address = f"http://127.0.0.1:{child_of(client).port}"
        with httpx.Client(base_url=address, timeout=PATIENCE_S, trust_env=False) as direct:
            _attack(direct, place, listener)
            assert direct.get("/tensorboard/", headers={"host": "evil.example"}).status_code == 421


def _until_it_answers(client: TestClient) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while client.get("/tensorboard/data/runs").status_code != 200:
        assert time.monotonic() < deadline, child_of(client).problem
        time.sleep(0.3)


def _honest(client: TestClient) -> None:
    """What the pages of a profile ask for; what XProf cannot make is a 4xx."""
    assert "s/trial-0/now" in client.get(f"{XPROF}/runs").json()
    session = {"run": "s/trial-0/now"}
    assert "trace_viewer@" in client.get(f"{XPROF}/run_tools", params=session).json()
    assert client.get(f"{XPROF}/hosts", params={**session, "tag": "overview_page"}).json() == [{"hostname": "h"}]
    for tool in ("trace_viewer@", "overview_page", "memory_profile"):
        answer = client.get(f"{XPROF}/data", params={**session, "tag": tool, "host": "h"})
        assert answer.status_code == 200 and answer.content, (tool, answer.text[:300])
    assert client.get(f"{XPROF}/config").json()["hideCaptureProfileButton"] is True
    assert 400 <= client.get(f"{XPROF}/data", params={**session, "tag": "memory_viewer", "module_name": "none"}).status_code < 500

"""Clients of the application in this process: `client` on SQLite, `each_client` once for each dialect. `storage` or `each_storage` is the
same database."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
import structlog
from fastapi.testclient import TestClient

from service.app import create_app
from service.web.settings import ServiceSettings
from storage.base import Storage
from tests.service.builders import Filled, fill
from tests.service.places import Place, listening, make_place
from tests.storage.raw import url_of

# A line for each request would bury what a failing test says; structlog.testing.capture_logs still sees them.
structlog.configure(processors=[lambda _logger, _name, _event: _drop()])


def _drop() -> NoReturn:
    raise structlog.DropEvent


TOKEN = "a-token-of-the-tests-0123456789"
# What a browser says when a form of our own page is sent.
ORIGIN = {"origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-origin", "sec-fetch-mode": "navigate", "accept": "text/html"}
MakeClient = Callable[..., TestClient]


@pytest.fixture
def make_client() -> Iterator[MakeClient]:
    """`make_client(storage, **changes of the settings)`: a client that comes from this machine."""
    opened: list[TestClient] = []

    def make(storage: Storage, **changes: Any) -> TestClient:
        settings = ServiceSettings(**{"storage_url": url_of(storage), "token": TOKEN, **changes})
        client = TestClient(create_app(settings), base_url="http://127.0.0.1:8000", client=("127.0.0.1", 50000))
        opened.append(client.__enter__())
        return client

    yield make
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture
def client(make_client: MakeClient, storage: Storage) -> TestClient:
    return make_client(storage)


@pytest.fixture
def each_client(make_client: MakeClient, each_storage: Storage) -> TestClient:
    return make_client(each_storage)


@pytest.fixture
def filled(each_storage: Storage, each_client: TestClient) -> Filled:
    """What stands in the database that `each_client` answers from."""
    return fill(each_storage)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return make_place(tmp_path)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with listening() as waiting:
        yield waiting

"""`gallery`: a database with everything there is to show, not to be changed; `site`: the service over it, on a port of this machine."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from fastapi.testclient import TestClient

from service.app import create_app
from service.web.settings import ServiceSettings
from tests.plugins.study import workbench_in
from tests.service.conftest import TOKEN
from tests.service.pages.gallery import Gallery, build_gallery


@pytest.fixture(scope="session")
def gallery(tmp_path_factory: pytest.TempPathFactory, _database_with_optuna: Path) -> Iterator[Gallery]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        bench = workbench_in(_database_with_optuna, tmp_path_factory.mktemp("gallery"), monkeypatch)
        yield build_gallery(bench)
        bench.close()


@pytest.fixture(scope="session")
def pages(gallery: Gallery) -> Iterator[TestClient]:
    """A client in this process."""
    app = create_app(ServiceSettings(storage_url=gallery.url, logdir=gallery.logdir))
    with TestClient(app, base_url="http://127.0.0.1:8000", client=("127.0.0.1", 50000)) as client:
        yield client


@pytest.fixture(scope="session")
def site(gallery: Gallery) -> Iterator[str]:
    """The address of a real server."""
    app = create_app(ServiceSettings(storage_url=gallery.url, logdir=gallery.logdir, token=TOKEN))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.02)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join()

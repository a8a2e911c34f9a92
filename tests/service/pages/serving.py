"""The service over a database, on a port of this machine."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from service.app import create_app
from service.web.settings import ServiceSettings
from tuner.report.charts.render import Renderer


@contextmanager
def serving(url: str, logdir: Path, token: str | None = None, renderer: Renderer | None = None) -> Iterator[str]:
    """The address of a real server. `token`: of the operator; `renderer`: with the pictures that were drawn before."""
    app = create_app(ServiceSettings(storage_url=url, logdir=logdir, token=token))
    app.state.renderer = renderer or app.state.renderer
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

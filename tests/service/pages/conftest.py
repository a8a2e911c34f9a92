"""`gallery`: a database with everything there is to show, not to be changed; `site`: the service over it, on a port of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.web.settings import ServiceSettings
from tests.plugins.study import workbench_in
from tests.service.conftest import TOKEN
from tests.service.pages.gallery import Gallery, build_gallery
from tests.service.pages.serving import serving
from tuner.report.charts.render import Renderer


@pytest.fixture(scope="session")
def gallery(tmp_path_factory: pytest.TempPathFactory, _database_with_optuna: Path) -> Iterator[Gallery]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        bench = workbench_in(_database_with_optuna, tmp_path_factory.mktemp("gallery"), monkeypatch)
        yield build_gallery(bench)
        bench.close()


@pytest.fixture(scope="session")
def _renderer() -> Renderer:
    """Keeps every picture of the gallery, so that each is drawn once for `pages` and `site`."""
    return Renderer(kept=2000)


@pytest.fixture(scope="session")
def pages(gallery: Gallery, _renderer: Renderer) -> Iterator[TestClient]:
    """A client in this process."""
    app = create_app(ServiceSettings(storage_url=gallery.url, logdir=gallery.logdir))
    app.state.renderer = _renderer
    with TestClient(app, base_url="http://127.0.0.1:8000", client=("127.0.0.1", 50000)) as client:
        yield client


@pytest.fixture(scope="session")
def site(gallery: Gallery, _renderer: Renderer) -> Iterator[str]:
    """The address of a real server."""
    with serving(gallery.url, gallery.logdir, TOKEN, _renderer) as address:
        yield address

"""Adds the pages, their static files and their caches to the application."""

from __future__ import annotations

import ssl

import httpx
from fastapi import FastAPI
from starlette.staticfiles import StaticFiles

from service.pages import (
    ask,
    capacity,
    compare,
    downloads,
    hosts,
    keep,
    queue,
    recommendation,
    studies,
    studies_compare,
    study,
    study_charts,
    submit,
    tensorboard,
    trial,
)
from service.pages.facts import FactsReader
from service.pages.templating import STATIC
from service.pages.tensorboard_child import TensorBoardChild
from service.web.settings import ServiceSettings
from tuner.report.charts.render import Renderer

_SLOW_S = 300.0  # XProf converts a large profile that long
_PAGES = (
    ask,
    capacity,
    studies,
    studies_compare,
    study_charts,
    downloads,
    keep,
    queue,
    hosts,
    study,
    submit,
    trial,
    compare,
    recommendation,
    tensorboard,
)


def install(app: FastAPI, settings: ServiceSettings) -> None:
    app.state.facts = FactsReader()
    app.state.renderer = Renderer()
    app.state.tensorboard = TensorBoardChild(settings.logdir)
    # TensorBoard is asked on this machine and without TLS: no certificates, which take 30 ms to read.
    no_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    app.state.tensorboard_client = httpx.AsyncClient(trust_env=False, verify=no_tls, timeout=httpx.Timeout(_SLOW_S, connect=5.0))
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    for module in _PAGES:
        app.router.routes.extend(module.router.routes)


async def close(app: FastAPI) -> None:
    """Ends what install started."""
    await app.state.tensorboard_client.aclose()
    app.state.tensorboard.close()

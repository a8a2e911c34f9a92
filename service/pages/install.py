"""Adds the pages, their static files and their caches to the application."""

from __future__ import annotations

import httpx
from fastapi import FastAPI
from starlette.staticfiles import StaticFiles

from service.pages import compare, downloads, recommendation, studies, studies_compare, study, study_charts, tensorboard, trial
from service.pages.facts import FactsReader
from service.pages.templating import STATIC
from service.pages.tensorboard_child import TensorBoardChild
from service.web.settings import ServiceSettings
from tuner.report.charts.render import Renderer

_SLOW_S = 300.0  # XProf converts a large profile that long
_PAGES = (studies, studies_compare, study_charts, downloads, study, trial, compare, recommendation, tensorboard)


def install(app: FastAPI, settings: ServiceSettings) -> None:
    app.state.facts = FactsReader()
    app.state.renderer = Renderer()
    app.state.tensorboard = TensorBoardChild(settings.logdir)
    app.state.tensorboard_client = httpx.AsyncClient(trust_env=False, timeout=httpx.Timeout(_SLOW_S, connect=5.0))
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    for module in _PAGES:
        app.include_router(module.router)


async def close(app: FastAPI) -> None:
    """Ends what install started."""
    await app.state.tensorboard_client.aclose()
    app.state.tensorboard.close()

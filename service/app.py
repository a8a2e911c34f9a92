"""The service as an ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from importlib.metadata import version

from fastapi import APIRouter, FastAPI, Security

from service import openapi
from service.answers.notifier import Notifier
from service.answers.state import make_state
from service.pages.install import close as close_pages
from service.pages.install import install as install_pages
from service.pages.templating import error_page
from service.routes import (
    capacity,
    events,
    health,
    hosts,
    keeping,
    profiles,
    publication,
    recommendations,
    reference,
    studies,
    submissions,
    submitting,
    trials,
)
from service.web import errors
from service.web.auth import bearer_scheme
from service.web.checks import Checks
from service.web.compression import Compression
from service.web.middleware import Gate
from service.web.settings import ServiceSettings
from storage.upgrade import open_storage

_DESCRIPTION = "Which flags for my model on my accelerator with my traffic: measured answers, each with its evidence."


def create_app(settings: ServiceSettings) -> FastAPI:
    """Opens the storage, creating our tables where there are none. Raises StorageFault."""
    app = FastAPI(
        title="vLLM TPU tuner",
        version=version("vllm-tpu-tuner"),
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
    )
    app.state.settings = settings
    app.state.storage = open_storage(settings.storage_url)
    app.state.service = make_state(settings, app.state.storage)
    errors.install(app)
    app.router.routes.extend(_routes(settings.open_reads).routes)
    openapi.install(app)
    install_pages(app, settings)
    app.add_middleware(Compression)
    checks = Checks(settings, app.state.service.tokens.get)
    app.state.checks = checks
    app.add_middleware(Gate, checks=checks, metrics=app.state.service.metrics, error_page=error_page)
    return app


@cache
def _routes(open_reads: bool) -> APIRouter:
    """REST, made once for each process: reading all signatures takes FastAPI a tenth of a second."""
    # The gate is what checks tokens; here they are declared, for the OpenAPI document.
    declared = [] if open_reads else [Security(bearer_scheme)]
    found = APIRouter()
    # The question comes first: routes are tried in order.
    for routes in (
        recommendations.asking,
        recommendations.router,
        studies.router,
        events.router,
        trials.router,
        profiles.router,
        capacity.router,
        hosts.router,
    ):
        found.include_router(routes, dependencies=declared)
    found.include_router(health.router)
    found.include_router(reference.router)
    found.include_router(submitting.router)
    for routes in (submissions.router, submissions.streams):
        found.include_router(routes, dependencies=declared)
    found.include_router(submissions.changes)
    found.include_router(hosts.changes)
    for trail, changes in ((publication.trail, publication.router), (keeping.trail, keeping.router)):
        found.include_router(trail, dependencies=declared)
        found.include_router(changes)
    return found


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings = app.state.settings
    notifier = Notifier.to(app.state.storage, settings.webhook_hosts, settings.webhook_secret, settings.host_webhook)
    if settings.webhook_hosts.names or settings.webhook_hosts.networks:
        notifier.start()
    yield
    notifier.close()
    await app.state.service.answers.close()
    await close_pages(app)
    app.state.storage.close()

"""The service as an ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from service import errors
from service.middleware import Gate
from service.routes import health
from service.settings import ServiceSettings
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
    errors.install(app)
    app.include_router(health.router)
    app.add_middleware(Gate, settings=settings)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    app.state.storage.close()

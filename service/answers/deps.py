"""The FastAPI dependencies of routes and pages: `storage: StorageDep`, `settings: SettingsDep`. They are coroutines, because FastAPI runs
plain functions in its thread pool."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from service.web.settings import ServiceSettings
from storage.base import Storage


async def get_settings(request: Request) -> ServiceSettings:
    settings: ServiceSettings = request.app.state.settings
    return settings


async def get_storage(request: Request) -> Storage:
    """The process's one storage; safe to use from every thread."""
    storage: Storage = request.app.state.storage
    return storage


SettingsDep = Annotated[ServiceSettings, Depends(get_settings)]
StorageDep = Annotated[Storage, Depends(get_storage)]

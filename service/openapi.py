"""FastAPI's OpenAPI document, in which validation errors are RFC 9457 problem documents, too."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from service.schemas.common import ProblemDocument


def install(app: FastAPI) -> None:
    generate = app.openapi

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = generate()
            schemas = made.setdefault("components", {}).setdefault("schemas", {})
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
            schemas["ProblemDocument"] = ProblemDocument.model_json_schema()
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's documented way to change it

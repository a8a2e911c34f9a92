"""Errors as RFC 9457 problem documents. No traceback, path or database URL reaches a client."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from profiles.errors import ProfileError
from storage.base import Conflict, DamagedRecord, InvalidRecord, NotFound, SchemaOutdated, StorageFault
from tuner.core.errors import BadInput
from tuner.fleet.submitted_text import NotAllowed, pointer

MEDIA_TYPE = "application/problem+json"
_MOST_ERRORS = 20
_LONGEST = 300
log = structlog.get_logger("tuner.service")


class Problem(Exception):
    """Ends a request with a problem document. `extra` are members of its own."""

    def __init__(self, status: int, detail: str, *, headers: Mapping[str, str] | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers
        self.extra = extra


def problem_document(status: int, detail: str, **extra: Any) -> dict[str, Any]:
    phrase = HTTPStatus(status).phrase
    slug = phrase.lower().replace(" ", "-")
    return {"type": f"urn:tuner:problem:{slug}", "title": phrase, "status": status, "detail": detail[:_LONGEST], **extra}


def problem_response(status: int, detail: str, headers: Mapping[str, str] | None = None, **extra: Any) -> Response:
    body = json.dumps(problem_document(status, detail, **extra)).encode()
    return Response(body, status, {"cache-control": "no-store", **(headers or {})}, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Install handlers for all errors that routes or the framework raise on purpose."""
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(StorageFault, _on_storage)
    app.add_exception_handler(BadInput, _on_bad_input)
    app.add_exception_handler(NotAllowed, _on_not_allowed)
    app.add_exception_handler(ProfileError, _on_bad_input)


async def _on_problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return problem_response(error.status, error.detail, error.headers, **error.extra)


async def _on_http(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return problem_response(error.status_code, str(error.detail), error.headers)


async def _on_validation(request: Request, error: Exception) -> Response:
    """Says which field and why; what was sent is not repeated."""
    assert isinstance(error, RequestValidationError)
    found = [
        {"where": ".".join(str(part)[:_LONGEST] for part in item["loc"]), "message": str(item["msg"])[:_LONGEST]}
        for item in error.errors()[:_MOST_ERRORS]
    ]
    if found and found[0]["where"] == "body" and not _is_json(request):
        return problem_response(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the body has to be JSON; send Content-Type: application/json")
    first = f"{found[0]['where']}: {found[0]['message']}" if found else "the request is not valid"
    return problem_response(HTTPStatus.UNPROCESSABLE_ENTITY, first, errors=found)


def _is_json(request: Request) -> bool:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


async def _on_storage(_request: Request, error: Exception) -> Response:
    assert isinstance(error, StorageFault)
    problem = storage_problem(error)
    return problem_response(problem.status, problem.detail, problem.headers)


def storage_problem(error: StorageFault) -> Problem:
    """What a client is told about a storage error; the details are in the log."""
    match error:
        case NotFound():
            return Problem(HTTPStatus.NOT_FOUND, str(error))
        case Conflict():
            return Problem(HTTPStatus.CONFLICT, str(error))
        case DamagedRecord():
            log.error("damaged_record", reason=str(error))
            return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
        case InvalidRecord():
            return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "the database cannot hold or look up what was sent")
    log.error("storage_fault", error=type(error).__name__, reason=str(error))
    if isinstance(error, SchemaOutdated):
        return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "the database has another schema; run `tuner db upgrade`, or a tuner of its version")
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "the database cannot be used just now", headers={"retry-after": "5"})


async def _on_bad_input(_request: Request, error: Exception) -> Response:
    return problem_response(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))


async def _on_not_allowed(_request: Request, error: Exception) -> Response:
    """Of a submitted study: where it stands as a JSON pointer, why, and how to mend it. What was sent is repeated in part at most."""
    assert isinstance(error, NotAllowed)
    found = {"pointer": pointer(error.place), "message": error.reason[:_LONGEST], "fix": (error.fix or "")[:_LONGEST]}
    return problem_response(HTTPStatus.UNPROCESSABLE_ENTITY, str(error), errors=[found])

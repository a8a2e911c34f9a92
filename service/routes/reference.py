"""The API's reference as a page of our own: no script, nothing from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.pages.templating import page

router = APIRouter(include_in_schema=False)


@router.get("/docs")
def docs(request: Request) -> Response:
    document = request.app.openapi()
    base = request.app.state.settings.public_url or str(request.base_url)
    operations = list(_operations(document, base.rstrip("/")))
    return page(request, "reference.html", api=document, operations=operations)


def _operations(document: dict[str, Any], base: str) -> Iterator[dict[str, Any]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            parameters = [_parameter(item) for item in operation.get("parameters", ())]
            yield {
                "method": method.upper(),
                "path": path,
                "anchor": operation["operationId"],
                "summary": operation.get("summary", ""),
                "description": operation.get("description", ""),
                "token": bool(operation.get("security")),
                "parameters": parameters,
                "statuses": [(status, item["description"]) for status, item in sorted(operation["responses"].items())],
                "curl": _curl(method.upper(), base + path, parameters, bool(operation.get("security"))),
                "example": _example(document, operation),
            }


def _parameter(item: dict[str, Any]) -> dict[str, Any]:
    schema = item.get("schema", {})
    examples = [*item.get("examples", ()), *schema.get("examples", ())]
    kinds = schema.get("enum") or [each.get("type") for each in schema.get("anyOf", [schema]) if each.get("type") not in (None, "null")]
    text = item.get("description") or schema.get("description") or ""
    what = "; ".join(part for part in (text.rstrip("."), " or ".join(map(str, kinds))) if part)
    return {"name": item["name"], "in": item["in"], "required": item.get("required", False), "text": what, "examples": examples}


def _curl(method: str, url: str, parameters: list[dict[str, Any]], token: bool) -> str:
    query = []
    for item in parameters:
        if item["examples"] and item["in"] == "path":
            url = url.replace(f"{{{item['name']}}}", str(item["examples"][0]))
        elif item["examples"] and item["required"]:
            query.append((item["name"], item["examples"][0]))
    words = ["curl", *([] if method == "GET" else ["-X", method]), *(['-H "Authorization: Bearer $TUNER_API_TOKEN"'] if token else [])]
    return " ".join([*words, f"'{url}{'?' + urlencode(query) if query else ''}'"])


def _example(document: dict[str, Any], operation: dict[str, Any]) -> str:
    """The example of the schema that a good answer has; "" where it has none."""
    schema = operation["responses"].get("200", {}).get("content", {}).get("application/json", {}).get("schema", {})
    name = schema.get("$ref", "").rpartition("/")[2]
    examples = document["components"]["schemas"].get(name, {}).get("examples", ())
    return json.dumps(examples[0], indent=2) if examples else ""

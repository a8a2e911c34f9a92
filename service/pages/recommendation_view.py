"""What the page of a recommendation shows. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from storage.records import Json, Recommendation
from tuner.recommend import STATUS_NONE
from tuner.report import serve_command


@dataclass(frozen=True)
class Snippet:
    """Something to copy."""

    key: str
    title: str
    text: str


@dataclass(frozen=True)
class Expected:
    metric: str
    unit: str
    value: float
    low: float | None
    high: float | None
    windows: int


def snippets(recommendation: Recommendation) -> list[Snippet]:
    """The same settings in three spellings; none where nothing is recommended."""
    body: Json = recommendation.body
    if recommendation.status == STATUS_NONE or not body.get("config"):
        return []
    config = {name.replace("_", "-"): value for name, value in body["config"].items()}
    return [
        Snippet("command", "Command", serve_command(recommendation)),
        Snippet("yaml", "YAML for vllm serve --config", _yaml(config)),
        Snippet("kubernetes", "Kubernetes container", _yaml(_container(recommendation))),
    ]


def expected_rows(body: Json) -> list[Expected]:
    return [
        Expected(name, str(item.get("unit", "")), float(item["value"]), item.get("low"), item.get("high"), int(item.get("measurements", 0)))
        for name, item in (body.get("expected") or {}).items()
        if isinstance(item, dict) and isinstance(item.get("value"), int | float)
    ]


def scope_rows(body: Json) -> list[tuple[str, str]]:
    """Model, machine, workload and versions that it holds for."""
    scope: dict[str, Any] = body.get("scope") or {}
    rows = [(name.replace("_", " "), str(scope[name])) for name in ("model", "platform", "accelerator", "device_count") if scope.get(name)]
    workload = scope.get("workload") or {}
    if workload.get("name"):
        rows.append(("workload", f"{workload['name']}, content {str(workload.get('content_hash', ''))[:12]}"))
    return rows + [(str(name), str(version)) for name, version in sorted((scope.get("versions") or {}).items())]


def _container(recommendation: Recommendation) -> Json:
    body = recommendation.body
    container: Json = {"args": [str(body["config"].get("model") or recommendation.model), *body.get("vllm_args", [])]}
    environment = body.get("env") or {}
    if environment:
        container["env"] = [{"name": name, "value": str(value)} for name, value in environment.items()]
    return container


def _yaml(document: Json) -> str:
    return yaml.safe_dump(document, sort_keys=False, width=1000)

"""What the page of a recommendation shows. Pure."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

from storage.records import Json, Recommendation
from tuner.serving.serve_formats import config_yaml, kubernetes
from tuner.verdict.recommend import STATUS_NONE


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
    """The same settings in the spellings that the API answers in; none where nothing is recommended."""
    body = usable_body(recommendation)
    if body is None:
        return []
    return [
        Snippet("command", "Command", command_text(body)),
        Snippet("yaml", "YAML for vllm serve --config", config_yaml(body)),
        Snippet("kubernetes", "Kubernetes container", kubernetes(body)),
    ]


def usable_body(recommendation: Recommendation) -> Json | None:
    """The body with a model in its configuration; None where there is nothing to serve with."""
    body = recommendation.body
    if recommendation.status == STATUS_NONE or not body.get("config"):
        return None
    return {**body, "config": {**body["config"], "model": body["config"].get("model") or recommendation.model}}


def command_text(body: Json) -> str:
    """For a shell: environment variables first, an option a line, so that it can be read without scrolling sideways."""
    words = [f"{name}={shlex.quote(str(value))}" for name, value in (body.get("env") or {}).items()]
    words.append(shlex.join(["vllm", "serve", str(body["config"]["model"])]))
    for word in map(str, body.get("vllm_args", [])):
        if word.startswith("--"):
            words.append(shlex.quote(word))
        else:
            words[-1] += f" {shlex.quote(word)}"
    return " \\\n  ".join(words) + "\n"


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

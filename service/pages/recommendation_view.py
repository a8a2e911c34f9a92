"""What the page of a recommendation shows. Pure."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from tuner.serving.serve_formats import config_yaml, kubernetes
from tuner.verdict.answer import STATUS_NONE, Answer, Scope


@dataclass(frozen=True)
class Snippet:
    """Something to copy."""

    key: str
    title: str
    text: str


@dataclass(frozen=True)
class ExpectedRow:
    metric: str
    unit: str
    value: float
    low: float | None
    high: float | None
    windows: int
    stage: str  # where the value comes from, in words


def snippets(answer: Answer) -> list[Snippet]:
    """The same settings in the spellings that the API answers in; none where there is nothing to serve with."""
    if not can_be_served(answer):
        return []
    return [
        Snippet("command", "Command", command_text(answer)),
        Snippet("yaml", "YAML for vllm serve --config", config_yaml(answer.served())),
        Snippet("kubernetes", "Kubernetes container", kubernetes(answer.served())),
    ]


def can_be_served(answer: Answer) -> bool:
    """Whether it has settings beside the model."""
    return answer.status != STATUS_NONE and bool(answer.config.keys() - {"model"})


def command_text(answer: Answer) -> str:
    """For a shell: environment variables first, an option a line, so that it can be read without scrolling sideways."""
    words = [f"{name}={shlex.quote(str(value))}" for name, value in answer.env.items()]
    words.append(shlex.join(["vllm", "serve", str(answer.config["model"])]))
    for word in answer.vllm_args:
        if word.startswith("--"):
            words.append(shlex.quote(word))
        else:
            words[-1] += f" {shlex.quote(word)}"
    return " \\\n  ".join(words) + "\n"


def expected_rows(answer: Answer) -> list[ExpectedRow]:
    """The objective's metrics first."""
    return [
        ExpectedRow(
            metric=name,
            unit=item.get("unit", ""),
            value=item["value"],
            low=item.get("low"),
            high=item.get("high"),
            windows=item.get("measurements", 0),
            stage=answer.stage_in_words,
        )
        for name, item in answer.expected.items()
        if "value" in item
    ]


def first_expected(answer: Answer | None) -> ExpectedRow | None:
    """The objective's."""
    return next(iter(expected_rows(answer)), None) if answer is not None else None


def scope_rows(scope: Scope) -> list[tuple[str, str]]:
    """Model, machine, workload and versions that it holds for."""
    named = {name: scope.get(name) for name in ("model", "platform", "accelerator", "device_count")}
    rows = [(name.replace("_", " "), str(value)) for name, value in named.items() if value]
    workload = scope.get("workload") or {}
    if workload.get("name"):
        rows.append(("workload", f"{workload['name']}, content {workload.get('content_hash', '')[:12]}"))
    return rows + [(str(name), str(version)) for name, version in sorted(scope.get("versions", {}).items())]

"""Recommended settings in ready-to-use formats: YAML and flags for `vllm serve`, environment for a shell, Kubernetes. Pure.

All take the answer's body with `config`, `vllm_args` and `env`, of a status other than "none".
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from typing import Any

import yaml

Body = Mapping[str, Any]


def config_yaml(body: Body) -> str:
    """For `vllm serve --config FILE`. vLLM would read null as the word None, and leaves out KEY: false without a word (0.32:
    `load_config_file` looks for --no-KEY among the options of `vllm`, not of `vllm serve`), so false is written as no-KEY: true."""
    return _yaml(dict(_switched(name.replace("_", "-"), value) for name, value in body["config"].items() if value is not None))


def _switched(name: str, value: Any) -> tuple[str, Any]:
    return (f"no-{name}", True) if value is False else (name, value)


def flags(body: Body) -> str:
    """Shell words for `vllm serve MODEL`."""
    return shlex.join(body["vllm_args"]) + "\n"


def environment(body: Body) -> str:
    """KEY=value lines for a shell (`set -a; . FILE`), quoted; a comment where none is needed."""
    lines = [f"{name}={shlex.quote(str(value))}" for name, value in body.get("env", {}).items()]
    return "\n".join(lines or ["# no environment variable is needed"]) + "\n"


def kubernetes(body: Body) -> str:
    """The command, arguments and environment of a container."""
    args = [str(body["config"]["model"]), *body["vllm_args"]]
    document: dict[str, Any] = {"command": ["vllm", "serve"], "args": [_unexpanded(word) for word in args]}
    if body.get("env"):
        document["env"] = [{"name": name, "value": _unexpanded(str(value))} for name, value in body["env"].items()]
    return _yaml(document)


def _unexpanded(word: str) -> str:
    """Kubernetes replaces $(NAME) by a variable and reads $$ as one dollar."""
    return word.replace("$", "$$")


FORMATS: dict[str, Callable[[Body], str]] = {"yaml": config_yaml, "flags": flags, "env": environment, "kubernetes": kubernetes}


def _yaml(document: dict[str, Any]) -> str:
    return yaml.safe_dump(document, sort_keys=False)

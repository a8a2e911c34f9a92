"""What the container files say: instructions of a Dockerfile, compose.yaml, Kubernetes manifests."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
DOCKERFILES = tuple(sorted(DOCKER.glob("Dockerfile.*")))


@dataclass(frozen=True)
class Instruction:
    keyword: str
    text: str


def instructions(path: Path) -> list[Instruction]:
    """All of them in order, continued lines joined by a space, comments left out."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [
        Instruction(keyword.upper(), text.strip()) for line in joined.splitlines() if line for keyword, _, text in [line.partition(" ")]
    ]


def stages(path: Path) -> list[list[Instruction]]:
    """The instructions of each stage; the first of each is its FROM."""
    found: list[list[Instruction]] = []
    for item in instructions(path):
        if item.keyword == "FROM":
            found.append([])
        found[-1].append(item)
    return found


def words(stage: list[Instruction], keyword: str) -> list[str]:
    """The last CMD or ENTRYPOINT of a stage in its exec form; of HEALTHCHECK the command."""
    text = [item.text for item in stage if item.keyword == keyword][-1]
    array = json.loads(text[text.index("[") :])
    assert all(isinstance(word, str) for word in array)
    return list(array)


def variables(stage: list[Instruction]) -> dict[str, str]:
    pairs = [word.partition("=") for item in stage if item.keyword == "ENV" for word in shlex.split(item.text)]
    return {name: value for name, _, value in pairs}


def compose() -> dict[str, Any]:
    document = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    assert isinstance(document, dict)
    return document


def manifests() -> dict[str, dict[str, Any]]:
    """Every Kubernetes object by its kind; each kind is there once."""
    documents = [item for path in sorted((DOCKER / "k8s").glob("*.yaml")) for item in yaml.safe_load_all(path.read_text())]
    kinds = [str(item["kind"]) for item in documents]
    assert len(kinds) == len(set(kinds))
    return dict(zip(kinds, documents, strict=True))


def pins(name: str) -> dict[str, str]:
    """Package -> version of a requirements file."""
    return dict(re.findall(r"^([\w.-]+)(?:\[[\w,]+\])?==(\S+)", (ROOT / name).read_text(), flags=re.MULTILINE))

"""The picture of the rooms in ARCHITECTURE.md, drawn from the imports: `python -m tests.house [--write]` prints it or puts it there."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from tests.architecture_rules import Module, load_modules, module_of, room_of

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "ARCHITECTURE.md"
BEGIN, END = "<!-- picture: rooms -->\n", "<!-- end -->"
PACKAGES = ("service", "tuner", "profiles", "storage")

Edges = dict[str, set[str]]


def edges(modules: Mapping[str, Module]) -> Edges:
    """Room -> rooms that it imports. Rooms are the folders of tuner/ (its plugin imports none of them) and the other packages."""
    found: Edges = defaultdict(set)
    for module in modules.values():
        for item in module.imports:
            target = module_of(item.target, modules)
            here, there = _room(module.name), None if target is None else _room(target)
            if here is not None and there is not None and here != there and not _lazy_service(here, there):
                found[here].add(there)
    return dict(found)


def _room(name: str) -> str | None:
    package = name.partition(".")[0]
    return room_of(name, "tuner") if package == "tuner" else package


def _lazy_service(here: str, there: str) -> bool:
    """`tuner serve` starts the service; else the arrows go the other way."""
    return (here, there) == ("cli", "service")


def reduced(found: Edges) -> Edges:
    """Without the arrows that follow from others: a -> c where a -> b -> c. Needs a graph without circles."""
    below: Edges = {}

    def reach(room: str) -> set[str]:
        if room not in below:
            below[room] = set().union(*({there} | reach(there) for there in found.get(room, ())))
        return below[room]

    return {
        room: {there for there in ends if not any(there in reach(other) for other in ends if other != there)}
        for room, ends in found.items()
    }


def drawing(modules: Mapping[str, Module]) -> str:
    """A Mermaid flow chart, which code hosts and the documentation site show as a picture."""
    lines = ["flowchart TD"]
    for room, ends in sorted(reduced(edges(modules)).items()):
        lines += [f"    {room} --> {there}" for there in sorted(ends)]
    return "```mermaid\n" + "\n".join(lines) + "\n```\n"


def drawn(text: str) -> str:
    """The picture that stands in the document. Raises ValueError where a marker is missing."""
    begin = text.index(BEGIN) + len(BEGIN)
    return text[begin : text.index(END, begin)]


def main(arguments: list[str]) -> None:
    picture = drawing(load_modules(ROOT, PACKAGES))
    if arguments == ["--write"]:
        text = DOCUMENT.read_text(encoding="utf-8")
        DOCUMENT.write_text(text.replace(f"{BEGIN}{drawn(text)}{END}", f"{BEGIN}{picture}{END}"), encoding="utf-8")
    else:
        sys.stdout.write(picture)


if __name__ == "__main__":
    main(sys.argv[1:])

"""Which distributions bring which importable name, without looking at every installed file. Standard library only."""

from __future__ import annotations

import importlib.metadata
import inspect
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_NAME = re.compile(r"^Name: *(.+?) *$", re.MULTILINE | re.IGNORECASE)


@contextmanager
def quickly_listed() -> Iterator[None]:
    """importlib.metadata.packages_distributions is ours meanwhile. transformers calls it as it is imported, and Python's looks whether
    each of the tens of thousands of files of vLLM's packages is there: two seconds of processor time, a tenth of vLLM's import."""
    original = importlib.metadata.packages_distributions
    importlib.metadata.packages_distributions = packages_distributions
    try:
        yield
    finally:
        importlib.metadata.packages_distributions = original


def packages_distributions() -> Mapping[str, list[str]]:
    """As importlib.metadata has it, also for files that were deleted since they were installed."""
    found: dict[str, list[str]] = {}
    for distribution in importlib.metadata.distributions():
        if names := _top_level(distribution):
            described = _NAME.search(distribution.read_text("METADATA") or "")
            name = described[1] if described else distribution.metadata["Name"]
            for importable in names:
                found.setdefault(importable, []).append(name)
    return found


def _top_level(distribution: importlib.metadata.Distribution) -> list[str]:
    told = (distribution.read_text("top_level.txt") or "").split()
    record = distribution.read_text("RECORD")
    if told or record is None:
        return told or sorted({name for file in distribution.files or () if "." not in (name := _importable(str(file)))})
    paths = (line.strip('"').partition(",")[0] for line in record.splitlines())
    return sorted({name for path in paths if path and "." not in (name := _importable(path))})


def _importable(path: str) -> str:
    """The name under which a file of this path is imported, or something with a dot in it."""
    top, folder, _ = path.partition("/")
    return top if folder else inspect.getmodulename(top) or top

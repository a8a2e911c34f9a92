"""What `-m` leaves out as a whole is not even imported: a file whose `pytestmark` is among the markers of `-m "not (engine or slow)"`.

Every worker collects all files, and what the slow ones import (JAX, Schemathesis) takes seconds. Files named on the command line are read.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

_NOT_ANY_OF = re.compile(r"not \(?(\w+(?: or \w+)*)\)?")
_OF_THE_FILE = re.compile(r"^pytestmark = (?:\[.*?^\]|[^\n]*)", re.MULTILINE | re.DOTALL)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    left_out = _NOT_ANY_OF.fullmatch(config.option.markexpr)
    if left_out is None or not collection_path.match("test_*.py"):
        return None
    return True if marks_of(collection_path) & set(left_out[1].split(" or ")) else None


def marks_of(path: Path) -> set[str]:
    """The markers that a test file gives to all its tests."""
    found = _OF_THE_FILE.search(path.read_text(encoding="utf-8"))
    return set(re.findall(r"\bmark\.(\w+)", found[0])) if found else set()

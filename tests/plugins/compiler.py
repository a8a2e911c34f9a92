"""One compiler host for all tests of a worker whose fixture asks for it as `shared_compiler: Compiler`.

Importing vLLM takes ten seconds and more of a core; each engine to be compiled is forked from the host. The files are one group
(workers.py).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tuner.foresight.compiler import Compiler


@pytest.fixture(scope="session")
def shared_compiler() -> Iterator[Compiler]:
    with Compiler(None) as made:
        yield made

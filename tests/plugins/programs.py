"""Programs of the tests that look at vLLM or tpu-inference, each in a process of its own that has imported both already.

Importing them takes 15 s and more of a core. So one process does it for all (tuner.engine.command_host with fewer modules, and without the
plugins, which change tpu-inference), and each program is forked from it. Files whose fixture asks for `programs: Programs` are one group
(workers.py).
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tuner.engine.commands import CommandHost
from tuner.engine.environment import engine_environment

TIMEOUT_S = 900.0


class ProgramHost(CommandHost):
    what = "program host"
    module = "tests.plugins.program_host"
    log_name = "programs.log"


class Programs:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._host: ProgramHost | None = None
        self._count = 0

    def run(self, module: str, *arguments: str, env: Mapping[str, str] | None = None) -> str:
        """What `main()` of the module prints. `env` is set in its process, when vLLM is imported and JAX has not begun."""
        return self._run({"module": module, "arguments": arguments}, env)

    def execute(self, code: str, *arguments: str, env: Mapping[str, str] | None = None) -> str:
        """The same for a text, as `python -c` would run it."""
        return self._run({"code": code, "arguments": arguments}, env)

    def _run(self, program: dict[str, Any], env: Mapping[str, str] | None) -> str:
        if self._host is None or not self._host.alive:
            base = {**engine_environment("cpu", offline=True), "JAX_ENABLE_COMPILATION_CACHE": "false"}
            self._host = ProgramHost(None, base, self._folder)
        self._count += 1
        printed, log = (self._folder / f"{self._count:03d}.{kind}" for kind in ("out", "log"))
        asked = {**program, "env": {**os.environ, **(env or {})}, "output": str(printed)}
        code = self._host.run("tests.plugins.program_host", ["program", json.dumps(asked)], log).finish(TIMEOUT_S)
        assert code == 0, log.read_text(errors="replace")[-3000:]
        return printed.read_text()

    def close(self) -> None:
        if self._host is not None:
            self._host.close()


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    if importlib.util.find_spec("vllm") is None or importlib.util.find_spec("tpu_inference") is None:
        pytest.skip("vLLM and tpu-inference are not installed (extra: tpu)")
    made = Programs(tmp_path_factory.mktemp("programs"))
    yield made
    made.close()

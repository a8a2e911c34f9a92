"""python -m tests.plugins.program_host FD PARENT_PID PROTOCOL_VERSION: the process that programs.py forks from."""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import override

from tuner.engine.command_host import CommandForker
from tuner.engine.forking import run_host

_IMPORTED = (
    "vllm.engine.arg_utils",
    "vllm.v1.core.sched.scheduler",
    "vllm.entrypoints.launchers.cli_args",
    "tpu_inference.layers.vllm.backends.flash_attn",
    "tpu_inference.runner.utils",
)


class ProgramForker(CommandForker):
    @override
    def import_engine(self) -> None:
        for name in _IMPORTED:
            importlib.import_module(name)


def main() -> None:
    """In the fork: the program that the only argument describes (programs.py), its standard output in a file of its own."""
    asked = json.loads(sys.argv[1])
    os.environ.clear()
    os.environ.update(asked["env"])
    os.dup2(os.open(asked["output"], os.O_WRONLY | os.O_CREAT, 0o644), 1)
    sys.argv = [asked.get("module", "-c"), *asked["arguments"]]
    if "code" in asked:
        exec(compile(asked["code"], "<program>", "exec"), {"__name__": "__main__"})
    else:
        importlib.import_module(asked["module"]).main()


if __name__ == "__main__":
    run_host(ProgramForker)

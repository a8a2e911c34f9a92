"""Runs vLLM's own commands (`vllm serve`, `vllm bench serve`) by fork: vLLM is imported once, not once per command (forking.py).

    python -m tuner.engine.command_host FD PARENT_PID PROTOCOL_VERSION

A forked command runs `main()` of the module it names with the argument vector it was given, exactly as the console script would.

Nothing outlives the client: when its socket closes or it dies, every command's whole group is killed before this process ends; and should
this process be killed itself, the commands and what they fork die with it, one after the other.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import signal
import socket
import sys
import threading
from typing import override

from tuner.engine.environment import use_xla_cache
from tuner.engine.forking import PR_SET_PDEATHSIG, Host, run_host
from tuner.engine.messages import Run
from tuner.engine.protocol import ProtocolViolation, Request, read_message

COMMAND_MODULES = (
    "vllm.entrypoints.cli.main",
    "vllm.entrypoints.cli.benchmark.main",
    "vllm.entrypoints.cli.serve",
    "vllm.entrypoints.openai.api_server",
    "vllm.v1.engine.async_llm",
    "vllm.v1.engine.core",
    "vllm.benchmarks.serve",
)


class CommandForker(Host):
    death_signal = signal.SIGTERM  # not SIGKILL: there are commands to end first

    def __init__(self, listener: socket.socket) -> None:
        super().__init__(listener)
        signal.signal(signal.SIGTERM, _leave)

    @override
    def import_engine(self) -> None:
        use_xla_cache()
        for name in COMMAND_MODULES:
            importlib.import_module(name)
        importlib.import_module("vllm.plugins").load_general_plugins()

    @override
    def start(self, request: Request) -> int:
        """A command. What it leaves running is ended by the client, the whole group at once."""
        if request.op != "run":
            raise ProtocolViolation(f"unknown operation {request.op!r}")
        command = read_message(Run, request.params, "run")
        return self.fork(command.log_path, lambda: run_command(command.module, list(command.argv)))


def run_command(module: str, argv: list[str]) -> int:
    """`main()` of `module` under `argv`; returns the exit code that the interpreter would give."""
    forks_die_with_this_process()
    sys.argv = argv
    try:
        importlib.import_module(module).main()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        sys.stderr.write(f"{end.code}\n")  # what the interpreter does with a message
        return 1
    return 0


def forks_die_with_this_process() -> None:
    """Every process that the main thread of this one forks is killed when this one dies: vLLM's engine core is such a child, and vLLM
    leaves it behind when its server is killed. (A death signal is sent when the forking *thread* ends, hence only the main thread.)"""
    forked_by_main = threading.local()

    def note_thread() -> None:
        forked_by_main.yes = threading.current_thread() is threading.main_thread()

    def die_too() -> None:
        if forked_by_main.yes:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    os.register_at_fork(before=note_thread, after_in_child=die_too)


def _leave(*_: object) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    run_host(CommandForker)

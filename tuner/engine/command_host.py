"""Runs vLLM's own commands (`vllm serve`, `vllm bench serve`) by fork: vLLM is imported once, not once per command.

    python -m tuner.engine.command_host FD PARENT_PID       (FD: the client's socket)

The import costs 10 to 25 seconds, a measurement half a second. A forked command runs `main()` of the module it names with the argument
vector it was given, in its own process group, exactly as the console script would. JAX is not initialised here (see tuner.engine.host).

Nothing outlives the client: when its socket closes or it dies (PR_SET_PDEATHSIG), every command's whole group is killed before this
process ends; and should this process be killed itself, the commands and what they fork die with it, one after the other.

Operations: `run` {"module", "argv", "log_path"} -> {"pid"}; `status` {"pid"} -> {"exit": code or null}.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

from tuner.engine.environment import use_xla_cache
from tuner.engine.host import PR_SET_PDEATHSIG, die_with_parent, reap
from tuner.engine.owner import one_line
from tuner.engine.protocol import ConnectionLost, receive, send

COMMAND_MODULES = (
    "vllm.entrypoints.cli.main",
    "vllm.entrypoints.cli.benchmark.main",
    "vllm.entrypoints.cli.serve",
    "vllm.entrypoints.openai.api_server",
    "vllm.v1.engine.async_llm",
    "vllm.v1.engine.core",
    "vllm.benchmarks.serve",
)


def import_commands() -> None:
    """Everything that the commands need, without touching a device."""
    use_xla_cache()
    for name in COMMAND_MODULES:
        importlib.import_module(name)
    importlib.import_module("vllm.plugins").load_general_plugins()


def run_main(module: str, argv: list[str]) -> int:
    """`main()` of `module` under `argv`; returns the exit code that the interpreter would give."""
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


def fork_command(listener: socket.socket, module: str, argv: list[str], log_path: str) -> int:
    """Fork; the child runs the command and never returns. Returns the child's pid, which is its process group as well."""
    host_pid = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        die_with_parent(host_pid)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        listener.close()
        log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        forks_die_with_this_process()
        code = run_main(module, argv)
    except BaseException:  # noqa: BLE001 - whatever it is goes into the log, and the child must not return
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)  # what the command left running is ended by the client, the whole group at once


def answer(listener: socket.socket, request: dict[str, Any], groups: set[int], exits: dict[int, int]) -> dict[str, Any]:
    params = request["params"]
    if request["op"] == "run":
        pid = fork_command(listener, params["module"], params["argv"], params["log_path"])
        groups.add(pid)
        exits.pop(pid, None)  # of an earlier command with the same process id
        return {"result": {"pid": pid}}
    if request["op"] == "status":
        reap(exits)
        return {"result": {"exit": exits.get(params["pid"])}}
    return {"error": {"class": "internal", "message": f"unknown operation {request['op']!r}"}}


def serve(listener: socket.socket) -> None:
    """Answer until the client is gone, then kill every command."""
    groups: set[int] = set()
    exits: dict[int, int] = {}
    try:
        while True:
            request = receive(listener)
            send(listener, {"id": request["id"], **answer(listener, request, groups, exits)})
    finally:
        for group in groups:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)


def _leave(*_: object) -> None:
    raise SystemExit(0)


def main() -> None:
    parent = int(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the client's to handle
    signal.signal(signal.SIGTERM, _leave)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)  # not SIGKILL: there are commands to end first
    if os.getppid() != parent:
        return
    listener = socket.socket(fileno=int(sys.argv[1]))
    try:
        import_commands()
    except Exception as error:
        send(listener, {"id": 0, "error": {"class": "startup", "message": one_line(error)}})
        raise
    send(listener, {"id": 0, "result": {"pid": os.getpid(), "threads": len(list(Path("/proc/self/task").iterdir()))}})
    with contextlib.suppress(ConnectionLost):
        serve(listener)


if __name__ == "__main__":
    main()

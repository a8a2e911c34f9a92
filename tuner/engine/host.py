"""The engine host: started as a subprocess in the Python that has vLLM, imports vLLM and JAX once, and forks one process per engine.

    python -m tuner.engine.host FD        (FD: the client's socket)

The import costs 10 to 20 seconds, so it is paid once. JAX is not initialised here, only in the forked engine processes: a fork after that
would not be safe, and on a TPU the parent would hold the chips. Host and engines die with their parents (PR_SET_PDEATHSIG), so that no
orphan holds an accelerator.

Operations on the host's socket: `fork` (with one file descriptor attached: the new engine's socket) -> {"pid"}; `status` {"pid"} ->
{"exit": code or null}.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from tuner.engine import environment, owner
from tuner.engine.protocol import ConnectionLost, receive, send

PR_SET_PDEATHSIG = 1


def die_with_parent(parent_pid: int) -> None:
    """SIGKILL this process when its parent dies, also if that happened already."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os._exit(1)


def import_heavy_modules() -> None:
    """Everything that an engine needs, without touching a device."""
    environment.use_xla_cache()
    import vllm.engine.arg_utils
    import vllm.plugins
    import vllm.v1.engine.llm_engine

    vllm.plugins.load_general_plugins()


def fork_engine(listener: socket.socket, channel: socket.socket, log_path: str, env: dict[str, str]) -> int:
    """Fork; the child serves `channel` and never returns. Returns the child's pid."""
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
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the client's to handle
        listener.close()
        log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ.update(env)
        owner.serve(channel)
        code = 0
    except BaseException:  # noqa: BLE001 - whatever it is goes into the log, and the child must not return
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)  # no interpreter shutdown: vLLM's finalisers fail on tpu-inference's model wrapper


def reap(exits: dict[int, int]) -> None:
    """Collect the exit codes of finished engines (negative: the signal that ended them)."""
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            exits[pid] = os.waitstatus_to_exitcode(status)


def serve(listener: socket.socket) -> None:
    exits: dict[int, int] = {}
    while True:
        request = receive(listener)
        reply: dict[str, Any] = {"id": request["id"]}
        params = request["params"]
        if request["op"] == "fork":
            _, fds, _, _ = socket.recv_fds(listener, 1, 1)
            with socket.socket(fileno=fds[0]) as channel:
                pid = fork_engine(listener, channel, params["log_path"], params["env"])
            reply["result"] = {"pid": pid}
        elif request["op"] == "status":
            reap(exits)
            reply["result"] = {"exit": exits.get(params["pid"])}
        else:
            reply["error"] = {"class": "internal", "message": f"unknown operation {request['op']!r}"}
        send(listener, reply)


def main() -> None:
    die_with_parent(int(sys.argv[2]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    listener = socket.socket(fileno=int(sys.argv[1]))
    try:
        import_heavy_modules()
    except Exception as error:
        send(listener, {"id": 0, "error": {"class": "startup", "message": owner.one_line(error)}})
        raise
    send(listener, {"id": 0, "result": {"pid": os.getpid(), "threads": len(list(Path("/proc/self/task").iterdir()))}})
    with contextlib.suppress(ConnectionLost):
        serve(listener)


if __name__ == "__main__":
    main()

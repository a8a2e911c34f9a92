"""A host process: imports vLLM once, then forks one child for each thing that is asked of it. The base of host.py and command_host.py.

    python -m tuner.engine.<host> FD PARENT_PID PROTOCOL_VERSION       (FD: the client's socket)

The import costs 10 to 25 seconds, a fork nothing. JAX is not initialised here, only in the children: a fork after that would not be safe,
and on a TPU the parent would hold the chips. Children have their own process group and die with the host, the host dies with its client
(PR_SET_PDEATHSIG), so that no orphan holds an accelerator. Standard library only at import time.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
import socket
import sys
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, override

from tuner.engine.installed_packages import quickly_listed
from tuner.engine.messages import Exit, Fork, Forked, Nothing, Status
from tuner.engine.protocol import (
    PROTOCOL_VERSION,
    ConnectionLost,
    ProtocolViolation,
    Request,
    check_version,
    read_message,
    receive_request,
    send,
)
from tuner.engine.wire_fields import to_fields

PR_SET_PDEATHSIG = 1


class Host(ABC):
    """Answers on `listener`. A subclass says what is imported and what is forked."""

    death_signal = signal.SIGKILL  # what this process gets when its client dies

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self._exits: dict[int, int] = {}
        self._groups: set[int] = set()

    @abstractmethod
    def import_engine(self) -> None:
        """Import everything that the children need, without touching a device."""

    @abstractmethod
    def start(self, request: Request) -> int:
        """Fork the child that is asked for; its pid. Raises ProtocolViolation for an unknown operation or message."""

    def fork(self, log_path: str, body: Callable[[], int]) -> int:
        """Fork; the child runs `body`, its output in `log_path`, exits with its result and never returns. Returns the child's pid, which is
        its process group as well."""
        host_pid = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid:
            self._groups.add(pid)
            self._exits.pop(pid, None)  # of an earlier child with the same process id
            return pid
        code = 1
        try:
            os.setsid()
            die_with_parent(host_pid)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self.listener.close()
            log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.dup2(log, 1)
            os.dup2(log, 2)
            code = body()
        except BaseException:  # noqa: BLE001 - whatever it is goes into the log, and the child must not return
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)  # no interpreter shutdown: vLLM's finalisers fail on tpu-inference's model wrapper

    def answer(self, request: Request) -> dict[str, Any]:
        """{"result"} or {"error"}."""
        try:
            if request.op == "status":
                self._reap()
                pid = read_message(Status, request.params, "status").pid
                return {"result": to_fields(Exit(self._exits.get(pid)))}
            return {"result": to_fields(Forked(self.start(request)))}
        except ProtocolViolation as error:
            return error_reply("internal", str(error))

    def serve(self) -> None:
        """Answer until the client is gone, then kill every child with what it started."""
        try:
            while True:
                request = receive_request(self.listener)
                send(self.listener, {"id": request.id, **self.answer(request)})
        except ConnectionLost:
            pass
        finally:
            for group in self._groups:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(group, signal.SIGKILL)

    def _reap(self) -> None:
        """Collect the exit codes of finished children (negative: the signal that ended them)."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                self._exits[pid] = os.waitstatus_to_exitcode(status)


class ChannelHost(Host):
    """Forks children that serve a socket of their own, whose descriptor follows the request."""

    @abstractmethod
    def serve_child(self, channel: socket.socket) -> None:
        """In the child: answer on `channel` until shutdown or until the client is gone (answer_requests)."""

    @override
    def start(self, request: Request) -> int:
        if request.op != "fork":
            raise ProtocolViolation(f"unknown operation {request.op!r}")
        _, fds, _, _ = socket.recv_fds(self.listener, 1, 1)
        with socket.socket(fileno=fds[0]) as channel:
            message = read_message(Fork, request.params, "fork")
            return self.fork(message.log_path, lambda: self._child(channel, message.env))

    def _child(self, channel: socket.socket, env: dict[str, str]) -> int:
        os.environ.update(env)
        self.serve_child(channel)
        return 0


def answer_requests(channel: socket.socket, answer: Callable[[Request], dict[str, Any]]) -> None:
    """Send what `answer` makes of each request ({"result"} or {"error"}; it must not raise), until shutdown or until the client is gone."""
    with contextlib.suppress(ConnectionLost):
        while True:
            request = receive_request(channel)
            if request.op == "shutdown":
                send(channel, {"id": request.id, "result": to_fields(Nothing())})
                return
            send(channel, {"id": request.id, **answer(request)})


def run_host(kind: type[Host]) -> None:
    """The program: sys.argv as in this module's docstring. Ends when the client is gone."""
    descriptor, parent = map(int, sys.argv[1:3])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the client's to handle
    host = kind(socket.socket(fileno=descriptor))
    die_with_parent(parent, host.death_signal)
    try:
        check_version(int(sys.argv[3]) if len(sys.argv) > 3 else None, "tuner")
        begun = time.monotonic()
        gc.disable()  # the import makes millions of objects that stay: looking through them again and again takes a fifth of its time
        with quickly_listed():
            host.import_engine()
    except Exception as error:
        what = "" if isinstance(error, ProtocolViolation) else "vLLM cannot be imported: "
        send(host.listener, {"id": 0, **error_reply("startup", f"{what}{one_line(error)}")})
        raise
    gc.freeze()  # nor do the children look through them, which would copy each page that they share with this process
    gc.enable()
    send(host.listener, {"id": 0, "result": {"protocol": PROTOCOL_VERSION, "import_s": time.monotonic() - begun}})
    host.serve()


def die_with_parent(parent_pid: int, signum: signal.Signals = signal.SIGKILL) -> None:
    """Send this process a signal when its parent dies; exits at once if that happened already."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signum)
    if os.getppid() != parent_pid:
        os._exit(1)


def error_reply(failure: str, message: str) -> dict[str, Any]:
    """`failure`: a value of tuner.core.errors.FailureClass."""
    return {"error": {"class": failure, "message": message}}


def one_line(error: BaseException) -> str:
    """The exception's message as one line; pydantic and vLLM put the useful sentence first."""
    words = " ".join(str(error).split())
    return (words or type(error).__name__)[:500]

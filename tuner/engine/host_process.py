"""Our end of a host process: starts it in the engine's Python, talks to it, and leaves nothing of it behind. The base of client.py and
commands.py."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

import tuner
from tuner.core.errors import EngineLost, FailureClass, TrialFailed
from tuner.core.numbers import number
from tuner.engine.messages import Exit, Status
from tuner.engine.processes import kill_group, log_excerpt
from tuner.engine.protocol import PROTOCOL_VERSION, ConnectionLost, ProtocolViolation, check_version, read_message, receive, send
from tuner.engine.wire_fields import to_fields

ANSWER_TIMEOUT_S = 30.0
GONE = (OSError, ConnectionLost, ProtocolViolation)  # TimeoutError is an OSError

Json = dict[str, Any]


class HostLost(EngineLost):
    """The host process itself is gone or does not answer, whatever was asked of it: a new host may do it."""


class Channel:
    """Request and reply over one socket. Not thread-safe."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._ids = itertools.count(1)

    def call(self, op: str, message: object, timeout_s: float, fd: int | None = None) -> Json:
        """Send a message (a dataclass of messages.py); returns the reply. Raises TimeoutError, ConnectionLost, ProtocolViolation."""
        request_id = next(self._ids)
        send(self.sock, {"id": request_id, "op": op, "params": to_fields(message)})
        if fd is not None:
            socket.send_fds(self.sock, [b"f"], [fd])
        return self.reply_to(request_id, timeout_s)

    def reply_to(self, request_id: int, timeout_s: float) -> Json:
        """The next reply, which must be to this request and hold a result or an error. Raises as `call`."""
        self.sock.settimeout(timeout_s)
        reply = receive(self.sock)
        if reply.get("id") != request_id:
            raise ProtocolViolation(f"expected a reply to {request_id}, got {reply.get('id')}")
        if reply.keys() not in ({"id", "result"}, {"id", "error"}):
            raise ProtocolViolation(f"a reply has a result or an error, got {', '.join(sorted(reply))}")
        if not isinstance(reply.get("result", {}), dict):
            raise ProtocolViolation(f"a result is an object, got {type(reply['result']).__name__}")
        if "error" in reply and not _is_error(reply["error"]):
            raise ProtocolViolation("an error is an object of class and message, both text")
        return reply


def _is_error(raw: object) -> bool:
    return isinstance(raw, dict) and all(isinstance(raw.get(name), str) for name in ("class", "message"))


def failure_class(word: str) -> FailureClass:
    """Of an error that a peer sent; INTERNAL for one that only its release knows."""
    return FailureClass(word) if word in list(FailureClass) else FailureClass.INTERNAL


class HostProcess:
    """A running host. Not thread-safe."""

    what: ClassVar[str]  # what messages call it
    module: ClassVar[str]  # the program: a subclass of tuner.engine.forking.Host
    log_name: ClassVar[str]
    import_timeout_s: ClassVar[float] = 300.0
    import_s: float  # what importing vLLM took, by the host's clock

    def __init__(self, python: str | None, env: Mapping[str, str], log_dir: Path) -> None:
        """Start it and wait until it has imported vLLM. Raises EngineLost (STARTUP) where Python cannot be started, vLLM cannot be imported
        or the other Python holds another release of this package; HostLost where the host dies or takes too long over it."""
        log_dir.mkdir(parents=True, exist_ok=True)
        self.log_path = log_dir / self.log_name
        ours, theirs = socket.socketpair()
        package_root = str(Path(next(iter(tuner.__path__))).parent)
        env = {**env, "PYTHONPATH": os.pathsep.join(filter(None, [package_root, env.get("PYTHONPATH")]))}
        command = [python or sys.executable, "-m", self.module, str(theirs.fileno()), str(os.getpid()), str(PROTOCOL_VERSION)]
        self._channel = Channel(ours)
        with ExitStack() as undo:
            undo.callback(ours.close)
            with theirs, self.log_path.open("ab") as log:
                try:
                    self._process = subprocess.Popen(
                        command,
                        env=env,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        pass_fds=[theirs.fileno()],
                        start_new_session=True,
                    )
                except OSError as error:
                    raise EngineLost(FailureClass.STARTUP, f"--engine-python {python}: cannot be started: {error.strerror}") from error
            undo.callback(self.close)
            self._greet(self.import_timeout_s)
            undo.pop_all()

    def _greet(self, timeout_s: float) -> None:
        try:
            hello = self._channel.reply_to(0, timeout_s)
        except GONE as error:
            reason = f"took more than {number(timeout_s)} s" if isinstance(error, TimeoutError) else "died"
            raise self._lost(HostLost, f"the {self.what} {reason} while importing vLLM") from error
        if "error" in hello:
            raise self._lost(EngineLost, str(hello["error"]["message"]))
        try:
            check_version(hello["result"].get("protocol"), self.what)
            self.import_s = float(hello["result"].get("import_s", 0.0))
        except ProtocolViolation as error:
            raise self._lost(EngineLost, str(error)) from error

    def _lost(self, kind: type[EngineLost], message: str, failure: FailureClass = FailureClass.STARTUP) -> EngineLost:
        return kind(failure, message, log_excerpt(self.log_path))

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask[Answer](
        self, op: str, message: object, answer: type[Answer], failure: FailureClass = FailureClass.STARTUP, fd: int | None = None
    ) -> Answer:
        """Raises HostLost (of class `failure`) if the host is gone, TrialFailed (INTERNAL) where it refuses."""
        try:
            reply = self._channel.call(op, message, ANSWER_TIMEOUT_S, fd)
            if "error" not in reply:
                return read_message(answer, reply["result"], op)
        except GONE as error:
            raise self._lost(HostLost, f"the {self.what} is gone", failure) from error
        raise TrialFailed(FailureClass.INTERNAL, f"the {self.what} refused {op}: {reply['error']['message']}", log_excerpt(self.log_path))

    def exit_code(self, pid: int) -> int | None:
        """The exit code of a child (negative: the signal that ended it), None while it runs. Raises HostLost if the host is gone."""
        return self.ask("status", Status(pid), Exit, FailureClass.ENGINE_CRASH).exit

    def close(self) -> None:
        """End the host and all that it forked. Idempotent."""
        self._channel.sock.close()
        kill_group(self._process.pid)
        self._process.wait()

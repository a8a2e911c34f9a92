"""The client of the engine host: starts it, forks engines from it, talks to them and leaves no process behind."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tuner
from tuner.core.errors import EngineLost, FailureClass, TrialFailed
from tuner.engine.protocol import ConnectionLost, ProtocolViolation, receive, send

Json = dict[str, Any]
EXCERPT_LINES = 40
GRACE_S = 10.0


def log_excerpt(path: Path, lines: int = EXCERPT_LINES, limit_bytes: int = 64 * 1024) -> str:
    """The last lines of an engine's log, at most `limit_bytes` of them; empty if there is none."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - limit_bytes))
            return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


def kill_group(pid: int, grace_s: float = GRACE_S) -> None:
    """SIGTERM to the process group of `pid`, SIGKILL after `grace_s` seconds to what is left of it."""
    for signum, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signum)
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            if not group_alive(pid):
                return
            time.sleep(0.02)


def group_alive(pgid: int) -> bool:
    """Whether a process that is not a zombie is left in the group."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[2]) == pgid and fields[0] != "Z":
                return True
    return False


def kernel_oom_kills() -> int:
    """How many processes the kernel's out-of-memory killer has ended since boot (0 where the kernel does not say)."""
    with contextlib.suppress(OSError), Path("/proc/vmstat").open() as lines:
        return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
    return 0


class Channel:
    """Request and reply over one socket. Not thread-safe."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._ids = itertools.count(1)

    def call(self, op: str, params: Json, timeout_s: float, fd: int | None = None) -> Json:
        """Returns the reply. Raises TimeoutError, ConnectionLost, ProtocolViolation."""
        request_id = next(self._ids)
        send(self.sock, {"id": request_id, "op": op, "params": params})
        if fd is not None:
            socket.send_fds(self.sock, [b"f"], [fd])
        return self.reply_to(request_id, timeout_s)

    def reply_to(self, request_id: int, timeout_s: float) -> Json:
        self.sock.settimeout(timeout_s)
        reply = receive(self.sock)
        if reply.get("id") != request_id:
            raise ProtocolViolation(f"expected a reply to {request_id}, got {reply.get('id')}")
        return reply


class EngineHost:
    """The host process. One per study; engines are forked from it one after the other."""

    def __init__(self, python: str | None, env: Mapping[str, str], log_dir: Path, import_timeout_s: float = 300.0) -> None:
        self.log_dir = log_dir
        log_dir.mkdir(parents=True, exist_ok=True)
        self.log_path = log_dir / "host.log"
        ours, theirs = socket.socketpair()
        env = {**env, "PYTHONPATH": os.pathsep.join(filter(None, [str(Path(next(iter(tuner.__path__))).parent), env.get("PYTHONPATH")]))}
        command = [python or sys.executable, "-m", "tuner.engine.host", str(theirs.fileno()), str(os.getpid())]
        with self.log_path.open("ab") as log, theirs:
            try:
                self._process = subprocess.Popen(
                    command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[theirs.fileno()], start_new_session=True
                )
            except OSError as error:
                ours.close()
                raise TrialFailed(FailureClass.STARTUP, f"--engine-python {python}: cannot be started: {error.strerror}") from error
        self._channel = Channel(ours)
        self._engines: list[EngineProcess] = []
        self._started = 0
        self._ready(import_timeout_s)

    @property
    def pid(self) -> int:
        return self._process.pid

    def _ready(self, timeout_s: float) -> None:
        try:
            hello = self._channel.reply_to(0, timeout_s)
        except (TimeoutError, ConnectionLost, ProtocolViolation) as error:
            self.close()
            reason = f"took more than {timeout_s:g} s" if isinstance(error, TimeoutError) else "died"
            raise EngineLost(FailureClass.STARTUP, f"the engine host {reason} while importing vLLM", log_excerpt(self.log_path)) from error
        if "error" in hello:
            self.close()
            raise EngineLost(FailureClass.STARTUP, f"vLLM cannot be imported: {hello['error']['message']}", log_excerpt(self.log_path))

    def start_engine(self, engine_args: Json, env: Mapping[str, str], timeout_s: float) -> tuple[EngineProcess, Json]:
        """Fork an engine process and start vLLM in it. Returns it with its start report. Raises TrialFailed or EngineLost."""
        self._started += 1
        log_path = self.log_dir / f"engine-{self._started:03d}.log"
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                reply = self._channel.call("fork", {"log_path": str(log_path), "env": dict(env)}, 30.0, fd=theirs.fileno())
            except (TimeoutError, ConnectionLost, ProtocolViolation) as error:
                ours.close()
                raise EngineLost(FailureClass.STARTUP, "the engine host is gone", log_excerpt(self.log_path)) from error
        engine = EngineProcess(self, reply["result"]["pid"], Channel(ours), log_path)
        self._engines.append(engine)
        try:
            return engine, engine.call("start", {"engine_args": engine_args}, timeout_s, failure=FailureClass.STARTUP)
        except BaseException:
            engine.close()
            raise

    def exit_code(self, pid: int, patience_s: float = 2.0) -> int | None:
        """The exit code of an engine process (negative: signal), or None if it still runs or cannot be known."""
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            try:
                code: int | None = self._channel.call("status", {"pid": pid}, 5.0)["result"]["exit"]
            except (OSError, ConnectionLost, ProtocolViolation):
                return None
            if code is not None:
                return code
            time.sleep(0.05)
        return None

    def close(self) -> None:
        """End the engines and the host. Idempotent."""
        for engine in getattr(self, "_engines", []):
            engine.close()
        self._channel.sock.close()
        kill_group(self._process.pid)
        self._process.wait()


class EngineProcess:
    """One engine. After EngineLost every further call raises EngineLost."""

    def __init__(self, host: EngineHost, pid: int, channel: Channel, log_path: Path) -> None:
        self._host = host
        self.pid = pid
        self._channel = channel
        self.log_path = log_path
        self._lost: EngineLost | None = None
        self._closed = False
        self._oom_kills = kernel_oom_kills()

    @property
    def alive(self) -> bool:
        return not self._closed and self._lost is None

    def call(self, op: str, params: Json, timeout_s: float, failure: FailureClass = FailureClass.ENGINE_CRASH) -> Json:
        """Returns the result. Raises TrialFailed (the engine goes on) or EngineLost (it is gone; nothing of it is left)."""
        if self._closed or self._lost is not None:
            raise self._lost or EngineLost(failure, "the engine was closed")
        try:
            reply = self._channel.call(op, params, timeout_s)
        except TimeoutError as error:
            raise self._lose(FailureClass.TIMEOUT, f"engine {op} took more than {timeout_s:g} s") from error
        except (ConnectionLost, ProtocolViolation) as error:
            raise self._lose(*self._diagnose(op, failure)) from error
        if "error" not in reply:
            result: Json = reply["result"]
            return result
        kind, message = FailureClass(reply["error"]["class"]), str(reply["error"]["message"])
        if op == "start" or kind in (FailureClass.ENGINE_CRASH, FailureClass.OUT_OF_MEMORY):
            raise self._lose(kind, message)
        raise TrialFailed(kind, message, log_excerpt(self.log_path))

    def _diagnose(self, op: str, failure: FailureClass) -> tuple[FailureClass, str]:
        code = self._host.exit_code(self.pid)
        if code == -signal.SIGKILL and kernel_oom_kills() > self._oom_kills:
            return FailureClass.OUT_OF_MEMORY, f"the kernel's out-of-memory killer ended the engine process during {op}"
        how = "is gone" if code is None else f"ended by signal {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"
        return failure, f"the engine process {how} during {op}"

    def _lose(self, failure: FailureClass, message: str) -> EngineLost:
        self._lost = EngineLost(failure, message, log_excerpt(self.log_path))
        self._end()
        return self._lost

    def _end(self) -> None:
        self._channel.sock.close()
        kill_group(self.pid, grace_s=0.5)
        self._host.exit_code(self.pid)

    def close(self) -> None:
        """Shut the engine down. Idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._lost is None:
            with contextlib.suppress(OSError, ConnectionLost, ProtocolViolation):
                self._channel.call("shutdown", {}, GRACE_S)
            self._end()

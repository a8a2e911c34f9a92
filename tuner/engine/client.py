"""The client of the engine host: forks engines from it, talks to them and leaves no process behind."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, override

from tuner.core.contract import StartReport
from tuner.core.errors import EngineLost, FailureClass, TrialFailed
from tuner.core.numbers import number
from tuner.engine.host_process import GONE, Channel, HostLost, HostProcess, failure_class
from tuner.engine.messages import Fork, Forked, Nothing, Start
from tuner.engine.processes import GRACE_S, OomWatch, how_it_ended, kill_group, log_excerpt
from tuner.engine.protocol import ConnectionLost, ProtocolViolation, read_message

Json = dict[str, Any]
EXIT_PATIENCE_S = 2.0


class EngineHost(HostProcess):
    """The host process. One per study; engines are forked from it one after the other."""

    what = "engine host"
    module = "tuner.engine.host"
    log_name = "host.log"
    child = "engine"  # what messages call one of its children

    def __init__(self, python: str | None, env: Mapping[str, str], log_dir: Path) -> None:
        """Raises EngineLost (STARTUP), HostLost."""
        self._log_dir = log_dir
        self._engines: list[EngineProcess] = []
        self._started = 0
        super().__init__(python, env, log_dir)

    def start_engine(self, engine_args: Json, env: Mapping[str, str], timeout_s: float) -> tuple[EngineProcess, StartReport]:
        """Fork an engine process and start vLLM in it. Returns it with its start report. Raises TrialFailed, EngineLost or HostLost."""
        engine = self.fork_child(f"engine-{self._started + 1:03d}.log", env)
        with ExitStack() as undo:
            undo.callback(engine.close)
            report = engine.ask("start", Start(engine_args), StartReport, timeout_s, failure=FailureClass.STARTUP)
            undo.pop_all()
        return engine, report

    def fork_child(self, log_name: str, env: Mapping[str, str]) -> EngineProcess:
        """A child of the host that answers; ended with the host at the latest. Raises HostLost."""
        self._started += 1
        log_path = self._log_dir / log_name
        ours, theirs = socket.socketpair()
        with ExitStack() as undo:
            undo.callback(ours.close)
            with theirs:
                forked = self.ask("fork", Fork(str(log_path), dict(env)), Forked, fd=theirs.fileno())
            engine = EngineProcess(self, forked.pid, Channel(ours), log_path)
            self._engines.append(engine)
            undo.pop_all()
        return engine

    def wait_for_exit(self, pid: int) -> int | None:
        """The exit code of an engine process, or None if it still runs after two seconds or cannot be known."""
        deadline = time.monotonic() + EXIT_PATIENCE_S
        with contextlib.suppress(HostLost):
            while time.monotonic() < deadline:
                if (code := self.exit_code(pid)) is not None:
                    return code
                time.sleep(0.05)
        return None

    @override
    def close(self) -> None:
        """End the engines and the host. Idempotent."""
        with ExitStack() as ends:
            ends.callback(super().close)
            for engine in self._engines:
                ends.callback(engine.close)


class EngineProcess:
    """One engine. After EngineLost every further call raises EngineLost."""

    def __init__(self, host: EngineHost, pid: int, channel: Channel, log_path: Path) -> None:
        self._host = host
        self.pid = pid
        self._channel = channel
        self.log_path = log_path
        self._lost: EngineLost | None = None
        self._closed = False
        self._oom = OomWatch()

    @property
    def alive(self) -> bool:
        return not self._closed and self._lost is None

    def ask[Answer](
        self, op: str, message: object, answer: type[Answer], timeout_s: float, *, failure: FailureClass = FailureClass.ENGINE_CRASH
    ) -> Answer:
        """Raises TrialFailed (the engine goes on) or EngineLost (it is gone; nothing of it is left; `failure` is the class where it just
        died)."""
        if self._closed or self._lost is not None:
            raise self._lost or EngineLost(failure, f"the {self._host.child} was closed")
        try:
            reply = self._channel.call(op, message, timeout_s)
            if "error" not in reply:
                return read_message(answer, reply["result"], op)
        except TimeoutError as error:
            raise self._lose(FailureClass.TIMEOUT, f"{self._host.child} {op} took more than {number(timeout_s)} s") from error
        except ProtocolViolation as error:
            raise self._lose(FailureClass.INTERNAL, f"the {self._host.child}'s answer cannot be read: {error}") from error
        except ConnectionLost as error:
            raise self._lose(*self._diagnose(op, failure)) from error
        kind, text = failure_class(reply["error"]["class"]), str(reply["error"]["message"])
        if op == "start" or kind in (FailureClass.ENGINE_CRASH, FailureClass.OUT_OF_MEMORY):
            raise self._lose(kind, text)
        raise TrialFailed(kind, text, log_excerpt(self.log_path))

    def _diagnose(self, op: str, failure: FailureClass) -> tuple[FailureClass, str]:
        code = self._host.wait_for_exit(self.pid)
        if self._oom.killed(code):
            return FailureClass.OUT_OF_MEMORY, f"the kernel's out-of-memory killer ended the {self._host.child} process during {op}"
        return failure, f"the {self._host.child} process {'is gone' if code is None else how_it_ended(code)} during {op}"

    def _lose(self, failure: FailureClass, message: str) -> EngineLost:
        self._lost = EngineLost(failure, message, log_excerpt(self.log_path))
        self._end()
        return self._lost

    def _end(self) -> None:
        self._channel.sock.close()
        kill_group(self.pid, grace_s=0.5)
        self._host.wait_for_exit(self.pid)

    def close(self) -> None:
        """Shut the engine down. Idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._lost is None:
            try:
                with contextlib.suppress(*GONE):
                    self._channel.call("shutdown", Nothing(), GRACE_S)
            finally:
                self._end()

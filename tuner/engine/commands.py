"""The client of the command host: starts vLLM's commands, watches them and leaves none of their processes behind."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import tuner
from tuner.core.errors import EngineLost, FailureClass
from tuner.engine.client import Channel, group_alive, kernel_oom_kills, kill_group, log_excerpt
from tuner.engine.protocol import ConnectionLost, ProtocolViolation

IMPORT_TIMEOUT_S = 300.0
ANSWER_TIMEOUT_S = 30.0
POLL_S = 0.05
_GONE = (OSError, ConnectionLost, ProtocolViolation)  # TimeoutError is an OSError


class CommandHost:
    """The process that has imported vLLM. Commands get `env` and nothing else of ours."""

    def __init__(self, python: str | None, env: Mapping[str, str], log_dir: Path, import_timeout_s: float = IMPORT_TIMEOUT_S) -> None:
        """Raises EngineLost (STARTUP) where Python cannot be started or vLLM cannot be imported."""
        log_dir.mkdir(parents=True, exist_ok=True)
        self.log_path = log_dir / "commands.log"
        ours, theirs = socket.socketpair()
        env = {**env, "PYTHONPATH": os.pathsep.join(filter(None, [str(Path(next(iter(tuner.__path__))).parent), env.get("PYTHONPATH")]))}
        command = [python or sys.executable, "-m", "tuner.engine.command_host", str(theirs.fileno()), str(os.getpid())]
        with self.log_path.open("ab") as log, theirs:
            try:
                self._process = subprocess.Popen(
                    command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[theirs.fileno()], start_new_session=True
                )
            except OSError as error:
                ours.close()
                raise EngineLost(FailureClass.STARTUP, f"--engine-python {python}: cannot be started: {error.strerror}") from error
        self._channel = Channel(ours)
        self._commands: list[Command] = []
        try:
            hello = self._channel.reply_to(0, import_timeout_s)
        except _GONE as error:
            self.close()
            reason = f"took more than {import_timeout_s:g} s" if isinstance(error, TimeoutError) else "died"
            raise EngineLost(FailureClass.STARTUP, f"the command host {reason} while importing vLLM", log_excerpt(self.log_path)) from error
        if "error" in hello:
            self.close()
            raise EngineLost(FailureClass.STARTUP, f"vLLM cannot be imported: {hello['error']['message']}", log_excerpt(self.log_path))

    @property
    def pid(self) -> int:
        return self._process.pid

    def run(self, module: str, argv: Sequence[str], log_path: Path) -> Command:
        """Start `main()` of `module`. Raises EngineLost (STARTUP) if the host is gone."""
        try:
            reply = self._channel.call("run", {"module": module, "argv": list(argv), "log_path": str(log_path)}, ANSWER_TIMEOUT_S)
        except _GONE as error:
            raise EngineLost(FailureClass.STARTUP, "the command host is gone", log_excerpt(self.log_path)) from error
        command = Command(self, reply["result"]["pid"], log_path)
        self._commands.append(command)
        return command

    def exit_code(self, pid: int) -> int | None:
        """The exit code of a command (negative: the signal that ended it), None while it runs. Raises EngineLost if the host is gone."""
        try:
            code: int | None = self._channel.call("status", {"pid": pid}, ANSWER_TIMEOUT_S)["result"]["exit"]
        except _GONE as error:
            raise EngineLost(FailureClass.ENGINE_CRASH, "the command host is gone", log_excerpt(self.log_path)) from error
        return code

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        """End every command and the host. Idempotent."""
        for command in self._commands:
            command.stop()
        self._channel.sock.close()
        kill_group(self._process.pid)
        self._process.wait()


class Command:
    """One running command; its pid is its process group."""

    def __init__(self, host: CommandHost, pid: int, log_path: Path) -> None:
        self._host = host
        self.pid = pid
        self.log_path = log_path
        self._stopped = False
        self._oom_kills = kernel_oom_kills()

    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it. Raises EngineLost if the host is gone."""
        return self._host.exit_code(self.pid)

    def wait(self, timeout_s: float) -> int:
        """The exit code. Raises TimeoutError, EngineLost."""
        deadline = time.monotonic() + timeout_s
        while (code := self.exit_code()) is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"still running after {timeout_s:g} s")
            time.sleep(POLL_S)
        return code

    def ended_by_oom_killer(self, code: int) -> bool:
        """Whether the kernel took this command for its memory."""
        return code == -signal.SIGKILL and kernel_oom_kills() > self._oom_kills

    def stop(self, grace_s: float = 10.0) -> None:
        """End the whole group: SIGTERM, then SIGKILL. Idempotent; collects the zombie."""
        if self._stopped:
            return
        self._stopped = True
        kill_group(self.pid, grace_s)
        with contextlib.suppress(EngineLost):
            self._host.exit_code(self.pid)

    @property
    def group_alive(self) -> bool:
        return group_alive(self.pid)


def how_it_ended(code: int) -> str:
    """ "exited with code 1" or "was ended by SIGKILL"."""
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"

"""The client of the command host: starts vLLM's commands, watches them and leaves none of their processes behind."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import override

from tuner.core.errors import EngineLost
from tuner.core.numbers import number
from tuner.engine.host_process import HostProcess
from tuner.engine.messages import Forked, Run
from tuner.engine.processes import OomWatch, kill_group

POLL_S = 0.05


class CommandHost(HostProcess):
    """The process that has imported vLLM. Commands get `env` and nothing else of ours."""

    what = "command host"
    module = "tuner.engine.command_host"
    log_name = "commands.log"

    def __init__(self, python: str | None, env: Mapping[str, str], log_dir: Path) -> None:
        """Raises EngineLost (STARTUP), HostLost."""
        self._commands: list[Command] = []
        super().__init__(python, env, log_dir)

    def run(self, module: str, argv: Sequence[str], log_path: Path) -> Command:
        """Start `main()` of `module`. Raises HostLost (STARTUP)."""
        forked = self.ask("run", Run(module, tuple(argv), str(log_path)), Forked)
        command = Command(self, forked.pid, log_path)
        self._commands.append(command)
        return command

    @override
    def close(self) -> None:
        """End every command and the host. Idempotent."""
        with ExitStack() as ends:
            ends.callback(super().close)
            for command in self._commands:
                ends.callback(command.stop)


class Command:
    """One running command; its pid is its process group."""

    def __init__(self, host: CommandHost, pid: int, log_path: Path) -> None:
        self._host = host
        self.pid = pid
        self.log_path = log_path
        self._stopped = False
        self._oom = OomWatch()

    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it. Raises HostLost."""
        return self._host.exit_code(self.pid)

    def wait(self, timeout_s: float) -> int:
        """The exit code. Raises TimeoutError, HostLost."""
        deadline = time.monotonic() + timeout_s
        while (code := self.exit_code()) is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"still running after {number(timeout_s)} s")
            time.sleep(POLL_S)
        return code

    def finish(self, timeout_s: float, grace_s: float = 10.0) -> int:
        """The exit code; nothing of the command's group is left, whatever happened. Raises TimeoutError, HostLost."""
        try:
            return self.wait(timeout_s)
        finally:
            self.stop(grace_s)

    def ended_by_oom_killer(self, code: int) -> bool:
        """Whether the kernel took this command for its memory."""
        return self._oom.killed(code)

    def stop(self, grace_s: float = 10.0) -> None:
        """End the whole group: SIGTERM, then SIGKILL. Idempotent; collects the zombie."""
        if self._stopped:
            return
        kill_group(self.pid, grace_s)
        self._stopped = True  # not before: an interrupt in between leaves it to be stopped again
        with contextlib.suppress(EngineLost):
            self._host.exit_code(self.pid)

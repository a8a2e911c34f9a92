"""`tuner` processes with the fake engine of the tests, forked from one that has imported everything: starting one costs no second of CPU.

They are processes like any other: with their own process group, arguments, environment, working directory and log. What ends one does not
touch the others.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from tuner.engine.forking import die_with_parent

ROOT = Path(__file__).resolve().parents[2]


class ForkedTuner:
    """One process. `folder` is its working directory."""

    def __init__(self, pid: int, folder: Path, exit_file: Path) -> None:
        self.pid = pid
        self.folder = folder
        self._exit_file = exit_file
        try:
            self._process: psutil.Process | None = psutil.Process(pid)
        except psutil.NoSuchProcess:
            self._process = None

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.is_running()

    @property
    def exit_code(self) -> int | None:
        """None where a signal ended it, or it runs."""
        return int(self._exit_file.read_text()) if self._exit_file.exists() else None

    def send(self, sent: signal.Signals) -> None:
        if self._process is not None and self.alive:
            self._process.send_signal(sent)

    def wait(self, timeout_s: float = 60.0) -> None:
        """Raises AssertionError."""
        deadline = time.monotonic() + timeout_s
        while self.alive:
            assert time.monotonic() < deadline, f"process {self.pid} does not end: {self.log()}"
            time.sleep(0.02)

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-2000:]


class TunerForks:
    """Starts them. Close it; what it started ends with it, or with this process."""

    def __init__(self) -> None:
        code = "from bench.lib.forked_tuner import serve; serve()"
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        self._server = subprocess.Popen([sys.executable, "-c", code], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._count = 0

    def start(self, arguments: list[str], folder: Path, env: Mapping[str, str]) -> ForkedTuner:
        assert self._server.stdin is not None and self._server.stdout is not None
        self._count += 1
        exit_file = folder / f"exit-{self._count}"
        asked = {"arguments": arguments, "folder": str(folder), "env": dict(env), "exit_file": str(exit_file)}
        self._server.stdin.write(json.dumps(asked) + "\n")
        self._server.stdin.flush()
        return ForkedTuner(int(self._server.stdout.readline()), folder, exit_file)

    def close(self) -> None:
        self._server.communicate()


def serve() -> None:
    """The process that forks: one line of JSON for each, answered with its process id."""
    import tests.tuner.cli.held_tuner
    import tuner.cli.search
    import tuner.cli.worker
    import tuner.fleet.machine
    import tuner.fleet.worker
    import tuner.search.running  # noqa: F401  # each of these takes long

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # none is left as a zombie
    server = os.getpid()
    for line in sys.stdin:
        asked = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _run(asked, server, tests.tuner.cli.held_tuner.main)
        print(pid, flush=True)


def _run(asked: dict[str, Any], server: int, main: Any) -> None:
    """In the child of `server`; does not return."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    die_with_parent(server)
    os.setsid()
    os.chdir(asked["folder"])
    os.environ.update(asked["env"])
    for descriptor, name, flags in ((0, os.devnull, os.O_RDONLY), (1, "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)):
        os.dup2(os.open(name, flags, 0o644), descriptor)
    os.dup2(1, 2)
    sys.argv = ["tuner", *asked["arguments"]]
    code = 1
    try:
        main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0
    except BaseException:  # noqa: BLE001  # whatever it is goes into the log, and the child must not return
        traceback.print_exc()
    Path(asked["exit_file"]).write_text(str(code))
    os._exit(code)

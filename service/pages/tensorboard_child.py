"""TensorBoard as a child of the service: on a free loopback port, started when somebody first asks, again when it has died."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from profiles.errors import ProfileError
from profiles.tensorboard import command
from service.answers.tensorboard_links import MOUNT

_AGAIN_AFTER_S = 5.0
_GRACE_S = 5.0
_PATIENCE_S = 2.0
_STARTING_FOR_S = 120.0
_SAID = 2000  # bytes of its last words
_AT_ONCE = 24  # requests passed on; fewer than its own limit, so that it can always be asked whether it lives
_DIE_WITH_PARENT = """import os, sys
from tuner.engine.forking import die_with_parent
die_with_parent(int(sys.argv[1]))
os.execv(sys.argv[2], sys.argv[2:])
"""


class TensorBoardChild:
    """`problem` says in one line why it does not run; empty while it does or starts. `port`: of its last start, 0 before."""

    def __init__(self, logdir: Path) -> None:
        self._logdir = logdir
        self._process: subprocess.Popen[bytes] | None = None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # as long as the child
        self.port = 0
        self._started_at = 0.0
        self._answered = False
        self._lock = asyncio.Lock()
        self._passed_on = 0
        self.problem = ""

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    async def address(self, client: httpx.AsyncClient) -> str | None:
        """Its base URL once it answers, None until then."""
        async with self._lock:
            if self.pid is None and time.monotonic() - self._started_at >= _AGAIN_AFTER_S:
                self._start()
            if self.pid is None:
                return None
            if not self._answered:
                self._answered = await self._answers(client)
            return f"http://127.0.0.1:{self.port}" if self._answered else None

    def take(self) -> bool:
        """Whether one more request may be passed on; then `give` has to be called when it was answered."""
        if self._passed_on >= _AT_ONCE:
            return False
        self._passed_on += 1
        return True

    def give(self) -> None:
        self._passed_on -= 1

    async def look(self, client: httpx.AsyncClient) -> None:
        """After a request that took too long: end it where it hangs altogether; it is started again when somebody asks."""
        async with self._lock:
            if self.pid is not None and not await self._answers(client) and self._process is not None:
                self._answered = False
                await asyncio.to_thread(_end, self._process)

    def close(self) -> None:
        """Ends it with all that it started."""
        if self._process is not None:
            _end(self._process)
        self._log.close()

    def _start(self) -> None:
        if self._process is not None:  # it died by itself; what it started may still run
            self.problem = f"TensorBoard ended with code {self._process.poll()}: {self._last_words()}"
            _end(self._process)
        self.port, self._answered, self._started_at = _free_port(), False, time.monotonic()
        if not self._logdir.is_dir():
            self.problem = "the folder of profiles does not exist yet; a search with --profile makes it"
            return
        try:
            words = [*command(self._logdir, self.port, path_prefix=MOUNT), "--load_fast=false", "--reload_interval=15"]
        except ProfileError as error:
            self.problem = str(error)
            return
        self._log.seek(0)
        self._log.truncate()
        quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        bound = [sys.executable, "-c", _DIE_WITH_PARENT, str(os.getpid()), *words]
        self._process = subprocess.Popen(
            bound, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log, env=quiet, start_new_session=True
        )

    async def _answers(self, client: httpx.AsyncClient) -> bool:
        try:
            answer = await client.get(f"http://127.0.0.1:{self.port}{MOUNT}/data/environment", timeout=_PATIENCE_S)
        except httpx.HTTPError:
            if time.monotonic() - self._started_at > _STARTING_FOR_S and self._process is not None:
                _end(self._process)
            return False
        self.problem = ""
        return answer.status_code == httpx.codes.OK

    def _last_words(self) -> str:
        length = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, length - _SAID))
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return lines[-1][:200] if lines else "it said nothing"


def _end(process: subprocess.Popen[bytes]) -> None:
    """The whole process group: first asked, then made to."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])

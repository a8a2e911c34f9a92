"""What runs on a Ray node: an actor with a launcher of that machine in it, so that an engine there has the host, the wire and the failures
of an engine here. Our end: ray_engine.py. Does not import Ray: a worker process of Ray has it loaded.

Exceptions travel as values (Failed): Ray would wrap them, and an exception with arguments of its own does not survive pickling.
"""

from __future__ import annotations

import os
import platform
import shutil
import socket
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from tuner.core.contract import EngineSession, EngineSettings, Launcher, LiveSettings, LoadPlan, ProfileResult, ProfileTarget, StartReport
from tuner.core.errors import BadInput, EngineLost, FailureClass, TrialFailed
from tuner.engine.environment import package_version
from tuner.engine.on_slice import slice_environment
from tuner.engine.protocol import PROTOCOL_VERSION

MOST_LOG_BYTES = 1 << 20  # of one file, in one answer
LOGS = "logs"  # the concurrency group of `logs_since`, which answers while a window is measured


class MakeLauncher(Protocol):
    """Makes the launcher of a node; pickled, so a function of a module or a partial of one."""

    def __call__(self, log_dir: Path) -> Launcher: ...


def local_launcher(log_dir: Path, *, python: str | None, platform: str) -> Launcher:
    """The local launcher of the node. `python`: the node's, None for the one that runs the actor. Raises BadInput."""
    from tuner.launchers.local import LocalLauncher

    return LocalLauncher(log_dir=log_dir, python=python, platform=platform)


@dataclass(frozen=True)
class NodeProcess:
    """The actor's process. `tuner`: the release of this package; `protocol`: the engine protocol that it speaks."""

    pid: int
    host: str
    node_id: str
    tuner: str | None
    python: str
    protocol: int


@dataclass(frozen=True)
class Done:
    """`report`, `phases` and `generates`: of the session as it is now."""

    value: Any
    report: StartReport | None = None  # None: there is no session
    phases: tuple[str, ...] = ()
    generates: bool = False


@dataclass(frozen=True)
class Failed:
    """A BadInput where `failure` is None; an EngineLost where `lost`, else a TrialFailed."""

    failure: FailureClass | None
    message: str
    log_excerpt: str = ""
    lost: bool = False

    def error(self) -> BadInput | TrialFailed:
        if self.failure is None:
            return BadInput(self.message)
        return (EngineLost if self.lost else TrialFailed)(self.failure, self.message, self.log_excerpt)


class EngineActor:
    """One engine at a time. Not thread-safe, apart from `logs_since`."""

    def __init__(self, make: MakeLauncher, group: str | None = None) -> None:
        """`group`: the name of the placement group whose hosts the engines span; None: they are on this host."""
        _undo_rays_thread_limit()
        self._spans_hosts = group is not None
        if group is not None:
            import ray

            os.environ.update(slice_environment(group, ray.get_runtime_context().gcs_address))
        self._make = make
        self._folder = Path(tempfile.mkdtemp(prefix="tuner-ray-"))
        self._launcher: Launcher | None = None
        self._session: EngineSession | None = None

    def describe(self) -> NodeProcess:
        import ray

        node = ray.get_runtime_context().get_node_id()
        return NodeProcess(
            os.getpid(), socket.gethostname(), node, package_version("vllm-tpu-tuner"), platform.python_version(), PROTOCOL_VERSION
        )

    def open(self, settings: EngineSettings, timeout_s: float) -> Done | Failed:
        def start() -> None:
            if self._launcher is None:
                self._launcher = self._make(self._folder / "logs")
            self._session = self._launcher.open(settings, timeout_s)

        return self._answer(start)

    def measure(self, method: str, live: LiveSettings, plan: LoadPlan, timeout_s: float) -> Done | Failed:
        """`method`: warm_up, measure, answer or generate, of the session."""
        return self._answer(lambda: getattr(self._session, method)(live, plan, timeout_s))

    def profile(self, live: LiveSettings, plan: LoadPlan, names: tuple[str, str], phase: str, timeout_s: float) -> Done | Failed:
        """`names`: run and session. The value is [(ProfileResult, the file's bytes)]: the logdir is on another machine."""

        def capture() -> list[tuple[ProfileResult, bytes]]:
            assert self._session is not None
            target = ProfileTarget(self._folder / "profiles", *names)
            found = self._session.profile(live, plan, target, phase=phase, timeout_s=timeout_s)
            return [(replace(result, path=Path(result.path.name)), result.path.read_bytes()) for result in found]

        try:
            return self._answer(capture)
        finally:
            shutil.rmtree(self._folder / "profiles", ignore_errors=True)

    def close_session(self) -> Done | Failed:
        def end() -> None:
            session, self._session = self._session, None
            if session is not None:
                session.close()

        return self._answer(end)

    def close(self) -> None:
        """Leaves no engine and no file."""
        if self._launcher is not None:
            self._launcher.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def logs_since(self, offsets: Mapping[str, int]) -> dict[str, bytes]:
        """What was written since, by the log's name: at most MOST_LOG_BYTES of each."""
        found = {}
        for path in sorted((self._folder / "logs").glob("*.log")):
            with path.open("rb") as log:
                log.seek(offsets.get(path.name, 0))
                if text := log.read(MOST_LOG_BYTES):
                    found[path.name] = text
        return found

    def _answer(self, do: Callable[[], Any]) -> Done | Failed:
        try:
            value = do()
        except BadInput as error:
            return Failed(None, str(error))
        except TrialFailed as error:
            return Failed(error.failure, str(error), error.log_excerpt, lost=isinstance(error, EngineLost))
        if self._session is None:
            return Done(value)
        phases = () if self._spans_hosts else self._session.profile_phases  # a profile is of the engine's own process
        return Done(value, self._session.report, phases, getattr(self._session, "generates", False))


def _undo_rays_thread_limit() -> None:
    """Ray sets OMP_NUM_THREADS to 1 for an actor without CPUs of its own, which would slow the engine; what the node's raylet was started
    with (our parent) and what a runtime_env says stays."""
    import ray

    name = "OMP_NUM_THREADS"
    of_the_node = Path(f"/proc/{os.getppid()}/environ").read_bytes().split(b"\0")
    given = ray.get_runtime_context().runtime_env.get("env_vars") or {}
    if name not in given and not any(item.startswith(f"{name}=".encode()) for item in of_the_node):
        os.environ.pop(name, None)

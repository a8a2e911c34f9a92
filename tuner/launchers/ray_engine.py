"""Our end of an actor on a Ray node (ray_actor.py): started where the resources are, waited for with its logs fetched meanwhile, and ended
with everything it started.

Nothing outlives anything else: an actor ends with this process (Ray ends the actors of a driver that is gone), with its node, or killed;
the engine's host ends with the actor, its engines with the host (engine/forking.py).
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError

from tuner.core.errors import EngineLost, FailureClass, TrialFailed
from tuner.core.numbers import number
from tuner.engine.environment import package_version
from tuner.engine.processes import GRACE_S, log_excerpt
from tuner.engine.protocol import PROTOCOL_VERSION
from tuner.launchers.ray_actor import LOGS, Done, EngineActor, Failed, MakeLauncher, NodeProcess
from tuner.launchers.ray_cluster import Resources, alive_nodes, shown
from tuner.launchers.ray_slices import SliceGroup

LOG_EVERY_S = 1.0
_OPTIONS = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}  # resources that Ray takes as options of their own


class ActorLost(EngineLost):
    """The actor or its node is gone: another one may do what was asked."""


class EngineOnNode:
    """An actor and what is known of it. Not thread-safe."""

    def __init__(self, make: MakeLauncher, wanted: Resources, log_dir: Path, timeout_s: float, group: SliceGroup | None = None) -> None:
        """Waits until a node has the resources free; of a slice, its `group`, which ends with this, has them. Raises TrialFailed (TIMEOUT
        where none has, STARTUP for another release there) or ActorLost."""
        self.wanted = dict(wanted)
        self._log_dir = log_dir
        self._offsets: dict[str, int] = {}
        self._asked_logs: Any = None
        self._node: NodeProcess | None = None
        self._ended = False
        self._group = group
        options = _options(wanted) if group is None else group.options()
        remote = ray.remote(**options, max_restarts=0, max_concurrency=1, concurrency_groups={LOGS: 1})
        self._actor = remote(EngineActor).remote(make, None if group is None else group.name)
        with contextlib.ExitStack() as undo:
            undo.callback(self.end)
            self._node = self._greeted(timeout_s)
            undo.pop_all()

    def _greeted(self, timeout_s: float) -> NodeProcess:
        try:
            node: NodeProcess = self._wait(self._actor.describe.remote(), timeout_s, FailureClass.STARTUP, "starting")
        except TimeoutError as error:
            message = f"no Ray node had {shown(self.wanted)} free within {number(timeout_s)} s"
            raise TrialFailed(FailureClass.TIMEOUT, message) from error
        ours = package_version("vllm-tpu-tuner")
        if (node.protocol, node.tuner) != (PROTOCOL_VERSION, ours):
            theirs = f"the Ray node {node.host} has vllm-tpu-tuner {node.tuner} and this side {ours}"
            raise TrialFailed(FailureClass.STARTUP, f"{theirs}: install the same release on both, or ship it with --ray-runtime-env")
        return node

    @property
    def node(self) -> NodeProcess:
        assert self._node is not None
        return self._node

    @property
    def alive(self) -> bool:
        return not self._ended

    @property
    def is_kept(self) -> bool:
        """Whether the next engine can have the actor. A slice is given back with each: it may have lost a host meanwhile."""
        return not self._ended and self._group is None

    def ask(self, method: str, *arguments: Any, timeout_s: float, failure: FailureClass = FailureClass.ENGINE_CRASH) -> Done:
        """Its answer. Raises BadInput, TrialFailed (the engine goes on), EngineLost (it is gone) or ActorLost (of class `failure`)."""
        if self._ended:
            raise EngineLost(failure, "the engine on the Ray node was closed")
        try:
            answer: Done | Failed = self._wait(getattr(self._actor, method).remote(*arguments), timeout_s, failure, method)
        except TimeoutError as error:
            self.end(at_once=True)
            message = f"the Ray actor on {self.node.host} did not answer {method} within {number(timeout_s)} s"
            raise EngineLost(FailureClass.TIMEOUT, message, self._excerpt()) from error
        if isinstance(answer, Failed):
            raise answer.error()
        return answer

    def _wait(self, ref: Any, timeout_s: float, failure: FailureClass, doing: str) -> Any:
        """Raises TimeoutError or ActorLost; the actor has ended in the latter case."""
        deadline = time.monotonic() + timeout_s
        try:
            while not ray.wait([ref], timeout=max(0.0, min(LOG_EVERY_S, deadline - time.monotonic())))[0]:
                self._fetch_logs()
                if time.monotonic() >= deadline:
                    break
            answer = ray.get(ref, timeout=0)
        except GetTimeoutError as error:
            raise TimeoutError from error
        except RayError as error:
            self.end(at_once=True)
            raise ActorLost(failure, f"{self._what_was_lost(error)} while {doing}", self._excerpt() or str(error)) from error
        except BaseException:  # interrupted: what it does now nobody waits for
            self.end(at_once=True)
            raise
        self._fetch_logs(wait_s=LOG_EVERY_S)
        return answer

    def _what_was_lost(self, error: RayError) -> str:
        if self._node is None:
            said = str(error).strip().splitlines() or [type(error).__name__]
            return f"the Ray actor did not start ({said[-1].strip()[:200]})"
        if not any(node.node_id == self._node.node_id and node.answers() for node in alive_nodes()):
            return f"the Ray node {self._node.host} ({self._node.node_id[:8]}) was lost"
        return f"the Ray actor on {self._node.host} (process {self._node.pid}) was ended"

    def _fetch_logs(self, wait_s: float = 0.0) -> None:
        """Add what the node's logs have gained to ours; one question at a time, never waited for longer than `wait_s`."""
        if self._node is None:
            return
        if self._asked_logs is None:
            self._asked_logs = self._actor.logs_since.options(concurrency_group=LOGS).remote(dict(self._offsets))
        if not ray.wait([self._asked_logs], timeout=wait_s)[0]:
            return
        asked, self._asked_logs = self._asked_logs, None
        try:
            gained: dict[str, bytes] = ray.get(asked)
        except RayError:  # the actor is gone: whoever waits for an answer of it is told, and what it answered before is good
            return
        for name, text in gained.items():
            self._log_dir.mkdir(parents=True, exist_ok=True)
            with (self._log_dir / name).open("ab") as log:
                log.write(text)
            self._offsets[name] = self._offsets.get(name, 0) + len(text)

    def _excerpt(self) -> str:
        """The end of the newest log that was fetched."""
        logs = sorted(self._log_dir.glob("*.log"), key=lambda path: path.stat().st_mtime)
        return log_excerpt(logs[-1]) if logs else ""

    def end(self, *, at_once: bool = False) -> None:
        """End the actor and everything on its node, in good order unless `at_once`. Idempotent."""
        if self._ended:
            return
        self._ended = True
        try:
            if not at_once and self._node is not None:
                with contextlib.suppress(RayError):
                    ray.wait([self._actor.close.remote()], timeout=2 * GRACE_S)
        finally:
            ray.kill(self._actor, no_restart=True)
            if self._group is not None:
                self._group.remove()


def _options(wanted: Resources) -> dict[str, Any]:
    """Ray's options of an actor with these resources."""
    own = {_OPTIONS[name]: count for name, count in wanted.items() if name in _OPTIONS}
    return {"num_cpus": 0, **own, "resources": {name: count for name, count in wanted.items() if name not in _OPTIONS}}

"""The `ray` launcher: one actor per engine, on a node of a Ray cluster that has the chips; on the node everything is as with `local`.

docs/ray.md says what a cluster has to have.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tuner.core.contract import (
    LIVE_SETTINGS,
    Answered,
    EngineSettings,
    Json,
    LiveSettings,
    LoadPlan,
    ProfileResult,
    ProfileTarget,
    StartReport,
    WindowResult,
)
from tuner.core.errors import EngineLost, FailureClass, TrialFailed
from tuner.launchers.ray_actor import Done, MakeLauncher, local_launcher
from tuner.launchers.ray_cluster import RayPlace, Resources, alive_nodes, connect, nobody_has, wanted_resources
from tuner.launchers.ray_engine import ActorLost, EngineOnNode
from tuner.launchers.ray_slices import SliceGroup, needs_slice
from tuner.launchers.scratch import publish, scratch_logdir

GRACE_S = 60.0  # above what the node's own launcher gives an engine before it is lost


class RayLauncher:
    """Owns its actors; close it. The actor of a closed session is kept for the next engine of its size: its host has vLLM imported."""

    name = "ray"
    live_fields = LIVE_SETTINGS

    def __init__(
        self, place: RayPlace, *, log_dir: Path, python: str | None = None, platform: str = "tpu", make: MakeLauncher | None = None
    ) -> None:
        """`python` is the nodes'. `make` is what an actor holds: the local launcher. Raises BadInput where there is no cluster."""
        connect(place)
        self._place = place
        self._platform = platform
        self._log_dir = log_dir
        self._make: MakeLauncher = make or partial(local_launcher, python=python, platform=platform)
        self._engines: list[EngineOnNode] = []
        self._idle: list[EngineOnNode] = []
        self._started = 0

    def open(self, settings: EngineSettings, timeout_s: float) -> RaySession:
        """Raises TrialFailed. Where the node is lost meanwhile, another one is tried once."""
        try:
            return self._start(settings, timeout_s)
        except ActorLost:
            return self._start(settings, timeout_s)

    def _start(self, settings: EngineSettings, timeout_s: float) -> RaySession:
        engine = self._engine(settings.tensor_parallel_size, timeout_s)
        try:
            opened = engine.ask("open", settings, timeout_s, timeout_s=timeout_s + GRACE_S, failure=FailureClass.STARTUP)
        except BaseException:
            self._done_with(engine)  # perhaps only the engine did not start
            raise
        return RaySession(engine, opened, partial(self._done_with, engine))

    def _done_with(self, engine: EngineOnNode) -> None:
        if engine.is_kept:
            self._idle.append(engine)
        else:
            engine.end()

    def _engine(self, devices: int, timeout_s: float) -> EngineOnNode:
        wanted = wanted_resources(self._place, self._platform, devices)
        if needs_slice(self._place, self._platform, devices, alive_nodes()):
            return self._on_slice(devices, timeout_s)
        while self._idle:
            engine = self._idle.pop()
            if engine.wanted == dict(wanted):
                return engine
            engine.end()  # of another size; it may hold the chips that are wanted
        if (complaint := nobody_has(wanted, alive_nodes())) is not None:
            raise TrialFailed(FailureClass.STARTUP, complaint)
        return self._started_one(wanted, timeout_s)

    def _on_slice(self, devices: int, timeout_s: float) -> EngineOnNode:
        while self._idle:
            self._idle.pop().end()  # it may hold a chip of the slice
        group = SliceGroup(devices, timeout_s)
        with contextlib.ExitStack() as undo:
            undo.callback(group.remove)
            engine = self._started_one(group.resources, timeout_s, group)
            undo.pop_all()
        return engine

    def _started_one(self, wanted: Resources, timeout_s: float, group: SliceGroup | None = None) -> EngineOnNode:
        self._started += 1
        self._engines = [engine for engine in self._engines if engine.alive]
        self._engines.append(EngineOnNode(self._make, wanted, self._log_dir / f"ray-{self._started:03d}", timeout_s, group))
        return self._engines[-1]

    def close(self) -> None:
        """Leaves no actor, and no process on any node. The connection to the cluster stays until this process ends."""
        self._idle.clear()
        while self._engines:
            self._engines[-1].end()
            self._engines.pop()  # not before: an interrupt in between leaves it to be ended again


class RaySession:
    """One engine on a node; see tuner.core.contract.EngineSession."""

    def __init__(self, engine: EngineOnNode, opened: Done, closed: Callable[[], None]) -> None:
        self.engine = engine
        self._closed = closed
        self._open = True
        self._keep(opened)

    def _keep(self, answer: Done) -> Any:
        if answer.report is not None:
            where = {"ray_node": self.engine.node.node_id, "ray_host": self.engine.node.host}
            self._report = replace(answer.report, details={**answer.report.details, **where})
            self._phases = answer.phases
            self.generates = answer.generates
        return answer.value

    @property
    def report(self) -> StartReport:
        return self._report

    def warm_up(self, live: LiveSettings, plan: LoadPlan, timeout_s: float) -> Json:
        warmed: Json = self._ask("warm_up", live, plan, timeout_s)
        return warmed

    def measure(self, live: LiveSettings, plan: LoadPlan, timeout_s: float) -> WindowResult:
        window: WindowResult = self._ask("measure", live, plan, timeout_s)
        return window

    def answer(self, live: LiveSettings, plan: LoadPlan, timeout_s: float) -> Sequence[Answered]:
        answered: Sequence[Answered] = self._ask("answer", live, plan, timeout_s)
        return answered

    def generate(self, live: LiveSettings, plan: LoadPlan, timeout_s: float) -> dict[str, tuple[int, ...]]:
        """As the local launcher's."""
        tokens: dict[str, tuple[int, ...]] = self._ask("generate", live, plan, timeout_s)
        return tokens

    def _ask(self, method: str, live: LiveSettings, plan: LoadPlan, timeout_s: float) -> Any:
        self._check_open()
        return self._keep(self.engine.ask("measure", method, live, plan, timeout_s, timeout_s=timeout_s + 2 * GRACE_S))

    @property
    def profile_phases(self) -> tuple[str, ...]:
        return self._phases

    def profile(
        self, live: LiveSettings, plan: LoadPlan, target: ProfileTarget, *, phase: str, timeout_s: float
    ) -> Sequence[ProfileResult]:
        """The files are brought here, into the logdir."""
        self._check_open()
        names = (target.run, target.session)
        found = self._keep(self.engine.ask("profile", live, plan, names, phase, timeout_s, timeout_s=timeout_s + 4 * GRACE_S))
        results = []
        with scratch_logdir(target.logdir) as scratch:
            scratch.mkdir(parents=True, exist_ok=True)
            for result, content in found:
                (scratch / result.path.name).write_bytes(content)
                results.append(replace(result, path=publish(scratch / result.path.name, target)))
        return results

    def _check_open(self) -> None:
        if not self._open:
            raise EngineLost(FailureClass.ENGINE_CRASH, "the engine was closed")

    def close(self) -> None:
        if not self._open:
            return
        self._open = False
        if self.engine.alive:
            with contextlib.suppress(TrialFailed):  # then the actor has ended, with the engine
                self.engine.ask("close_session", timeout_s=GRACE_S)
        self._closed()

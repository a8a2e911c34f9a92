"""Captures a profile of one phase: sends a load until the engine's steps are all of that phase, traces N of them, then ends the load.

Runs inside the engine process, never during a measured window.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from profiles.links import XPLANE_SUFFIX
from profiles.session_plan import PhasePlan, PhaseProgress, composition, profile_options
from tuner.core.contract import PlannedRequest, StepRecord
from tuner.engine.messages import Profile, Profiled
from tuner.workload.client import TokenBatch, WindowTimeout
from tuner.workload.phases import PhaseLoad, nth

SETTLED_STEPS = 6  # the trace starts after so many steps of the phase in a row, none of which compiled anything
_MOST_SETTLING_STEPS = 2000
_WAITING_AT_MOST = 2  # arriving requests that are unfinished: where the engine cannot schedule them at once, they must not pile up


class RecordedEngine(Protocol):
    """What profiling needs of an engine (SteppedLlmEngine)."""

    steps: list[StepRecord]

    def add(self, request: PlannedRequest) -> None: ...

    def step(self) -> Sequence[TokenBatch]: ...

    def abort(self, request_ids: Sequence[str]) -> None: ...


class Feeder:
    """Steps an engine under a phase's load."""

    def __init__(self, engine: RecordedEngine, load: PhaseLoad) -> None:
        self._engine = engine
        self._load = load
        self._running: set[str] = set()
        self._passing: set[str] = set()
        self._sent = 0
        self._arrived = 0

    def step(self) -> list[StepRecord]:
        """One step; what it scheduled (nothing, one record, or several where the engine is asynchronous)."""
        while len(self._running) < self._load.in_flight:
            self._running.add(self._send(nth(self._load.standing, self._sent)))
            self._sent += 1
        if self._load.arriving and len(self._passing) < _WAITING_AT_MOST:
            self._passing.add(self._send(nth(self._load.arriving, self._arrived)))
            self._arrived += 1
        seen = len(self._engine.steps)
        for batch in self._engine.step():
            if batch.finished:
                self._running.discard(batch.request_id)
                self._passing.discard(batch.request_id)
        return self._engine.steps[seen:]

    def _send(self, request: PlannedRequest) -> str:
        self._engine.add(request)
        return request.request_id

    def abort(self) -> None:
        """End what still runs."""
        self._engine.abort(sorted(self._running | self._passing))


def settle(feeder: Feeder, load: PhaseLoad, compilations: Callable[[], int], deadline: float) -> int:
    """Step until the phase holds and everything it needs is compiled; returns the steps that took. Raises WindowTimeout."""
    calm, compiled = 0, compilations()
    for count in range(_MOST_SETTLING_STEPS):
        if calm >= SETTLED_STEPS:
            return count
        records = feeder.step()
        before, compiled = compiled, compilations()
        as_wanted = all(composition(record).phase == load.phase for record in records) and compiled == before
        calm = calm + len(records) if as_wanted else 0
        if time.perf_counter() > deadline:
            break
    raise WindowTimeout(f"the engine did not come into phase {load.phase} in {len(load.standing)} requests of the workload")


def capture_phase(engine: RecordedEngine, message: Profile, compilations: Callable[[], int]) -> Profiled:
    """Bring the engine into the phase, trace it, let go. `compilations` counts the programs compiled so far.

    Raises WindowTimeout where the phase is not reached or not held long enough, RuntimeError where the profiler wrote nothing.
    """
    import jax

    load, platform = message.load, jax.default_backend()
    plan = PhasePlan((load.phase,), message.steps, message.max_bytes)
    progress, feeder = PhaseProgress(plan, platform), Feeder(engine, load)
    deadline = time.perf_counter() + message.timeout_s
    run_folder = Path(message.logdir) / message.run
    recorded: list[StepRecord] = []
    stop_trace: Any = jax.profiler.stop_trace
    try:
        settling = settle(feeder, load, compilations, deadline)
        compiled = compilations()
        start_trace(run_folder, platform, message.session)
        try:
            while not progress.finished() and time.perf_counter() < deadline:
                fresh = feeder.step()
                recorded += fresh
                progress.note(composition(record) for record in fresh)
        finally:
            stop_trace()
    finally:
        feeder.abort()
    path = name_session(run_folder, message.session)
    return Profiled(
        path=str(path),
        host=path.name.removesuffix(XPLANE_SUFFIX),
        size_bytes=path.stat().st_size,
        steps=tuple(recorded),
        compilations=compilations() - compiled,
        settling_steps=settling,
    )


def start_trace(run_folder: Path, platform: str, session: str) -> None:
    """Start JAX's profiler with the options of `profiles.session_plan`."""
    import jax

    options: Any = jax.profiler.ProfileOptions()
    for name, value in profile_options(platform, session).items():
        setattr(options, name, value)
    jax.profiler.start_trace(str(run_folder), profiler_options=options)


def name_session(run_folder: Path, session: str) -> Path:
    """Give the newest session its asked name (TensorBoard's layout). Raises RuntimeError if no profile was written."""
    sessions = run_folder / "plugins" / "profile"
    profiles = sorted(sessions.glob(f"*/*{XPLANE_SUFFIX}"), key=lambda path: path.stat().st_mtime)
    if not profiles:
        raise RuntimeError(f"the profiler wrote no profile below {sessions}")
    if profiles[-1].parent.name == session:
        return profiles[-1]
    return profiles[-1].parent.rename(sessions / session) / profiles[-1].name

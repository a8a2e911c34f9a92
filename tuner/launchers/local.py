"""The `local` launcher: our own engine host on this machine. One host per launcher, one forked process per engine."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from profiles.capture import PhasePlan
from tuner.core.contract import (
    ABLATION_ARM,
    ARM_DEFAULT,
    ARM_PAGE_ALIGNED,
    ARMS,
    LIVE_SETTINGS,
    CaptureResult,
    EngineSettings,
    Json,
    LiveSettings,
    LoadPlan,
    PlannedRequest,
    RequestRecord,
    StartReport,
    StepRecord,
    WindowResult,
)
from tuner.core.errors import BadInput, FailureClass, TrialFailed
from tuner.engine.client import EngineHost, EngineProcess
from tuner.engine.environment import engine_environment, resolve_platform
from tuner.serving.engine_args import engine_args
from tuner.workload.phases import PhaseLoad, phase_load, possible_phases

GRACE_S = 30.0
PROFILE = PhasePlan()


class LocalLauncher:
    """Owns the engine host. Close it; it leaves no process behind."""

    name = "local"
    live_fields = LIVE_SETTINGS

    def __init__(self, *, log_dir: Path, python: str | None = None, platform: str = "auto") -> None:
        try:
            self.platform = resolve_platform(platform)
        except ValueError as error:
            raise BadInput(str(error)) from error
        self._python = python
        self._log_dir = log_dir
        self._host: EngineHost | None = None

    def open(self, settings: EngineSettings, timeout_s: float) -> LocalSession:
        """Start an engine. Raises TrialFailed with class and log excerpt."""
        args = engine_args(settings, self.platform)
        env = engine_environment(self.platform, offline=Path(settings.model_path).is_dir())
        for attempt in (1, 2):  # a host that died with an earlier engine is replaced once
            try:
                if self._host is None:
                    self._host = EngineHost(self._python, env, self._log_dir)
                engine, report = self._host.start_engine(args, {}, timeout_s)
                return LocalSession(engine, report)
            except TrialFailed as error:
                if "engine host" not in str(error) or attempt == 2:
                    raise
                self._drop_host()
        raise AssertionError("unreachable")

    @property
    def host_pid(self) -> int | None:
        """The engine host's process id, None while none runs."""
        return self._host.pid if self._host is not None else None

    def _drop_host(self) -> None:
        if self._host is not None:
            self._host.close()
            self._host = None

    def close(self) -> None:
        self._drop_host()


class LocalSession:
    """One engine; see launchers.base.EngineSession."""

    def __init__(self, engine: EngineProcess, report: Json) -> None:
        self._engine = engine
        self._report = _start_report(report)

    @property
    def report(self) -> StartReport:
        return self._report

    @property
    def pid(self) -> int:
        return self._engine.pid

    @property
    def alive(self) -> bool:
        """False once the engine was closed or lost."""
        return self._engine.alive

    def warm_up(self, live: LiveSettings, plan: LoadPlan, timeout_s: float) -> Json:
        window = self.measure(live, replace(plan, stop_when_saturated=False), timeout_s)  # every program has to be compiled
        if not self._report.effective.get("kv_write"):  # chosen by the engine at its first step
            self._report = _start_report(self._engine.call("report", {}, GRACE_S))
        return {"seconds": window.duration_s, "compilations": window.compilations}

    def measure(self, live: LiveSettings, plan: LoadPlan, timeout_s: float) -> WindowResult:
        result = self._send(live, plan, timeout_s)
        return WindowResult(
            requests=tuple(RequestRecord(**{**record, "token_times_s": tuple(record["token_times_s"])}) for record in result["requests"]),
            steps=tuple(StepRecord(*fields) for fields in result["steps"]),
            started_at=result["started_at"],
            duration_s=result["duration_s"],
            compilations=result["compilations"],
            output_digest=result["output_digest"],
            details=result["details"],
            stopped=result["stopped"],
            # A request that arrives during a step is sent after it; where clients are other processes, it would wait in the engine.
            latency_from_arrival=plan.max_concurrency is None,
        )

    def generate(self, live: LiveSettings, plan: LoadPlan, timeout_s: float) -> dict[str, tuple[int, ...]]:
        """Like measure(), but returns the output token ids by request: for checks that settings do not change what is generated."""
        return {name: tuple(ids) for name, ids in self._send(live, plan, timeout_s)["tokens"].items()}

    def _send(self, live: LiveSettings, plan: LoadPlan, timeout_s: float) -> Json:
        self._apply(live)
        return self._engine.call("measure", {"plan": plan_to_json(plan), "timeout_s": timeout_s}, timeout_s + GRACE_S)

    @property
    def profile_phases(self) -> tuple[str, ...]:
        return possible_phases(self._report.effective["max_num_seqs"])

    def profile(
        self, live: LiveSettings, plan: LoadPlan, logdir: Path, run: str, session: str, timeout_s: float, phase: str
    ) -> Sequence[CaptureResult]:
        compiled: Json = self._report.effective
        seqs = live.max_num_seqs or compiled["max_num_seqs"]
        try:
            load = phase_load(phase, plan, live.max_num_batched_tokens, seqs, compiled["max_model_len"])
        except ValueError as error:
            raise TrialFailed(FailureClass.INVALID_CONFIG, str(error)) from error
        self._apply(live)
        # Into a scratch logdir first: a capture that fails half-way must not show up in TensorBoard.
        scratch = logdir / ".partial"
        params = {
            "load": _load_to_json(load),
            "logdir": str(scratch.resolve()),
            "run": run,
            "session": session,
            "timeout_s": timeout_s,
            "steps": PROFILE.steps_per_phase,
            "max_bytes": PROFILE.max_bytes,
        }
        try:
            result = self._engine.call("profile", params, timeout_s + 4 * GRACE_S)
            path = _publish(Path(result["path"]), logdir / run / "plugins" / "profile" / session)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return [
            CaptureResult(
                run=run,
                session=session,
                host=result["host"],
                path=path,
                phase=phase,
                size_bytes=result["size_bytes"],
                steps=tuple(StepRecord(*fields) for fields in result["steps"]),
                details={name: result[name] for name in ("compilations", "settling_steps")} | {"machine": socket.gethostname()},
            )
        ]

    def _apply(self, live: LiveSettings) -> None:
        if live.arm not in (*ARMS, ABLATION_ARM):
            raise TrialFailed(FailureClass.INVALID_CONFIG, f"arm must be one of {', '.join(ARMS)}, got {live.arm!r}")
        compiled: Json = self._report.effective
        params = {
            "page_aligned": live.arm != ARM_DEFAULT,
            "page_wise_kv": live.arm == ARM_PAGE_ALIGNED,
            "max_num_scheduled_tokens": live.max_num_batched_tokens,
            "max_num_running_reqs": live.max_num_seqs or compiled["max_num_seqs"],
        }
        self._engine.call("reconfigure", params, GRACE_S)

    def close(self) -> None:
        self._engine.close()


def _start_report(raw: Json) -> StartReport:
    return StartReport(effective=raw["effective"], environment=raw["environment"], start_s=raw["start_s"], details=raw["details"])


def _publish(capture: Path, session_folder: Path) -> Path:
    """Move a finished capture into TensorBoard's view."""
    session_folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.move(capture, session_folder / capture.name))


def plan_to_json(plan: LoadPlan) -> dict[str, Any]:
    return {
        "requests": _requests_to_json(plan.requests),
        "max_concurrency": plan.max_concurrency,
        "content_hash": plan.content_hash,
        "stop_when_saturated": plan.stop_when_saturated,
    }


def _load_to_json(load: PhaseLoad) -> Json:
    standing, arriving = _requests_to_json(load.standing), _requests_to_json(load.arriving)
    return {"phase": load.phase, "standing": standing, "in_flight": load.in_flight, "arriving": arriving}


def _requests_to_json(requests: Sequence[PlannedRequest]) -> list[list[Any]]:
    return [[*asdict(request).values()] for request in requests]

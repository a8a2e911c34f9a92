"""The `local` launcher: our own engine host on this machine. One host per launcher, one forked process per engine."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from profiles.session_plan import PhasePlan
from tuner.core.contract import (
    ABLATION_ARM,
    ARM_DEFAULT,
    ARM_PAGE_ALIGNED,
    ARMS,
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
from tuner.core.errors import BadInput, FailureClass, TrialFailed
from tuner.engine.client import EngineHost, EngineProcess
from tuner.engine.environment import engine_environment, resolve_platform
from tuner.engine.host_process import HostLost
from tuner.engine.messages import Answer, Answers, Measure, Measured, Nothing, Profile, Profiled, Reconfigure
from tuner.engine.startup import STARTUP, with_import
from tuner.launchers.scratch import publish, scratch_logdir
from tuner.serving.engine_args import engine_args
from tuner.serving.vllm_args import vllm_environment
from tuner.workload.phases import phase_load, possible_phases

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
        self._host_env: Json = {}

    def open(self, settings: EngineSettings, timeout_s: float) -> LocalSession:
        """Start an engine. Raises TrialFailed with class and log excerpt."""
        args = engine_args(settings, self.platform)
        env = engine_environment(self.platform, offline=Path(settings.model_path).is_dir())
        if self.platform == "tpu":
            env |= vllm_environment(settings, self.platform)  # elsewhere what the user has set wins
        env |= settings.env
        if settings.env != self._host_env:  # some are read where modules are imported, which the host does once
            self.close()
            self._host_env = settings.env
        try:
            return self._start(args, env, timeout_s)
        except HostLost:  # it died with an earlier engine, or while importing: replaced once
            self.close()
            return self._start(args, env, timeout_s)

    def _start(self, args: Json, env: dict[str, str], timeout_s: float) -> LocalSession:
        if self._host is None:
            self._host = EngineHost(self._python, env, self._log_dir)
        engine, report = self._host.start_engine(args, {}, timeout_s)
        return LocalSession(engine, report, self._host.import_s)

    @property
    def host_pid(self) -> int | None:
        """The engine host's process id, None while none runs."""
        return self._host.pid if self._host is not None else None

    def close(self) -> None:
        if self._host is not None:
            self._host.close()
            self._host = None  # not before: an interrupt in between leaves it to be closed again


class LocalSession:
    """One engine; see tuner.core.contract.EngineSession."""

    generates = True

    def __init__(self, engine: EngineProcess, report: StartReport, import_s: float) -> None:
        self._engine = engine
        self._report = report
        self._startup = with_import(report.details[STARTUP], import_s)

    @property
    def report(self) -> StartReport:
        return replace(self._report, details={**self._report.details, STARTUP: self._startup})

    @property
    def pid(self) -> int:
        return self._engine.pid

    @property
    def alive(self) -> bool:
        """False once the engine was closed or lost."""
        return self._engine.alive

    def warm_up(self, live: LiveSettings, plan: LoadPlan, timeout_s: float) -> Json:
        window = self._send(live, replace(plan, stop_when_saturated=False), timeout_s)  # every program has to be compiled
        if not self._report.effective.get("kv_write"):  # chosen by the engine at its first step
            self._report = self._engine.ask("report", Nothing(), StartReport, GRACE_S)
        return {"seconds": window.duration_s, "compilations": window.compilations}

    def measure(self, live: LiveSettings, plan: LoadPlan, timeout_s: float) -> WindowResult:
        window = self._send(live, plan, timeout_s)
        return WindowResult(
            requests=window.requests,
            steps=window.steps,
            started_at=window.started_at,
            duration_s=window.duration_s,
            compilations=window.compilations,
            output_digest=window.output_digest,
            details=window.details,
            stopped=window.stopped,
            # A request that arrives during a step is sent after it; where clients are other processes, it would wait in the engine.
            latency_from_arrival=plan.max_concurrency is None,
        )

    def answer(self, live: LiveSettings, plan: LoadPlan, timeout_s: float) -> Sequence[Answered]:
        self._apply(live)
        return self._engine.ask("answer", Answer(plan, timeout_s), Answers, timeout_s + GRACE_S).answers

    def generate(self, live: LiveSettings, plan: LoadPlan, timeout_s: float) -> dict[str, tuple[int, ...]]:
        """Like measure(), but returns the output token ids by request: for checks that settings do not change what is generated."""
        return self._send(live, plan, timeout_s).tokens

    def _send(self, live: LiveSettings, plan: LoadPlan, timeout_s: float) -> Measured:
        self._apply(live)
        return self._engine.ask("measure", Measure(plan, timeout_s), Measured, timeout_s + GRACE_S)

    @property
    def profile_phases(self) -> tuple[str, ...]:
        return possible_phases(self._report.effective["max_num_seqs"])

    def profile(
        self, live: LiveSettings, plan: LoadPlan, target: ProfileTarget, *, phase: str, timeout_s: float
    ) -> Sequence[ProfileResult]:
        compiled: Json = self._report.effective
        seqs = live.max_num_seqs or compiled["max_num_seqs"]
        try:
            load = phase_load(phase, plan, live.max_num_batched_tokens, seqs, compiled["max_model_len"])
        except ValueError as error:
            raise TrialFailed(FailureClass.INVALID_CONFIG, str(error)) from error
        self._apply(live)
        with scratch_logdir(target.logdir) as scratch:
            asked = Profile(
                load=load,
                logdir=str(scratch),
                run=target.run,
                session=target.session,
                timeout_s=timeout_s,
                steps=PROFILE.steps_per_phase,
                max_bytes=PROFILE.max_bytes,
            )
            found = self._engine.ask("profile", asked, Profiled, timeout_s + 4 * GRACE_S)
            path = publish(Path(found.path), target)
        return [
            ProfileResult(
                run=target.run,
                session=target.session,
                host=found.host,
                path=path,
                phase=phase,
                size_bytes=found.size_bytes,
                steps=found.steps,
                details={
                    "compilations": found.compilations,
                    "settling_steps": found.settling_steps,
                    "machine": socket.gethostname(),
                },
            )
        ]

    def _apply(self, live: LiveSettings) -> None:
        if live.arm not in (*ARMS, ABLATION_ARM):
            raise TrialFailed(FailureClass.INVALID_CONFIG, f"arm must be one of {', '.join(ARMS)}, got {live.arm!r}")
        asked = Reconfigure(
            page_aligned=live.arm != ARM_DEFAULT,
            page_wise_kv=live.arm == ARM_PAGE_ALIGNED,
            max_num_scheduled_tokens=live.max_num_batched_tokens,
            max_num_running_reqs=live.max_num_seqs or self._report.effective["max_num_seqs"],
            long_prefill_token_threshold=live.long_prefill_token_threshold,
        )
        self._engine.ask("reconfigure", asked, Nothing, GRACE_S)

    def close(self) -> None:
        self._engine.close()

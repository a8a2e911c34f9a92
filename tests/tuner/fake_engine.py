"""A launcher whose engines do what a test says: measure a given value, crash, hang, compile, refuse to start."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import override

from tests.profiles.builder import model_runs, tpu_xspace
from tuner.core.contract import (
    LIVE_SETTINGS,
    Answered,
    EngineSession,
    EngineSettings,
    Json,
    LiveSettings,
    LoadPlan,
    ProfileResult,
    ProfileTarget,
    StartReport,
    StepRecord,
    WindowResult,
)
from tuner.core.errors import EngineLost, FailureClass
from tuner.core.factors import ADDITIONAL, ENV, LIVE_FACTORS, factors_of
from tuner.engine.environment import fingerprint
from tuner.engine.startup import STARTUP
from tuner.setup.space import Configuration

FOUND = {"platform": "fake", "accelerator": "fake engine", "device_count": 1, "versions": {"vllm": "0"}, "details": {}}


def value_of(configuration: Configuration) -> float:
    """Tokens/s: larger pages and budgets are better, page alignment gains 10 %. Distinct for every configuration."""
    gain = 1.1 if configuration.arm == "page_aligned" else 1.0
    return gain * (100 + configuration.block_size + configuration.max_num_batched_tokens / 10)


PROFILED_STEPS = 9


@cache
def small_xspace() -> bytes:
    """A profile of a small model without any problem; its steps are those of `step_records`."""
    return tpu_xspace(model_runs(steps=PROFILED_STEPS))


def step_records(prefill_fraction: float, count: int = PROFILED_STEPS) -> tuple[StepRecord, ...]:
    """Equal steps of 100 tokens."""
    prefill = int(100 * prefill_fraction)
    return tuple(
        StepRecord(
            start_s=index * 3e-4,
            duration_s=3e-4,
            scheduled_tokens=100,
            padded_tokens=128,
            prefill_tokens=prefill,
            prefill_requests=min(prefill, 1),
            decode_requests=100 - prefill,
        )
        for index in range(count)
    )


@dataclass
class FakeLauncher:
    """The hooks get what is done and how often it was done before (from 0). They raise, or change a result."""

    value: Callable[[Configuration], float] = value_of
    on_open: Callable[[EngineSettings, int], None] | None = None
    on_warm_up: Callable[[Configuration, int], None] | None = None
    on_measure: Callable[[Configuration, int, WindowResult], WindowResult] | None = None
    answers: Callable[[Configuration, LoadPlan], Sequence[Answered]] | None = None
    startup: Callable[[EngineSettings], dict[str, float]] | None = None
    on_profile: Callable[[Configuration, int], None] | None = None
    xspace: Callable[[Configuration, str, str], bytes] = lambda configuration, phase, session: small_xspace()
    profile_phases: tuple[str, ...] = ("all",)
    effective: Callable[[EngineSettings], Json] = lambda settings: {
        "block_size": settings.block_size,
        "max_num_batched_tokens": settings.max_num_batched_tokens,
    }
    name: str = "fake"
    live_fields: frozenset[str] = LIVE_SETTINGS
    opened: list[EngineSettings] = field(default_factory=list)
    measured: list[Configuration] = field(default_factory=list)
    profiled: list[str] = field(default_factory=list)
    running: int = 0
    closed: bool = False
    _counts: Counter[tuple[str, object]] = field(default_factory=Counter)

    def open(self, settings: EngineSettings, timeout_s: float) -> FakeSession:
        nth = self.count("open", settings.block_size)
        self.opened.append(settings)
        if self.on_open is not None:
            self.on_open(settings, nth)
        self.running += 1
        return FakeSession(self, settings)

    def close(self) -> None:
        self.closed = True

    def count(self, what: str, key: object) -> int:
        self._counts[what, key] += 1
        return self._counts[what, key] - 1


class FakeSession(EngineSession):
    def __init__(self, launcher: FakeLauncher, settings: EngineSettings) -> None:
        self._launcher = launcher
        self.generates = launcher.answers is not None
        self._settings = settings
        self._gone = False
        details = {} if launcher.startup is None else {STARTUP: launcher.startup(settings)}
        self._report = StartReport(launcher.effective(settings), {"fingerprint": fingerprint(FOUND), **FOUND}, 0.0, details)

    @property
    @override
    def report(self) -> StartReport:
        return self._report

    @override
    def warm_up(self, live: LiveSettings, plan: LoadPlan, timeout_s: float) -> Json:
        configuration = self._of(live)
        if self._launcher.on_warm_up is not None:
            self._do(lambda nth: self._launcher.on_warm_up(configuration, nth), "warm_up", configuration)  # type: ignore[misc]
        return {"seconds": 0.0, "compilations": 0}

    @override
    def measure(self, live: LiveSettings, plan: LoadPlan, timeout_s: float) -> WindowResult:
        configuration = self._of(live)
        nth = self._launcher.count("measure", configuration)
        value = self._launcher.value(configuration)
        result = WindowResult((), (), time.time(), 1.0, reported_metrics={"total_token_throughput": value, "ttft_p99_ms": 1e5 / value})
        if self._launcher.on_measure is not None:
            try:
                result = self._launcher.on_measure(configuration, nth, result)
            except EngineLost:
                self._end()
                raise
        self._launcher.measured.append(configuration)
        return result

    @override
    def answer(self, live: LiveSettings, plan: LoadPlan, timeout_s: float) -> Sequence[Answered]:
        return () if self._launcher.answers is None else self._launcher.answers(self._of(live), plan)

    @property
    @override
    def profile_phases(self) -> tuple[str, ...]:
        return self._launcher.profile_phases

    @override
    def profile(
        self, live: LiveSettings, plan: LoadPlan, target: ProfileTarget, *, phase: str, timeout_s: float
    ) -> Sequence[ProfileResult]:
        configuration = self._of(live)
        if self._launcher.on_profile is not None:
            self._launcher.on_profile(configuration, self._launcher.count("profile", configuration))
        self._launcher.profiled.append(target.run)
        path = target.folder / "host.xplane.pb"
        path.parent.mkdir(parents=True)
        data = self._launcher.xspace(configuration, phase, target.session)
        path.write_bytes(data)
        return [
            ProfileResult(
                run=target.run,
                session=target.session,
                host="host",
                path=path,
                phase=phase,
                size_bytes=len(data),
                steps=step_records({"prefill": 1.0, "mixed": 0.5}.get(phase, 0.0)),
            )
        ]

    @override
    def close(self) -> None:
        self._end()

    def _of(self, live: LiveSettings) -> Configuration:
        if self._gone:
            raise EngineLost(FailureClass.ENGINE_CRASH, "used after it was gone")
        cold = self._settings
        levels = {**cold.extra_engine_args, **{f"{ENV}{name}": value for name, value in cold.env.items()}}
        levels |= {f"{ADDITIONAL}{key}": value for key, value in levels.pop("additional_config", {}).items()}
        levels |= {name: level for name in LIVE_FACTORS if (level := getattr(live, name)) is not None}
        return Configuration(cold.block_size, live.max_num_batched_tokens, live.arm, factors_of(levels))

    def _do(self, hook: Callable[[int], None], what: str, configuration: Configuration) -> None:
        try:
            hook(self._launcher.count(what, configuration))
        except EngineLost:
            self._end()
            raise

    def _end(self) -> None:
        if not self._gone:
            self._gone = True
            self._launcher.running -= 1


def crash(message: str = "the engine process ended by signal SIGSEGV") -> EngineLost:
    return EngineLost(FailureClass.ENGINE_CRASH, message, "last line of the log")


def recompiled(result: WindowResult) -> WindowResult:
    return replace(result, compilations=1)

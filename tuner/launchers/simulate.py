"""The `simulate` launcher: vLLM's real scheduler under a clock that is predicted, in a process of the Python that has vLLM.

No engine runs and nothing is measured, which every report and window says (`simulated`). Time is the window's own: time-outs count it.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import override

import numpy as np

from tuner.core.contract import (
    ABLATION_ARM,
    ARM_DEFAULT,
    ARM_PAGE_ALIGNED,
    ARMS,
    LIVE_SETTINGS,
    EngineSession,
    EngineSettings,
    Json,
    LiveSettings,
    LoadPlan,
    ProfileResult,
    ProfileTarget,
    RequestRecord,
    StartReport,
    StepRecord,
    WindowResult,
)
from tuner.core.errors import EngineLost, FailureClass, TrialFailed
from tuner.engine.client import EngineHost, EngineProcess
from tuner.engine.environment import engine_environment, fingerprint
from tuner.engine.host_process import HostLost
from tuner.engine.messages import Nothing, Reconfigure
from tuner.engine.real_schedule import Prompt
from tuner.engine.replay import Load
from tuner.engine.simulation import Simulate, Simulated, SimulatedLoad, StartSimulated
from tuner.engine.step_costs import StepCosts
from tuner.foresight.simulated_chip import SIMULATED, SimulatedChip
from tuner.serving.engine_args import engine_args
from tuner.setup.models import resolve_model
from tuner.workload.features import block_keys

GRACE_S = 30.0
MOST_WALL_S = 3600.0  # of one window: a simulation may take longer than what it simulates


class SimulatedHost(EngineHost):
    what = "simulation host"
    module = "tuner.engine.simulated_host"
    log_name = "simulation-host.log"
    child = "simulated engine"


class SimulateLauncher:
    """Owns the host. `seed` fixes the noise: the n-th window of a configuration is the same in every run."""

    name = "simulate"
    live_fields = LIVE_SETTINGS

    def __init__(self, chip: SimulatedChip, *, log_dir: Path, python: str | None = None, seed: int = 0) -> None:
        self.chip = chip
        self.seed = seed
        self._python = python
        self._log_dir = log_dir
        self._host: SimulatedHost | None = None
        self._load: tuple[str, int, Load] | None = None

    def open(self, settings: EngineSettings, timeout_s: float) -> SimulatedSession:
        """Raises BadInput for what has no prediction, TrialFailed for what vLLM refuses or does not fit."""
        return self.open_for(settings, resolve_model(settings.model).features, timeout_s)

    def open_for(self, settings: EngineSettings, features: Json, timeout_s: float) -> SimulatedSession:
        """The same for a model whose `features` are known."""
        costs = self.chip.costs(settings, features)
        placed = replace(settings, num_gpu_blocks=self.chip.pages(settings, features), attention_backend="auto")
        asked = StartSimulated(engine_args(placed, "cpu"), costs)  # the arguments for a TPU differ in nothing that a scheduler sees
        try:
            engine, report = self._start(asked, settings, timeout_s)
        except HostLost:
            self.close()
            engine, report = self._start(asked, settings, timeout_s)
        return SimulatedSession(self, engine, settings, self._marked(report), costs)

    def _start(self, asked: StartSimulated, settings: EngineSettings, timeout_s: float) -> tuple[EngineProcess, StartReport]:
        env = engine_environment("cpu", offline=Path(settings.model_path).is_dir()) | {"VLLM_LOGGING_LEVEL": "WARNING"}
        if self._host is None:
            self._host = SimulatedHost(self._python, env, self._log_dir)
        engine = self._host.fork_child("simulated-engines.log", {})
        try:
            return engine, engine.ask("start", asked, StartReport, timeout_s, failure=FailureClass.STARTUP)
        except BaseException:
            engine.close()
            raise

    def load_of(self, plan: LoadPlan, page: int) -> Load:
        """load_of; the last one is remembered, because engines that differ in other settings get the same."""
        if self._load is None or self._load[:2] != (plan.content_hash, page):
            self._load = plan.content_hash, page, load_of(plan, page)
        return self._load[2]

    def _marked(self, report: StartReport) -> StartReport:
        """An environment of its own kind, so that nothing simulated stands beside what was measured."""
        chip = self.chip
        found = {
            "platform": SIMULATED,
            "accelerator": chip.accelerator,
            "device_count": chip.devices,
            "versions": report.environment["versions"],
            "details": {SIMULATED: True, "step_times": chip.source, "borrowed": chip.borrowed},
        }
        return replace(report, environment={"fingerprint": fingerprint(found), **found}, details={SIMULATED: True})

    def close(self) -> None:
        if self._host is not None:
            self._host.close()
            self._host = None


class SimulatedSession(EngineSession):
    """One simulated engine; see tuner.core.contract.EngineSession."""

    def __init__(
        self, launcher: SimulateLauncher, engine: EngineProcess, settings: EngineSettings, report: StartReport, costs: StepCosts
    ) -> None:
        self.costs = costs
        self._launcher = launcher
        self._engine = engine
        self._settings = settings
        self._report = report
        self._loaded: str | None = None
        self._lengths: dict[str, int] = {}
        self._windows: Counter[int] = Counter()

    @property
    @override
    def report(self) -> StartReport:
        return self._report

    @override
    def warm_up(self, live: LiveSettings, plan: LoadPlan, timeout_s: float) -> Json:
        """There is nothing to compile."""
        self._apply(live)
        return {"seconds": 0.0, "compilations": 0}

    @override
    def measure(self, live: LiveSettings, plan: LoadPlan, timeout_s: float) -> WindowResult:
        """The window's details say that it is simulated, and what its clock rests on."""
        return self.simulate(live, plan, timeout_s, seed=self._next_seed(live))

    def simulate(
        self, live: LiveSettings, plan: LoadPlan, timeout_s: float, *, seed: tuple[int, ...], arrivals: float = 1.0, costs: float = 1.0
    ) -> WindowResult:
        """As `measure`, with arrival times multiplied by `arrivals` and the seconds of all steps by `costs`."""
        self._apply(live)
        self._load(plan)
        asked = Simulate(
            key=plan.content_hash,
            seed=seed,
            timeout_s=timeout_s,
            stop_when_saturated=plan.stop_when_saturated,
            arrivals=arrivals,
            costs=costs,
        )
        found = self._engine.ask("measure", asked, Simulated, MOST_WALL_S)
        return self._window(found, plan)

    @property
    @override
    def profile_phases(self) -> tuple[str, ...]:
        return ()

    @override
    def profile(
        self, live: LiveSettings, plan: LoadPlan, target: ProfileTarget, *, phase: str, timeout_s: float
    ) -> Sequence[ProfileResult]:
        """Nothing runs that could be profiled."""
        self._apply(live)
        return ()

    @override
    def close(self) -> None:
        self._engine.close()

    def _apply(self, live: LiveSettings) -> None:
        if not self._engine.alive:
            raise EngineLost(FailureClass.ENGINE_CRASH, "the simulated engine was closed")
        if live.arm not in (*ARMS, ABLATION_ARM):
            raise TrialFailed(FailureClass.INVALID_CONFIG, f"arm must be one of {', '.join(ARMS)}, got {live.arm!r}")
        asked = Reconfigure(
            page_aligned=live.arm != ARM_DEFAULT,
            page_wise_kv=live.arm == ARM_PAGE_ALIGNED,
            max_num_scheduled_tokens=live.max_num_batched_tokens,
            max_num_running_reqs=live.max_num_seqs or self._settings.max_num_seqs,
            long_prefill_token_threshold=live.long_prefill_token_threshold,
        )
        self._engine.ask("reconfigure", asked, Nothing, GRACE_S)

    def _load(self, plan: LoadPlan) -> None:
        """Send the plan, unless the engine has it already."""
        if self._loaded == plan.content_hash:
            return
        message = SimulatedLoad(plan.content_hash, self._launcher.load_of(plan, self._settings.block_size))
        self._engine.ask("load", message, Nothing, MOST_WALL_S)
        self._loaded = plan.content_hash
        self._lengths = {request.request_id: len(request.prompt_token_ids) for request in plan.requests}

    def _next_seed(self, live: LiveSettings) -> tuple[int, ...]:
        settings = self._settings
        said: tuple[object, ...] = live.arm, live.max_num_batched_tokens, live.max_num_seqs
        if live.long_prefill_token_threshold is not None:  # apart, so that all other windows keep the noise they had before there was one
            said = *said, live.long_prefill_token_threshold
        where = zlib.crc32(repr((said, settings.block_size, settings.max_num_batched_tokens)).encode())
        self._windows[where] += 1
        return self._launcher.seed, where, self._windows[where]

    def _window(self, found: Simulated, plan: LoadPlan) -> WindowResult:
        chip, steps = self._launcher.chip, found.steps
        ends = np.array(steps.start_s) + np.array(steps.duration_s)
        requests = {
            item.request_id: RequestRecord(
                request_id=item.request_id,
                prompt_tokens=self._lengths[item.request_id],
                planned_s=item.planned_s,
                sent_s=item.sent_s,
                token_times_s=tuple(np.concatenate([ends[begin : begin + count] for begin, count in item.runs]).tolist())
                if item.runs
                else (),
                finished_s=item.finished_s,
                cached_tokens=item.cached_tokens,
                preemptions=item.preemptions,
            )
            for item in found.requests
        }
        columns = (steps.scheduled_tokens, steps.padded_tokens, steps.prefill_tokens, steps.prefill_requests, steps.decode_requests)
        return WindowResult(
            requests=tuple(requests[request.request_id] for request in plan.requests if request.request_id in requests),
            steps=tuple(map(StepRecord, steps.start_s, steps.duration_s, *columns)),
            started_at=found.started_at,
            duration_s=found.duration_s,
            details={
                SIMULATED: True,
                "step_times": chip.source,
                "wall_s": round(found.wall_s, 4),
                "cpu_s": round(found.cpu_s, 4),
                "scheduler_asked": found.asked,
                "held_back_tokens": found.held_back,
            },
            stopped=found.stopped,
            latency_from_arrival=plan.max_concurrency is None,
        )


def load_of(plan: LoadPlan, page: int) -> Load:
    """The plan without its tokens: pages of `page` tokens have numbers, equal where they and all before them are equal."""
    numbers: dict[bytes, int] = {}
    ordered = sorted(plan.requests, key=lambda request: request.arrival_s)
    prompts = []
    for request in ordered:
        tokens = len(request.prompt_token_ids)
        keys = [numbers.setdefault(key, len(numbers)) for key in block_keys(request.prompt_token_ids, page)]
        prompts.append(Prompt(request.request_id, tokens, request.max_tokens, tuple(keys[: tokens // page]), keys[-1]))
    return Load(tuple(prompts), tuple(request.arrival_s for request in ordered), plan.max_concurrency)

"""The `serve` launcher, the deployer's path: `vllm serve` with the flags that would be recommended, loaded by `vllm bench serve`.

Nothing is live here: another arm or chunk budget is another server. docs/serve-launcher.md says what it sees and what it does not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from profiles.links import XPLANE_SUFFIX
from profiles.session_plan import ALL
from tuner.core.contract import (
    ARM_DEFAULT,
    ARM_PAGE_ALIGNED,
    ARMS,
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
from tuner.core.errors import BadInput, EngineLost, FailureClass, TrialFailed
from tuner.core.factors import LONG_PREFILL
from tuner.engine.commands import CommandHost
from tuner.engine.cpu_contention import CpuContention
from tuner.engine.environment import engine_environment, resolve_platform
from tuner.engine.startup import STARTUP, with_import
from tuner.engine.tracing import name_session
from tuner.launchers.bench_client import BenchClient, BenchRun
from tuner.launchers.bench_result import read_bench_result, summary_of
from tuner.launchers.completions import completion_request, read_completion
from tuner.launchers.process_tree import tree_cpu_s
from tuner.launchers.scratch import publish, scratch_logdir
from tuner.launchers.vllm_server import VllmServer, start_failure
from tuner.launchers.warm_up_plan import warm_up_plan
from tuner.serving.vllm_args import served_config, vllm_environment, vllm_flags

DESCRIBE_TIMEOUT_S = 120.0
MAX_WARM_UPS = 4  # a window under HTTP is not the same twice: another one may need a shape that the last did not
PROFILED_REQUESTS = 8  # keeps a session within what TensorBoard shows swiftly
SERVER_ENVIRONMENT = {
    "VLLM_SERVER_DEV_MODE": "1",  # /reset_prefix_cache
    "JAX_LOG_COMPILES": "1",  # compilations inside a window are counted in the log
    "PYTHONHASHSEED": "0",  # tuner.engine.bench_trace
}


class ServeLauncher:
    """Owns the command host, in which vLLM is imported once. Close it; it leaves no process behind."""

    name = "serve"
    live_fields: frozenset[str] = frozenset()

    def __init__(self, *, log_dir: Path, python: str | None = None, platform: str = "auto") -> None:
        try:
            self.platform = resolve_platform(platform)
        except ValueError as error:
            raise BadInput(str(error)) from error
        self._python = python
        self._log_dir = log_dir
        self._commands: _Commands | None = None
        self._servers = 0
        self._descriptions: dict[tuple[str, ...], Json] = {}

    def open(self, settings: EngineSettings, timeout_s: float) -> ServeSession:
        """Start a server: the page-aligned arm where `settings.alignable`, at the largest chunk budget. Raises TrialFailed."""
        session = ServeSession(self, settings, timeout_s)
        arm = ARM_PAGE_ALIGNED if settings.alignable else ARM_DEFAULT
        with ExitStack() as undo:
            undo.callback(session.close)
            session.use(LiveSettings(arm, settings.max_num_batched_tokens))
            undo.pop_all()
        return session

    def commands(self, settings: EngineSettings) -> _Commands:
        """The command host for these settings and its benchmark client; one that died or has another environment is replaced."""
        offline = Path(settings.model_path).is_dir()
        recommended = vllm_environment(settings, self.platform)
        running = self._commands
        if running is not None and not (running.host.alive and (running.offline, running.env) == (offline, recommended)):
            self.close()
        if self._commands is None:
            env = engine_environment(self.platform, offline) | recommended | SERVER_ENVIRONMENT
            del env["VLLM_ENABLE_V1_MULTIPROCESSING"]  # the engine core in its own process, as a deployment has it
            host = CommandHost(self._python, env, self._log_dir)
            self._commands = _Commands(host, BenchClient(host, self._log_dir), offline, recommended)
        return self._commands

    def start_server(self, settings: EngineSettings, flags: Sequence[str], timeout_s: float) -> VllmServer:
        """Raises TrialFailed."""
        self._servers += 1
        log = self._log_dir / f"server-{self._servers:03d}.log"
        log.unlink(missing_ok=True)  # of an earlier run of the study
        return VllmServer(self.commands(settings).host, settings.model_path, flags, log, timeout_s)

    def describe(self, settings: EngineSettings, flags: Sequence[str]) -> Json:
        """{"effective", "environment"} of a server with these flags. Raises TrialFailed where vLLM refuses the flags."""
        key = (settings.model_path, *flags)
        if key not in self._descriptions:
            number = len(self._descriptions) + 1
            out, log = self._log_dir / f"describe-{number:03d}.json", self._log_dir / f"describe-{number:03d}.log"
            log.unlink(missing_ok=True)
            command = self.commands(settings).host.run("tuner.engine.describe", ["describe", str(out), *key], log)
            try:
                code = command.finish(DESCRIBE_TIMEOUT_S)
            except TimeoutError as error:
                raise TrialFailed(FailureClass.TIMEOUT, f"vLLM took more than {DESCRIBE_TIMEOUT_S:g} s over its configuration") from error
            if code != 0:
                raise start_failure(command, code, "vllm serve")
            self._descriptions[key] = json.loads(out.read_text(encoding="utf-8"))
        return self._descriptions[key]

    @property
    def host_pid(self) -> int | None:
        """The command host's process id, None while none runs."""
        return self._commands.host.pid if self._commands is not None else None

    def close(self) -> None:
        if self._commands is not None:
            self._commands.host.close()
            self._commands = None  # not before: an interrupt in between leaves it to be closed again


@dataclass(frozen=True)
class _Commands:
    """A command host and the benchmark client that runs in it, for one process environment."""

    host: CommandHost
    bench: BenchClient
    offline: bool
    env: dict[str, str]  # what the flags need, as recommended


class ServeSession:
    """One server at a time; see tuner.core.contract.EngineSession."""

    generates = True

    def __init__(self, launcher: ServeLauncher, settings: EngineSettings, start_timeout_s: float) -> None:
        self._launcher = launcher
        self._settings = settings
        self._start_timeout_s = start_timeout_s
        self._server: VllmServer | None = None
        self._flags: list[str] = []
        self._warm = False
        self._starts = 0
        self._ended: EngineLost | None = None
        self._report: StartReport | None = None

    @property
    def report(self) -> StartReport:
        """Of the server that runs now."""
        assert self._report is not None  # open() starts a server before it returns the session
        return replace(self._report, details={**self._report.details, "restarts": self.restarts})

    @property
    def restarts(self) -> int:
        """Server starts beyond the first."""
        return max(0, self._starts - 1)

    @property
    def alive(self) -> bool:
        """False once the session was closed or its server was lost."""
        return self._ended is None

    @property
    def pid(self) -> int | None:
        """The server's process group, None while none runs."""
        return self._server.command.pid if self._server is not None else None

    def use(self, live: LiveSettings) -> VllmServer:
        """The server for `live`: the running one, or a new one. Raises TrialFailed where it does not start, EngineLost after close() and
        where the running one has ended."""
        if self._ended is not None:
            raise self._ended
        flags = self._checked_flags(live)
        if self._server is not None and flags == self._flags:
            self._alive(self._server)
            return self._server
        self._drop()
        return self._start(flags)

    def _checked_flags(self, live: LiveSettings) -> list[str]:
        settings = self._settings
        if live.arm not in ARMS:
            raise _invalid(f"arm must be one of {', '.join(ARMS)}, got {live.arm!r}")
        if live.arm == ARM_PAGE_ALIGNED and not settings.alignable:
            raise _invalid("arm page_aligned needs settings with alignable, these are for vLLM's own scheduler")
        if not 1 <= live.max_num_batched_tokens <= settings.max_num_batched_tokens:
            raise _invalid(
                f"max_num_batched_tokens must be between 1 and {settings.max_num_batched_tokens}, got {live.max_num_batched_tokens}"
            )
        if live.max_num_seqs is not None and not 1 <= live.max_num_seqs <= settings.max_num_seqs:
            raise _invalid(f"max_num_seqs must be between 1 and {settings.max_num_seqs}, got {live.max_num_seqs}")
        return serve_flags(settings, live, self._launcher.platform)

    def _start(self, flags: list[str], extra: Sequence[str] = ()) -> VllmServer:
        described = self._launcher.describe(self._settings, flags)
        self._starts += 1
        server = self._launcher.start_server(self._settings, [*flags, *extra], self._start_timeout_s)
        self._server, self._flags, self._warm = server, [*flags, *extra], False
        self._report = StartReport(
            effective=described["effective"],
            environment=described["environment"],
            start_s=server.start_s,
            details={
                "flags": self._flags,
                "log": str(server.log_path),
                STARTUP: with_import({"startup_s": server.start_s}, self._launcher.commands(self._settings).host.import_s),
            },
        )
        return server

    def warm_up(self, live: LiveSettings, plan: LoadPlan, timeout_s: float) -> Json:
        """Compile what the plan may need; nothing of it is measured. Raises TrialFailed, EngineLost."""
        with self._ending():
            return self._warm_up(self.use(live), live, plan, timeout_s)

    def _warm_up(self, server: VllmServer, live: LiveSettings, plan: LoadPlan, timeout_s: float) -> Json:
        """Each padded step size once, then the plan until a run compiles nothing, at most four times, always from an empty cache."""
        shapes = warm_up_plan(plan, live.max_num_batched_tokens, self._settings.max_model_len)
        seconds, compilations = 0.0, 0
        for sent in (shapes, *[plan] * MAX_WARM_UPS):
            server.reset_prefix_cache()
            before = server.compilations()
            seconds += float(self._send(server, sent, timeout_s).raw["duration"])
            compiled = server.compilations() - before
            compilations += compiled
            if sent is plan and not compiled:
                break
        self._warm = True
        return {"seconds": seconds, "compilations": compilations}

    def measure(self, live: LiveSettings, plan: LoadPlan, timeout_s: float) -> WindowResult:
        """One window; a server that was (re)started for it is warmed up first, outside the window. Raises TrialFailed, EngineLost."""
        with self._ending():
            return self._measure(live, plan, timeout_s)

    def _measure(self, live: LiveSettings, plan: LoadPlan, timeout_s: float) -> WindowResult:
        server = self.use(live)
        if not self._warm:
            self._warm_up(server, live, plan, timeout_s)
        emptied = server.reset_prefix_cache()
        compiled, counters, contention = server.compilations(), server.counters(), CpuContention(tree_cpu_s)
        run = self._send(server, plan, timeout_s)
        contended = contention.since()
        window = read_bench_result(run.raw, plan)
        return WindowResult(
            requests=window.requests,
            steps=(),
            started_at=run.started_at,
            duration_s=window.duration_s,
            compilations=server.compilations() - compiled,
            reported_metrics={**window.reported, **_server_metrics(counters, server.counters(), plan)},
            details={
                **contended,
                "restarts": self.restarts,
                "prefix_cache_reset": emptied,
                "merged_tokens": window.merged_tokens,
                "workload": "the plan's own token ids, lengths and arrivals (timed_trace)",
                "bench": summary_of(run.raw),
                "bench_argv": list(run.argv),
                "server_flags": list(self._flags),
            },
        )

    def answer(self, live: LiveSettings, plan: LoadPlan, timeout_s: float) -> Sequence[Answered]:
        """Over HTTP: all prompts at once in one request, or, for a plan of one at a time, one by one. Raises TrialFailed, EngineLost."""
        with self._ending():
            server = self.use(live)
            server.reset_prefix_cache()
            batches = [[request] for request in plan.requests] if plan.max_concurrency == 1 else [list(plan.requests)]
            model = self._settings.model_path
            return [
                answered
                for batch in batches
                for answered in read_completion(server.complete(completion_request(model, batch), timeout_s), batch)
            ]

    def _send(self, server: VllmServer, plan: LoadPlan, timeout_s: float) -> BenchRun:
        bench = self._launcher.commands(self._settings).bench
        tokenizer_less = "--skip-tokenizer-init" in self._flags
        try:
            run = bench.run(server.base_url, self._settings.model_path, plan, timeout_s, tokenizer_less=tokenizer_less)
        except TrialFailed as error:
            self._alive(server)
            if error.failure is FailureClass.TIMEOUT:
                self._drop()  # it may be stuck, and unfinished requests would disturb the next window
            raise
        self._alive(server)
        return run

    def _alive(self, server: VllmServer) -> None:
        """Raises EngineLost if the server has ended."""
        with self._ending():
            server.check()

    @contextmanager
    def _ending(self) -> Iterator[None]:
        """A server that was lost ends the session: every later call raises the same EngineLost."""
        try:
            yield
        except EngineLost as error:
            self._ended = error
            self._drop()
            raise

    @property
    def profile_phases(self) -> tuple[str, ...]:
        """Over HTTP a server cannot be held in a phase; the step markers in its trace say which step was of which."""
        return (ALL,)

    def profile(
        self, live: LiveSettings, plan: LoadPlan, target: ProfileTarget, *, phase: str = ALL, timeout_s: float
    ) -> Sequence[ProfileResult]:
        """Capture the first requests of the plan on a server of its own, started with --profiler-config: that flag is not recommended."""
        flags = self._checked_flags(live)
        if self._ended is not None:
            raise self._ended
        short = replace(plan, requests=plan.requests[:PROFILED_REQUESTS], content_hash=f"{plan.content_hash}-{PROFILED_REQUESTS}")
        self._drop()
        with scratch_logdir(target.logdir) as scratch, ExitStack() as server_ends:
            server_ends.callback(self._drop)
            config = {"profiler": "torch", "torch_profiler_dir": str(scratch)}
            server = self._start(flags, ["--profiler-config", json.dumps(config)])
            self._warm_up(server, live, short, timeout_s)
            compiled = self._captured(server, short, timeout_s)
            details = {"compilations": server.compilations() - compiled, "requests": len(short.requests)}
            path = publish(name_session(scratch, target.session), target)
        return [
            ProfileResult(
                run=target.run,
                session=target.session,
                host=path.name.removesuffix(XPLANE_SUFFIX),
                path=path,
                phase=phase,
                size_bytes=path.stat().st_size,
                steps=(),
                details=details,
            )
        ]

    def _captured(self, server: VllmServer, plan: LoadPlan, timeout_s: float) -> int:
        """Send the plan between /start_profile and /stop_profile; returns the number of compilations before it."""
        with self._ending():
            server.reset_prefix_cache()
            compiled = server.compilations()
            server.profiler("start")
            try:
                self._send(server, plan, timeout_s)
            finally:
                if self._server is not None:
                    server.profiler("stop")
            return compiled

    def _drop(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None  # not before: an interrupt in between leaves it to be stopped again

    def close(self) -> None:
        if self._ended is None:
            self._ended = EngineLost(FailureClass.ENGINE_CRASH, "the server was closed")
        self._drop()


def serve_flags(settings: EngineSettings, live: LiveSettings, platform: str) -> list[str]:
    """Flags of `vllm serve MODEL` for these settings: made by the very function that makes the recommended ones."""
    given = {"max_num_batched_tokens": live.max_num_batched_tokens, "max_num_seqs": live.max_num_seqs}
    settings = settings.with_changes(**{name: value for name, value in given.items() if value is not None})
    if live.long_prefill_token_threshold is not None:
        settings = settings.with_factors(((LONG_PREFILL, live.long_prefill_token_threshold),))
    return vllm_flags(served_config(settings, live.arm, platform))


def _server_metrics(before: dict[str, float], after: dict[str, float], plan: LoadPlan) -> dict[str, float]:
    """What the client cannot see, out of the server's counters; absent where the server does not count it."""
    grown = {name: value - before.get(name, 0.0) for name, value in after.items()}
    metrics = {}
    if "preemptions" in grown:
        metrics["preemptions"] = grown["preemptions"]
    if "cached_tokens" in grown:
        metrics["prefix_cache_hit_rate"] = grown["cached_tokens"] / sum(len(request.prompt_token_ids) for request in plan.requests)
    return metrics


def _invalid(message: str) -> TrialFailed:
    return TrialFailed(FailureClass.INVALID_CONFIG, message)

"""Sends a load plan with `vllm bench serve`: writes it as a trace once, runs the benchmark, reads its result file."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path

from tuner.core.contract import Json, LoadPlan
from tuner.core.errors import FailureClass, TrialFailed
from tuner.core.numbers import number
from tuner.engine.bench_trace import CHUNK_TOKENS, TOKENIZER_FOLDER, TRACE_FILE
from tuner.engine.commands import CommandHost
from tuner.engine.processes import log_excerpt
from tuner.launchers.bench_result import planned_requests
from tuner.launchers.vllm_server import CLI, start_failure
from tuner.metrics.catalog import PERCENTILES, REQUEST_METRICS

CLIENT_START_S = 60.0  # parsing its options and loading the trace, before the window begins
TRACE_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class BenchRun:
    """`raw`: the result file. `started_at`: Unix seconds at which the first request was sent, within the file's second."""

    raw: Json
    argv: tuple[str, ...]
    started_at: float


class BenchClient:
    """One per command host. Files go below `folder`: plans/<hash>/ and bench-NNN.{json,log}."""

    def __init__(self, host: CommandHost, folder: Path) -> None:
        self._host = host
        self._folder = folder
        self._runs = 0
        self._traces: dict[str, Path] = {}

    def trace(self, plan: LoadPlan) -> Path:
        """The folder with the plan's trace and tokenizer. Raises TrialFailed (INTERNAL) where this vLLM would send something else."""
        folder = self._traces.get(plan.content_hash)
        if folder is None:
            folder = plan_folder(self._folder, plan)
            folder.mkdir(parents=True, exist_ok=True)
            source = folder / "plan.json"
            source.write_text(json.dumps(planned_requests(plan)), encoding="utf-8")
            log = folder / "trace.log"
            command = self._host.run("tuner.engine.bench_trace", ["bench_trace", str(source), str(folder)], log)
            try:
                code = command.finish(TRACE_TIMEOUT_S)
            except TimeoutError as error:
                raise TrialFailed(FailureClass.INTERNAL, f"writing the plan as a trace took more than {TRACE_TIMEOUT_S:g} s") from error
            if code != 0:
                reason = log_excerpt(log, lines=1) or f"exit code {code}"
                raise TrialFailed(FailureClass.INTERNAL, f"the plan cannot be written as a trace: {reason}", log_excerpt(log))
            self._traces[plan.content_hash] = folder
        return folder

    def run(self, base_url: str, model: str, plan: LoadPlan, timeout_s: float, *, tokenizer_less: bool) -> BenchRun:
        """Send the plan once. Raises TrialFailed (TIMEOUT, or INTERNAL where the benchmark itself fails)."""
        trace = self.trace(plan)
        self._runs += 1
        result, log = self._folder / f"bench-{self._runs:03d}.json", self._folder / f"bench-{self._runs:03d}.log"
        for stale in (result, log):
            stale.unlink(missing_ok=True)
        argv = bench_argv(base_url, model, trace, plan, result, tokenizer_less=tokenizer_less)
        begun = time.time()
        command = self._host.run(CLI, argv, log)
        try:
            code = command.finish(timeout_s + CLIENT_START_S, grace_s=2.0)
        except TimeoutError as error:
            raise TrialFailed(FailureClass.TIMEOUT, f"the window took more than {number(timeout_s)} s", log_excerpt(log)) from error
        if code != 0 or not result.is_file():
            failure = start_failure(command, code, "vllm bench serve")
            raise TrialFailed(FailureClass.INTERNAL, str(failure), failure.log_excerpt)
        raw: Json = json.loads(result.read_text(encoding="utf-8"))
        duration_s = float(raw["duration"])
        if duration_s > timeout_s:
            raise TrialFailed(
                FailureClass.TIMEOUT, f"the window took {number(duration_s, 3)} s, more than {number(timeout_s)} s", log_excerpt(log)
            )
        return BenchRun(raw, tuple(argv), max(begun, result.stat().st_mtime - duration_s))


def plan_folder(folder: Path, plan: LoadPlan) -> Path:
    """Of its own for each plan, also where one's hash begins like another's (the shortened plan of a profile)."""
    return folder / "plans" / hashlib.sha256(plan.content_hash.encode()).hexdigest()[:16]


def bench_argv(base_url: str, model: str, trace: Path, plan: LoadPlan, result: Path, *, tokenizer_less: bool) -> list[str]:
    """The command line. `tokenizer_less`: the server was started with --skip-tokenizer-init and cannot make text of tokens."""
    argv = ["vllm", "bench", "serve", "--backend", "vllm", "--base-url", base_url, "--model", model]
    argv += ["--dataset-name", "timed_trace", "--dataset-path", str(trace / TRACE_FILE), "--tokenizer", str(trace / TOKENIZER_FOLDER)]
    argv += ["--timed-trace-chunk-hash-size", str(CHUNK_TOKENS), "--timed-trace-sec-multiplier", "1"]
    argv += ["--timed-trace-label-timestamp", "timestamp", "--timed-trace-label-input-length", "input_length"]
    argv += ["--timed-trace-label-output-length", "output_length", "--timed-trace-label-hash-ids", "hash_ids"]
    argv += ["--num-prompts", str(len(plan.requests)), "--temperature", "0", "--disable-tqdm"]
    argv += ["--percentile-metrics", ",".join(REQUEST_METRICS), "--metric-percentiles", ",".join(map(str, PERCENTILES))]
    argv += ["--save-result", "--save-detailed", "--result-filename", str(result)]
    if plan.max_concurrency is not None:
        argv += ["--max-concurrency", str(plan.max_concurrency)]
    if tokenizer_less:
        argv += ["--extra-body", json.dumps({"detokenize": False, "return_token_ids": True})]
    return argv

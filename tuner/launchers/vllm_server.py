"""One `vllm serve` process: started, waited for, asked over HTTP, diagnosed, ended with everything it forked."""

from __future__ import annotations

import http.client
import json
import re
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tuner.core.contract import Json
from tuner.core.errors import EngineLost, FailureClass, TrialFailed
from tuner.core.numbers import number
from tuner.engine.commands import Command, CommandHost
from tuner.engine.owner import COMPILE_SIGNS, IN_USE_SIGNS, OUT_OF_MEMORY_SIGNS
from tuner.engine.processes import EXCERPT_LINES, how_it_ended, log_excerpt

CLI = "vllm.entrypoints.cli.main"
HOST = "127.0.0.1"
POLL_S = 0.1
REQUEST_TIMEOUT_S = 60.0
STOP_TRACE_TIMEOUT_S = 240.0  # the profiler writes about 5 MB a second
RESET_PATIENCE_S = 5.0  # blocks of a request that just ended are still held
STARTS = 2  # a free port may be taken between our looking and the server's binding
PORT_TAKEN = "Address already in use"  # in the log: vLLM ends with the same exit code whatever was wrong
COMPILED = b"Finished XLA compilation of"  # logged under JAX_LOG_COMPILES=1, also for programs out of the persistent cache

_COUNTERS = {
    "vllm:prompt_tokens_cached_total": "cached_tokens",
    "vllm:num_preemptions_total": "preemptions",
    "vllm:iteration_tokens_total_count": "iterations",
}
_EXCEPTION = re.compile(r"(?:^|[\s.])([A-Za-z]\w*(?:Error|Exception)): (.*\S)")
_USAGE = re.compile(r"(vllm serve|vllm): error: (.*\S)")
_PYDANTIC_NOISE = re.compile(r"^(Value|Assertion) error, | \[type=.*$")
_CONSEQUENCE = "Engine core initialization failed"  # vLLM's last word, which only points to the cause above it
_CONFIG_ERRORS = ("ValueError", "NotImplementedError", "ValidationError", "ArgumentError", "ArgumentTypeError")


class VllmServer:
    """A running, ready server. Not thread-safe."""

    def __init__(self, host: CommandHost, model: str, flags: Sequence[str], log_path: Path, timeout_s: float) -> None:
        """Start and wait until /health answers. Raises TrialFailed (STARTUP, INVALID_CONFIG, OUT_OF_MEMORY, TIMEOUT)."""
        begun = time.monotonic()
        self.log_path = log_path
        for attempt in range(1, STARTS + 1):
            self.port = free_port()
            argv = ["vllm", "serve", model, *flags, "--host", HOST, "--port", str(self.port)]
            self.command: Command = host.run(CLI, argv, log_path)
            try:
                self._wait_until_ready(begun + timeout_s, timeout_s)
                break
            except TrialFailed as error:
                self.stop()
                if attempt == STARTS or PORT_TAKEN not in error.log_excerpt:
                    raise
            except BaseException:
                self.stop()
                raise
        self.start_s = time.monotonic() - begun

    @property
    def base_url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def _wait_until_ready(self, deadline: float, timeout_s: float) -> None:
        while True:
            code = self.command.exit_code()
            if code is not None:
                raise start_failure(self.command, code, "vllm serve")
            if time.monotonic() > deadline:
                raise TrialFailed(
                    FailureClass.TIMEOUT,
                    f"vllm serve was not ready after {number(timeout_s)} s; raise engine_start_timeout",
                    log_excerpt(self.log_path),
                )
            try:
                if self._request("GET", "/health", timeout_s=5.0)[0] == http.client.OK:
                    return
            except OSError:
                pass  # not listening yet
            time.sleep(POLL_S)

    def check(self) -> None:
        """Raises EngineLost (ENGINE_CRASH, OUT_OF_MEMORY) if the server has ended."""
        code = self.command.exit_code()
        if code is None:
            return
        failure = FailureClass.OUT_OF_MEMORY if self._out_of_memory(code) else FailureClass.ENGINE_CRASH
        self.stop()
        raise EngineLost(failure, f"vllm serve {how_it_ended(code)}", log_excerpt(self.log_path))

    def _out_of_memory(self, code: int) -> bool:
        tail = log_excerpt(self.log_path)
        return self.command.ended_by_oom_killer(code) or any(sign in tail for sign in OUT_OF_MEMORY_SIGNS)

    def reset_prefix_cache(self) -> bool:
        """Whether the cache is empty now; while blocks are held (a request just ended) it is tried again. Raises EngineLost."""
        deadline = time.monotonic() + RESET_PATIENCE_S
        while True:
            status, body = self._ask("POST", "/reset_prefix_cache")
            if status == http.client.OK and json.loads(body).get("success") is True:
                return True
            if status != http.client.OK or time.monotonic() > deadline:
                return False
            time.sleep(POLL_S)

    def counters(self) -> dict[str, float]:
        """Sums since the start out of /metrics: `cached_tokens`, `preemptions`, `iterations`; those that the server does not have are left
        out."""
        status, body = self._ask("GET", "/metrics")
        return read_counters(body.decode()) if status == http.client.OK else {}

    def compilations(self) -> int:
        """Programs compiled since the start, as its log says."""
        return self.log_path.read_bytes().count(COMPILED)

    def complete(self, body: Json, timeout_s: float) -> Json:
        """/v1/completions. Raises TrialFailed (REQUEST_FAILED) where the server refuses, EngineLost."""
        status, answer = self._ask("POST", "/v1/completions", timeout_s, body)
        if status != http.client.OK:
            words = " ".join(answer[:200].decode(errors="replace").split())
            raise TrialFailed(FailureClass.REQUEST_FAILED, f"vllm serve refused a completion: {status} {words}")
        found: Json = json.loads(answer)
        return found

    def profiler(self, action: str) -> None:
        """`action`: "start" or "stop". Raises TrialFailed if the server refuses."""
        status, body = self._ask("POST", f"/{action}_profile", timeout_s=STOP_TRACE_TIMEOUT_S)
        if status != http.client.OK:
            raise TrialFailed(
                FailureClass.INTERNAL, f"vllm serve refused /{action}_profile: {status} {body[:200].decode(errors='replace')}"
            )

    def _ask(self, method: str, path: str, timeout_s: float = REQUEST_TIMEOUT_S, body: Json | None = None) -> tuple[int, bytes]:
        """Ask the ready server. Raises EngineLost where it has ended or does not answer (vLLM's front end may outlive its engine core)."""
        try:
            return self._request(method, path, timeout_s, body)
        except OSError as error:
            self.check()
            self.stop()
            raise EngineLost(
                FailureClass.ENGINE_CRASH, f"vllm serve does not answer {path}: {error}", log_excerpt(self.log_path)
            ) from error

    def _request(self, method: str, path: str, timeout_s: float = REQUEST_TIMEOUT_S, body: Json | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=timeout_s)
        try:
            if body is None:
                connection.request(method, path)
            else:
                connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read()
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        finally:
            connection.close()

    def stop(self) -> None:
        """End the whole process group. Idempotent."""
        self.command.stop()


@dataclass(frozen=True)
class Cause:
    """`kind`: the exception's name, or "usage" for a command line that vLLM refuses."""

    kind: str
    message: str


def root_cause(log: str) -> Cause | None:
    """The exception (or usage error) that ended a vLLM command, out of its log; None where it says nothing."""
    causes: list[Cause] = []
    for line, following in pairwise([*log.splitlines(), ""]):
        if _CONSEQUENCE in line:
            break
        if usage := _USAGE.search(line):
            causes.append(Cause("usage", usage[2]))
        elif (found := _EXCEPTION.search(line)) and found[1] != "RuntimeWarning":
            message = _PYDANTIC_NOISE.sub("", _without_prefix(following)) if "validation error" in found[2] else found[2]
            causes.append(Cause(found[1], " ".join(message.split())))
    return causes[-1] if causes else None


def _without_prefix(line: str) -> str:
    """A log line without vLLM's "(EngineCore pid=1) ERROR 01-01 00:00:00 [core.py:1]"."""
    return re.sub(r"^(\(\w+ pid=\d+\) )?([A-Z]+ \d\d-\d\d [\d:]+ \[[^]]*\])?", "", line).strip()


def start_failure(command: Command, code: int, what: str) -> TrialFailed:
    """Why a command ended instead of doing its work, with a class, one line and the log's end."""
    log = command.log_path.read_text(encoding="utf-8", errors="replace")
    cause = root_cause(log)
    text = cause.message if cause is not None else how_it_ended(code)
    if command.ended_by_oom_killer(code) or any(sign in log for sign in OUT_OF_MEMORY_SIGNS):
        failure = FailureClass.OUT_OF_MEMORY
    elif cause is not None and (cause.kind == "usage" or cause.kind in _CONFIG_ERRORS):
        failure = FailureClass.INVALID_CONFIG
    elif any(sign in log for sign in IN_USE_SIGNS):
        failure = FailureClass.IN_USE
    elif any(sign in log for sign in COMPILE_SIGNS):
        failure = FailureClass.COMPILE_ERROR
    else:
        failure = FailureClass.STARTUP
    return TrialFailed(failure, f"{what}: {text}"[:500], cause_excerpt(log))


def cause_excerpt(log: str, lines: int = EXCERPT_LINES) -> str:
    """The lines that lead to the cause: up to vLLM's last word where there is one, else the end of the log."""
    found = log.splitlines()
    end = next((index for index, line in enumerate(found) if _CONSEQUENCE in line), len(found))
    begin = next((index for index in range(end - 1, -1, -1) if "Traceback" in found[index]), max(0, end - lines))
    return "\n".join(found[max(0, min(begin, end - lines)) : end + 1][: 3 * lines])


def read_counters(text: str) -> Json:
    """The counters that we know of a Prometheus exposition, summed over their labels."""
    sums: dict[str, float] = {}
    for line in text.splitlines():
        series, _, value = line.rpartition(" ")
        ours = _COUNTERS.get(series.partition("{")[0])
        if ours is not None:
            sums[ours] = sums.get(ours, 0.0) + float(value)
    return sums


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port

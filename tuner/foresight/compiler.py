"""Our end of the compiler host: engines are prepared and their programs compiled in processes of the Python that has vLLM."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tuner.core.errors import FailureClass
from tuner.engine.client import EngineHost, EngineProcess
from tuner.engine.environment import engine_environment
from tuner.engine.messages import Nothing
from tuner.engine.processes import kill_group
from tuner.foresight.dump import Dump
from tuner.foresight.messages import Begin, Compile, Compiled, Prepare, Prepared, Profile, ProgramName
from tuner.foresight.question import Question
from tuner.foresight.target import Target
from tuner.serving.vllm_args import vllm_environment

PREPARE_TIMEOUT_S = 600.0
COMPILE_TIMEOUT_S = 1800.0
GRACE_S = 60.0

# The machine's own TPU, if it has one, is neither looked for nor touched; tuner.vllm_plugin.cpu stays out of the way.
_FOR_ANOTHER_TPU: Mapping[str, str] = {
    "JAX_PLATFORMS": "cpu",
    "JAX_ENABLE_COMPILATION_CACHE": "false",  # a client that only compiles writes what it cannot read
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # libtpu lets one process in, which holds the TPU; this one only compiles
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_NAME": "none",
    "TPU_WORKER_ID": "0",
    "VLLM_LOGGING_LEVEL": "WARNING",
}
# libtpu asks the C library for memory and gives it back all the time. With large pages that it keeps, a compilation takes less
# CPU where page faults are dear, as in a virtual machine. Other C libraries do not look at it.
_ALLOCATOR = "glibc.malloc.hugetlb=1:glibc.malloc.trim_threshold=1073741824:glibc.malloc.top_pad=67108864"


def compiling_environment(target: Target, model_path: str) -> dict[str, str]:
    """The environment of a process that compiles for `target`. Where the model is no folder, config.json is found as engines do."""
    kind = target.accelerator_type
    return {
        "GLIBC_TUNABLES": _ALLOCATOR,  # the user's own come after
        **engine_environment("tpu", offline=Path(model_path).is_dir()),
        **_FOR_ANOTHER_TPU,
        "TPU_ACCELERATOR_TYPE": kind,
        "TUNER_COMPILES_FOR": kind,
    }


def _environment(question: Question) -> dict[str, str]:
    return compiling_environment(question.target, question.engine.model_path) | vllm_environment(question.engine, "tpu")


class CompilerHost(EngineHost):
    what = "compiler host"
    module = "tuner.foresight.host"
    log_name = "compiler-host.log"
    child = "compiler"


class Compiler:
    """Starts its host when it is first needed, and leaves no process and no file behind. Not thread-safe.

    One engine at a time: `prepare` ends the one before, `compile` is about the last one.
    """

    def __init__(self, python: str | None) -> None:
        self._python = python
        self._logs: tempfile.TemporaryDirectory[str] | None = None
        self._host: CompilerHost | None = None
        self._child: EngineProcess | None = None
        self._count = 0

    def prepare(self, question: Question, environment: Mapping[str, str] | None = None) -> Prepared:
        """`environment`: of the compiling process, beside what it needs. Raises TrialFailed: INVALID_CONFIG in vLLM's words for settings
        that it refuses, else what was lost and why."""
        self.end_engine()
        env = _environment(question)
        self._count += 1
        self._child = self._started(env).fork_child(f"compiler-{self._count:03d}.log", {**env, **(environment or {})})
        asked = Prepare(question.engine_args, question.target.topology)
        return self._child.ask("start", asked, Prepared, PREPARE_TIMEOUT_S, failure=FailureClass.STARTUP)

    def warm_up(self, question: Question) -> None:
        """Import vLLM now, which the first `prepare` does else. Raises EngineLost."""
        self._started(_environment(question))

    def _started(self, env: Mapping[str, str]) -> CompilerHost:
        if self._host is None or not self._host.alive:
            self._end_host()
            self._logs = tempfile.TemporaryDirectory(prefix="tuner-foresight-", ignore_cleanup_errors=True)
            self._host = CompilerHost(self._python, env, Path(self._logs.name))
        return self._host

    def begin(self, programs: Sequence[ProgramName]) -> None:
        """Have these compiled, several at once where cores are free; `compile` then waits for each. Raises TrialFailed where the process
        was lost."""
        assert self._child is not None, "nothing was prepared"
        self._child.ask("begin", Begin(tuple(programs)), Nothing, GRACE_S)

    def compile(self, program: ProgramName) -> Compiled:
        """Raises TrialFailed where the process was lost or took too long."""
        assert self._child is not None, "nothing was prepared"
        return self._child.ask("compile", Compile(program), Compiled, COMPILE_TIMEOUT_S)

    def profile(self, program: ProgramName, module_path: Path, dump: Dump) -> Compiled:
        """As `compile`, with the module and what libtpu says of its code. Raises TrialFailed also where the dump becomes too large."""
        child = self._child
        assert child is not None, "nothing was prepared"
        with dump.watched(lambda: kill_group(child.pid, grace_s=0.0)):
            return child.ask("profile", Profile(program, str(module_path)), Compiled, COMPILE_TIMEOUT_S)

    def end_engine(self) -> None:
        """End the process of the last `prepare`. Idempotent."""
        child, self._child = self._child, None
        if child is not None:
            child.close()

    def _end_host(self) -> None:
        host, self._host = self._host, None
        logs, self._logs = self._logs, None
        try:
            if host is not None:
                host.close()
        finally:
            if logs is not None:
                logs.cleanup()

    def close(self) -> None:
        """End the processes. Idempotent; what is asked after it starts a new host."""
        try:
            self.end_engine()
        finally:
            self._end_host()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

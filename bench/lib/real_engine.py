"""What the benches on the real engine share: settings of the tiny model, engines one after the other, interleaved rounds."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tuner.core.contract import EngineSettings, LiveSettings, LoadPlan, WindowResult
from tuner.engine.environment import describe_environment, engine_environment, resolve_platform, tpu_present
from tuner.launchers.local import LocalLauncher, LocalSession
from tuner.setup.models import resolve_model
from tuner.trials.rounds import round_order
from tuner.workload.spec import WorkloadSpec

START_TIMEOUT_S = 600.0
WINDOW_TIMEOUT_S = 120.0
MAX_COMPILED_REPEATS = 3

type Windows = dict[LiveSettings, dict[int, WindowResult]]


def say(text: str) -> None:
    """Progress, on standard error: standard output has the table."""
    print(text, file=sys.stderr, flush=True)


def engine_settings(block_size: int, max_num_batched_tokens: int, *, model: str = "tiny-qwen3", **changes: object) -> EngineSettings:
    """The settings that `make demo` measures with, for one page size."""
    found = resolve_model(model)
    found.prepare()
    base = EngineSettings(
        model=model,
        model_path=str(found.path),
        block_size=block_size,
        max_num_batched_tokens=max_num_batched_tokens,
        max_num_seqs=8,
        max_model_len=512,
        dtype="float32",
        load_format=found.load_format,
    )
    return base.with_changes(**changes)


def load_plan(workload: str, settings: EngineSettings) -> LoadPlan:
    return WorkloadSpec.parse(workload).plan(resolve_model(settings.model).vocab_size, settings.max_model_len)


@contextmanager
def launcher() -> Iterator[LocalLauncher]:
    """A local launcher whose logs go to a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="tuner-bench-") as folder:
        opened = LocalLauncher(log_dir=Path(folder), platform="auto" if tpu_present() else "cpu")
        try:
            yield opened
        finally:
            opened.close()


def interleaved(session: LocalSession, live: Sequence[LiveSettings], plan: LoadPlan, rounds: int, seed: int = 0) -> Windows:
    """Warm up every setting, then measure all of them `rounds` times in the order that a search has. Windows with a compilation are
    repeated."""
    for setting in live:
        warm_up(session, setting, plan)
    windows: Windows = {setting: {} for setting in live}
    cells: dict[str, list[LiveSettings]] = {}
    for setting in live:
        cells.setdefault(str(replace(setting, arm="")), []).append(setting)
    for round_ in range(rounds):
        for setting in round_order(cells, str(seed), round_):
            windows[setting][round_] = clean_window(session, setting, plan)
    return windows


def warm_up(session: LocalSession, setting: LiveSettings, plan: LoadPlan) -> None:
    """Until nothing is compiled any more."""
    while session.warm_up(setting, plan, WINDOW_TIMEOUT_S)["compilations"]:
        pass


def clean_window(session: LocalSession, setting: LiveSettings, plan: LoadPlan) -> WindowResult:
    """A window without a compilation; raises RuntimeError where there is none in three."""
    for _ in range(MAX_COMPILED_REPEATS):
        window = session.measure(setting, plan, WINDOW_TIMEOUT_S)
        if not window.compilations:
            return window
    raise RuntimeError(f"{setting} compiled in each of {MAX_COMPILED_REPEATS} windows")


def tokens_per_second(windows: Mapping[int, WindowResult]) -> dict[int, float]:
    """Total token throughput by round."""
    return {
        round_: sum(record.prompt_tokens + len(record.token_times_s) for record in window.requests) / window.duration_s
        for round_, window in windows.items()
    }


def mean_step_ms(windows: Mapping[int, WindowResult]) -> dict[int, float]:
    """Mean time of an engine step by round, in milliseconds."""
    return {round_: 1e3 * sum(step.duration_s for step in window.steps) / len(window.steps) for round_, window in windows.items()}


@contextmanager
def _as_an_engine() -> Iterator[None]:
    """In the environment of an engine's process. It is put back: whoever compiles for a TPU afterwards would compile another model."""
    before = dict(os.environ)
    os.environ.update(engine_environment(resolve_platform("auto"), offline=True))
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def device_line() -> str:
    """One line that says where the numbers come from."""
    with _as_an_engine():  # else libtpu complains about what it does not find
        found = describe_environment()
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items() if name in ("vllm_tpu", "tpu_inference", "jax"))
    return f"{found['accelerator']} ({found['platform']}, {found['device_count']} device), {versions}"

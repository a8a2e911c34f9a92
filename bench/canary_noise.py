"""How far canary answers of right and of wrong engines move on the real engine, and what the guard says of them.

    python -m bench.canary_noise

Two models (the built-in one, whose weights hardly look back, and a random Qwen3 with sharp choices), two dtypes, two page sizes, both arms
and two chunk budgets, each against the first engine's default arm; then the same engines with wrong KV writes planted
(tests.tuner.vllm_plugin.negative_control).
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tests.plugins.engine import START_TIMEOUT_S, VOCABULARY, random_qwen3
from tuner.cli.tables import text_table
from tuner.core.contract import ARM_DEFAULT, ARMS, Answered, EngineSettings, LiveSettings
from tuner.core.numbers import number
from tuner.launchers.local import LocalLauncher
from tuner.setup.models import resolve_model
from tuner.verdict.canaries import agreement, tolerance_of
from tuner.workload.canaries import canary_plan

PAGES, BUDGETS = (16, 64), (256, 128)
PLAN = canary_plan(VOCABULARY, 512, PAGES, BUDGETS)
WRONG = {"scheduler_cls": "tests.tuner.vllm_plugin.negative_control.PageWiseButUnaligned"}
HEADERS = ("model", "dtype", "KV write", "answers", "moved at most", "tolerance", "equal tokens", "at fault", "median s")


@dataclass(frozen=True)
class Heard:
    live: LiveSettings
    answers: tuple[Answered, ...]
    seconds: float


def engine(path: str, dtype: str, load_format: str) -> EngineSettings:
    return EngineSettings(
        model=path,
        model_path=path,
        block_size=PAGES[-1],
        max_num_batched_tokens=BUDGETS[0],
        max_num_seqs=8,
        max_model_len=512,
        dtype=dtype,
        load_format=load_format,
    )


def heard(launcher: LocalLauncher, settings: EngineSettings, alone: list[Answered]) -> Iterator[Heard]:
    """Every arm and budget of one engine, each asked twice: the first time may compile. `alone` gets the default arm's, one by one."""
    session = launcher.open(settings, START_TIMEOUT_S)
    try:
        for budget in BUDGETS:
            for arm in ARMS:
                live = LiveSettings(arm, budget)
                session.answer(live, PLAN, START_TIMEOUT_S)
                begun = time.monotonic()
                found = session.answer(live, PLAN, START_TIMEOUT_S)
                yield Heard(live, tuple(found), time.monotonic() - begun)
        alone += session.answer(LiveSettings(ARM_DEFAULT, BUDGETS[0]), replace(PLAN, max_concurrency=1), START_TIMEOUT_S)
    finally:
        session.close()


def main() -> None:
    tiny = resolve_model("tiny-qwen3")
    tiny.prepare()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        sharp = random_qwen3(Path(folder) / "sharp")
        launcher = LocalLauncher(log_dir=Path(folder) / "logs", platform="cpu")
        try:
            for name, path, load_format in (("built-in", tiny.path, "dummy"), ("random, sharp", str(sharp), "auto")):
                for dtype in ("float32", "bfloat16"):
                    rows += rows_of(launcher, name, dtype, engine(path, dtype, load_format))
        finally:
            launcher.close()
    print(f"{len(PLAN.requests)} prompts, {sum(len(item.prompt_token_ids) for item in PLAN.requests)} tokens in all, 12 generated for each")
    print(text_table(HEADERS, rows))


def rows_of(launcher: LocalLauncher, model: str, dtype: str, settings: EngineSettings) -> list[list[str]]:
    """Right engines of both page sizes, then wrong ones: of these, only the arm whose writes are wrong."""
    alone: list[Answered] = []
    right = [item for page in PAGES for item in heard(launcher, settings.with_changes(block_size=page), alone)]
    wrong = list(heard(launcher, settings.with_changes(extra_engine_args=WRONG), []))
    expected = right[0].answers
    tolerance = tolerance_of(expected, alone[: len(expected)])
    assert tolerance is not None, "the reference is no reference"
    return [
        _row(model, dtype, "right", right[1:], expected, tolerance),
        _row(model, dtype, "wrong", [item for item in wrong if item.live.arm != ARM_DEFAULT], expected, tolerance),
    ]


def _row(model: str, dtype: str, write: str, found: list[Heard], expected: tuple[Answered, ...], tolerance: float) -> list[str]:
    judged = [agreement(expected, item.answers, tolerance) for item in found]
    return [
        model,
        dtype,
        write,
        str(len(judged)),
        number(max(item.moved for item in judged), 2),
        number(tolerance, 2),
        f"{number(100 * sum(item.equal for item in judged) / sum(item.compared for item in judged), 4)} %",
        f"{sum(item.fault is not None for item in judged)} of {len(judged)}",
        number(sorted(item.seconds for item in found)[len(found) // 2], 2),
    ]


if __name__ == "__main__":
    main()

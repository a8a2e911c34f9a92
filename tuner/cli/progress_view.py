"""Live progress on standard error: one moving line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

from tuner.cli.tables import duration
from tuner.core.numbers import number
from tuner.trials.progress import Progress

PLAIN_EVERY_S = 10.0


def say(line: str) -> None:
    """On standard error. A log on a disk that is full, or a reader that has gone, ends no study."""
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)


def status_line(progress: Progress, metric: str) -> str:
    """Trials done, best so far, engine starts, time left."""
    parts = [f"{progress.done_trials}/{progress.planned_trials} trials"]
    if progress.failed_trials:
        parts.append(f"{progress.failed_trials} failed")
    parts.append(f"{progress.windows} windows")
    if progress.best is not None:
        parts.append(f"best {metric} {number(progress.best[1])} ({progress.best[0]})")
    parts.append(f"{progress.engine_starts} engine start{'' if progress.engine_starts == 1 else 's'}")
    parts.append(f"at most about {duration(progress.seconds_left)} left")  # a cell that is decided early saves the rest of its rounds
    return " | ".join(parts)


class ProgressView:
    """A listener for Progress. Use as a context manager."""

    def __init__(self, metric: str) -> None:
        self._metric = metric
        self._live = sys.stderr.isatty()
        self._last_plain = 0.0
        self._last_text = ""

    def __enter__(self) -> Self:
        if self._live:
            from rich.console import Console
            from rich.status import Status

            self._console = Console(stderr=True)
            self._status = Status("starting", console=self._console)
            self._status.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live:
            self._status.stop()

    def __call__(self, progress: Progress, line: str) -> None:
        text = status_line(progress, self._metric)
        if self._live:
            from rich.markup import escape

            if line:
                self._console.print(escape(line), highlight=False)
            self._status.update(escape(f"{text} | {progress.now_doing}"))
            return
        if line:
            say(line)
        if text != self._last_text and time.monotonic() - self._last_plain >= PLAIN_EVERY_S:
            self._last_plain, self._last_text = time.monotonic(), text
            say(text)

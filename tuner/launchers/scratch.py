"""Captures on their way into a logdir: written beside it, and moved when they are whole."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tuner.core.contract import CaptureTarget

_SCRATCH = ".partial"


@contextmanager
def scratch_logdir(logdir: Path) -> Iterator[Path]:
    """A logdir of its own for one capture, absolute; gone afterwards. One that fails half-way must not show up in TensorBoard."""
    scratch = (logdir / _SCRATCH).resolve()
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def publish(capture: Path, target: CaptureTarget) -> Path:
    """Move a finished capture to where TensorBoard looks; returns its new path."""
    target.folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.move(capture, target.folder / capture.name))

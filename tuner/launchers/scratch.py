"""Profiles on their way into a logdir: written beside it, and moved when they are whole."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tuner.core.contract import ProfileTarget

_SCRATCH = ".partial"


@contextmanager
def scratch_logdir(logdir: Path) -> Iterator[Path]:
    """A logdir of its own for one profile session, absolute; gone afterwards. One that fails half-way must not show up in TensorBoard."""
    scratch = (logdir / _SCRATCH).resolve()
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def publish(profile: Path, target: ProfileTarget) -> Path:
    """Move a finished profile to where TensorBoard looks; returns its new path."""
    target.folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.move(profile, target.folder / profile.name))

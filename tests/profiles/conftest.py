"""Profiles that several tests read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from profiles.links import find_profile_files
from tests.waiting import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]
STEPS = 12


@pytest.fixture(scope="session")
def jax_profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A profile of plain JAX on XLA:CPU, made now by the installed JAX; STEPS steps and one compilation inside."""
    logdir = tmp_path_factory.mktemp("jax") / "run"
    command = [sys.executable, "-m", "tests.profiles.jax_model", str(logdir), str(STEPS), "compile"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr[-2000:]
    (found,) = find_profile_files(logdir)
    assert found.session == "session"
    return found.path

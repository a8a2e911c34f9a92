"""What the benches on the real engine leave behind."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_asking_for_the_device_leaves_the_environment_as_it_was() -> None:
    """A model that was compiled for a TPU afterwards, by the same tests or the same bench, was another one (MODEL_IMPL_TYPE=vllm)."""
    code = (
        "import os; from bench.lib.real_engine import device_line\n"
        "before = dict(os.environ); line = device_line()\n"
        "kept = ('MODEL_IMPL_TYPE', 'SKIP_JAX_PRECOMPILE', 'TPU_NAME', 'HF_HUB_OFFLINE', 'MINE')\n"
        "print([name for name in kept if os.environ.get(name) != before.get(name)], bool(line))\n"
    )
    env = {name: value for name, value in os.environ.items() if name != "MODEL_IMPL_TYPE"} | {"MINE": "kept"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.splitlines()[-1:] == ["[] True"], done.stderr[-2000:]

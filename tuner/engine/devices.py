"""Which devices JAX finds, asked of a subprocess: looking initialises the accelerator, which a tuner must not hold."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from storage.records import Json
from tuner.engine.environment import tpu_present

DEFAULT_TIMEOUT_S = 90.0

_ASK = """
import json, jax
devices = jax.devices()
print("\\n" + json.dumps({"platform": devices[0].platform, "kind": devices[0].device_kind, "count": len(devices)}))
"""


@dataclass(frozen=True)
class Devices:
    """`error` says in one line why nothing is known; then the other fields are empty."""

    platform: str = ""
    kind: str = ""
    count: int = 0
    error: str | None = None

    def to_json(self) -> Json:
        return asdict(self)


def find_devices(python: str, *, platform: str = "auto", timeout_s: float = DEFAULT_TIMEOUT_S) -> Devices:
    """What JAX finds in this Python. `platform` other than "auto" makes JAX use that one or fail. Never raises."""
    env = dict(os.environ)
    if platform != "auto":
        env["JAX_PLATFORMS"] = platform
    elif not tpu_present() and not Path("/dev/nvidia0").exists():
        env.setdefault("JAX_PLATFORMS", "cpu")  # libtpu is installed everywhere and would look for chips first
    try:
        done = subprocess.run(
            [python, "-c", _ASK], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        return Devices(error=f"JAX did not answer within {timeout_s:g} s; another process may hold the accelerator")
    except OSError as error:
        return Devices(error=f"{python} cannot be started: {error.strerror}")
    try:
        found = json.loads(done.stdout.strip().splitlines()[-1])
        return Devices(found["platform"], found["kind"], found["count"])
    except (IndexError, ValueError, KeyError):
        lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
        return Devices(error=lines[-1][:300] if lines else f"JAX ended with exit code {done.returncode}")

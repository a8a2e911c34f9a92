"""What this machine offers to studies: its accelerator, how many chips, and the versions in the engine's Python."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping

from tuner.core.errors import BadInput
from tuner.engine.devices import find_devices
from tuner.engine.environment import PACKAGES, cpu_name, tpu_present, versions
from tuner.fleet.requirements import Machine

AUTO = "auto"
_ASK_TIMEOUT_S = 60.0
_ASK = """
import importlib.metadata, json, sys
found = {}
for name in json.loads(sys.argv[1]):
    try:
        found[name.replace("-", "_")] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


def find_machine(accelerator: str, chips: int | None, engine_python: str | None) -> Machine:
    """`accelerator`: "auto", or a name as the operator gives it, which nobody checks. `chips` None: as many as there are.

    Raises BadInput where a TPU is there that JAX cannot open: a worker that took studies would fail them all.
    """
    found = engine_versions(engine_python)
    if accelerator != AUTO:
        return Machine(accelerator, 1 if chips is None else chips, found)
    if not tpu_present():
        return Machine(cpu_name(), 1 if chips is None else chips, found)
    devices = find_devices(engine_python or sys.executable, platform="tpu")
    if devices.error is not None:
        fix = "free it, or name it yourself, for instance --accelerator v6e --chips 4"
        raise BadInput(f"JAX finds no TPU ({devices.error})", setting="accelerator", value=f"{AUTO}:", fix=fix)
    return Machine(f"{devices.kind}-{devices.count}", devices.count if chips is None else chips, found)


def engine_versions(engine_python: str | None) -> Mapping[str, str]:
    """By their metadata: nothing is imported. Of another Python by asking it; empty where it does not answer."""
    if engine_python is None:
        return versions()
    try:
        asked = [engine_python, "-c", _ASK, json.dumps(PACKAGES)]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=_ASK_TIMEOUT_S, check=True, stdin=subprocess.DEVNULL)
        answer = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return {}
    return {str(name): str(version) for name, version in answer.items()}

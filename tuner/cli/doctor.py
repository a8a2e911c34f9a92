"""`tuner doctor`: what was found on this machine, without starting an engine."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from tuner.cli.options import examples, json_option, print_json, storage_option

_PACKAGES = (
    "vllm-tpu-tuner",
    "vllm-tpu",
    "vllm",
    "tpu-inference",
    "jax",
    "jaxlib",
    "libtpu",
    "torch",
    "optuna",
    "sqlalchemy",
    "tensorboard",
)
_ENGINE_PACKAGES = ("vllm-tpu", "vllm", "tpu-inference", "jax", "vllm-tpu-tuner")
_PLUGIN_GROUP, _PLUGIN_NAME = "vllm.general_plugins", "tuner"
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_ASK_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Check:
    """`needed`: a search with the local launcher cannot run without it."""

    name: str
    ok: bool
    found: str
    needed: bool = False


@click.command(epilog=examples("tuner doctor", "tuner doctor --json", "tuner doctor --engine-python /opt/vllm/bin/python"))
@storage_option
@click.option("--engine-python", envvar="TUNER_ENGINE_PYTHON", metavar="PATH", help="The Python that has vLLM.  [default: this one]")
@click.option("--timeout", type=click.FloatRange(1, 600), default=90.0, show_default=True, help="Seconds for JAX to find its devices.")
@json_option
@click.pass_context
def doctor(context: click.Context, storage: str, engine_python: str | None, timeout: float, as_json: bool) -> None:
    """Engine, versions, devices, accelerator, storage and tools; exit code 1 where a search could not run."""
    from tuner.devices import find_devices
    from tuner.engine.environment import tpu_present

    python = engine_python or sys.executable
    versions = _engine_versions(python, _PACKAGES if engine_python is None else _ENGINE_PACKAGES)
    devices = find_devices(python, timeout_s=timeout)
    checks = [
        Check("python", sys.version_info >= (3, 12), f"{platform.python_version()} at {sys.executable}", needed=True),
        _engine(versions),
        _plugin(python),
        Check("devices", devices.error is None, devices.error or f"{devices.count} x {devices.kind} ({devices.platform})", needed=True),
        Check("tpu", tpu_present(), "TPU device files present" if tpu_present() else "none: JAX's CPU backend will be used"),
        _storage(storage),
        _program("chromium", _BROWSERS, "for the browser tests"),
        _tensorboard(),
    ]
    ready = all(check.ok for check in checks if check.needed)
    if as_json:
        print_json({"ready": ready, "checks": [asdict(check) for check in checks], "versions": versions, "devices": devices.to_json()})
    else:
        _print(checks, versions, ready)
    context.exit(0 if ready else 1)


def _print(checks: list[Check], versions: dict[str, str], ready: bool) -> None:
    from tuner.cli.tables import text_table

    words = {True: "ok", False: "-"}
    print(text_table(("what", "", "found"), [[check.name, words[check.ok], check.found] for check in checks]))
    print()
    print(text_table(("package", "version"), [[name, version] for name, version in versions.items()]))
    missing = ", ".join(check.name for check in checks if check.needed and not check.ok)
    print("\nready for tuner search" if ready else f"\nnot ready for tuner search: {missing}")


def _engine_versions(python: str, packages: tuple[str, ...]) -> dict[str, str]:
    """Package versions in that Python, by their metadata: importing vLLM or JAX takes seconds and may take the accelerator."""
    if python == sys.executable:
        found = {}
        for name in packages:
            try:
                found[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                continue
        return found
    code = (
        "import importlib.metadata as m, sys\n"
        "for n in sys.argv[1:]:\n"
        "    try: print(n, m.version(n))\n"
        "    except m.PackageNotFoundError: pass\n"
    )
    return dict(line.split(" ", 1) for line in _ask(python, code, *packages).splitlines())


def _ask(python: str, code: str, *arguments: str) -> str:
    try:
        done = subprocess.run(
            [python, "-c", code, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_ASK_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def _engine(versions: dict[str, str]) -> Check:
    vllm = versions.get("vllm-tpu") or versions.get("vllm")
    if vllm is None:
        return Check(
            "engine", False, "vLLM is not installed in this Python; install vllm-tpu-tuner[tpu] or give --engine-python", needed=True
        )
    if "tpu-inference" not in versions:
        return Check("engine", False, f"vLLM {vllm}, but tpu-inference is missing; install vllm-tpu-tuner[tpu]", needed=True)
    return Check("engine", True, f"vLLM {vllm} with tpu-inference {versions['tpu-inference']}", needed=True)


def _plugin(python: str) -> Check:
    """Whether vLLM in that Python will find our scheduler."""
    if python == sys.executable:
        found = [item.value for item in importlib.metadata.entry_points(group=_PLUGIN_GROUP) if item.name == _PLUGIN_NAME]
    else:
        code = "import sys, importlib.metadata as m\nprint(*[e.value for e in m.entry_points(group=sys.argv[1]) if e.name == sys.argv[2]])"
        found = _ask(python, code, _PLUGIN_GROUP, _PLUGIN_NAME).split()
    if found:
        return Check("plugin", True, f"entry point {_PLUGIN_GROUP}: {found[0]}", needed=True)
    return Check(
        "plugin", False, f"no entry point {_PLUGIN_NAME} in {_PLUGIN_GROUP}; install this package in the engine's Python", needed=True
    )


def _storage(url: str) -> Check:
    from storage.base import StorageFault
    from storage.upgrade import check
    from storage.url import parse_url

    try:
        parsed = parse_url(url)
        if parsed.path is not None and not parsed.path.exists():
            return Check("storage", True, f"{parsed.safe} does not exist yet; tuner search will create it")
        found: dict[str, Any] = check(url)
    except StorageFault as error:
        return Check("storage", False, str(error), needed=True)
    if found["revision"] is None:
        return Check("storage", True, f"{found['url']} holds no tuner tables yet; tuner search will create them")
    if not found["ok"]:
        return Check("storage", False, f"{found['url']} has schema {found['revision']}; run tuner db upgrade", needed=True)
    return Check("storage", True, f"{found['url']}, schema {found['revision']}", needed=True)


def _program(name: str, programs: tuple[str, ...], why: str) -> Check:
    path = next((found for found in map(shutil.which, programs) if found), None)
    return Check(name, path is not None, path or f"not found ({why})")


def _tensorboard() -> Check:
    try:
        version = importlib.metadata.version("tensorboard")
    except importlib.metadata.PackageNotFoundError:
        return Check("tensorboard", False, "not installed; install vllm-tpu-tuner[ui] to look at profiles")
    plugin = any((Path(str(entry)) / "tensorboard_plugin_profile").is_dir() for entry in sys.path)
    return Check("tensorboard", plugin, f"{version}" + ("" if plugin else ", but without tensorboard-plugin-profile"))

"""`tuner doctor`: what was found on this machine and how to fix what is missing, without starting an engine."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tuner.cli.checks import Check
from tuner.cli.options import engine_python_option, examples, json_option, logdir_option, print_json, spool_option, storage_option

if TYPE_CHECKING:
    from tuner.engine.devices import Devices

_US = "vllm-tpu-tuner"
_PACKAGES = (_US, "vllm-tpu", "vllm", "tpu-inference", "jax", "jaxlib", "libtpu", "torch", "optuna", "sqlalchemy", "tensorboard")
_ENGINE_PACKAGES = ("vllm-tpu", "vllm", "tpu-inference", "jax", "jaxlib", "libtpu", _US)
_SERVICE_PACKAGES = ("fastapi", "uvicorn", "jinja2")
_PLUGIN_GROUP, _PLUGIN_NAME = "vllm.general_plugins", "tuner"
_TPU_EXTRA = re.compile(r"([A-Za-z0-9_.-]+)==([^\s;]+)\s*;\s*extra == ['\"]tpu['\"]")
_ASK_TIMEOUT_S = 30.0


@click.command(
    epilog=examples(
        "tuner doctor",
        "tuner doctor --json",
        "tuner doctor --engine-python /opt/vllm/bin/python",
        "tuner doctor --model tiny-qwen3",
        "tuner doctor --fleet --ray-address 10.0.0.2:6379",
    )
)
@storage_option
@logdir_option
@spool_option
@engine_python_option
@click.option("--model", metavar="NAME", help="Also say what vLLM knows about this model, and whether it can be searched here.")
@click.option("--fleet", is_flag=True, help="Look at queue, workers and Ray nodes instead of this machine.")
@click.option("--ray-address", metavar="ADDRESS", help="With --fleet: the Ray cluster to look at. Not named: RAY_ADDRESS, if that is set.")
@click.option("--timeout", type=click.FloatRange(1, 600), default=90.0, show_default=True, help="Seconds for JAX to find its devices.")
@json_option
@click.pass_context
def doctor(
    context: click.Context,
    /,
    *,
    storage: str,
    logdir: str,
    spool: Path | None,
    engine_python: str | None,
    model: str | None,
    fleet: bool,
    ray_address: str | None,
    timeout: float,
    as_json: bool,
) -> None:
    """Check what a search and the service need and say how to install what is missing. Exit code 1: a search could not run here; with
    --fleet: submitted studies could not run."""
    if fleet:
        _fleet(context, storage, ray_address, as_json)
    from tuner.engine.devices import find_devices
    from tuner.launchers.choice import check_python

    if engine_python is not None:
        check_python(engine_python)
    python = engine_python or sys.executable
    versions = _engine_versions(python, _PACKAGES if engine_python is None else _ENGINE_PACKAGES)
    devices = find_devices(python, timeout_s=timeout)
    checks = [
        Check("python", True, f"{platform.python_version()} at {sys.executable}"),
        _engine(versions),
        _tested(versions),
        _plugin(python),
        Check("devices", devices.error is None, devices.error or f"{devices.count} x {devices.kind} ({devices.platform})", needed=True),
        _tpu(devices),
        _storage(storage),
        _logdir(logdir),
        _spool(spool, logdir),
        _service(),
        _tensorboard(),
        *([] if model is None else [_model(model, engine_python, devices)]),
    ]
    ready = all(check.ok for check in checks if check.needed)
    if as_json:
        print_json({"ready": ready, "checks": [asdict(check) for check in checks], "versions": versions, "devices": devices.to_json()})
    else:
        _print(checks, versions, ready)
    context.exit(0 if ready else 1)


def _fleet(context: click.Context, storage: str, ray_address: str | None, as_json: bool) -> None:
    """Ends the command."""
    from tuner.cli.fleet_check import check_fleet, check_ray

    database = _storage(storage)
    address = ray_address or os.environ.get("RAY_ADDRESS")
    checks = [database, *(check_fleet(storage) if database.ok else []), *([] if address is None else [check_ray(address)])]
    ready = all(check.ok for check in checks if check.needed)
    if as_json:
        print_json({"ready": ready, "checks": [asdict(check) for check in checks]})
    else:
        _print(checks, {}, ready, "submitted studies")
    context.exit(0 if ready else 1)


def _print(checks: list[Check], versions: dict[str, str], ready: bool, what: str = "tuner search") -> None:
    from tuner.cli.tables import text_table

    def state(check: Check) -> str:
        return "ok" if check.ok else "missing" if check.needed else "-"

    print(text_table(("what", "", "found"), [[check.name, state(check), check.found] for check in checks]))
    if versions:
        print()
        print(text_table(("package", "version"), [[name, version] for name, version in versions.items()]))
    fixes = [f"  {check.name}: {check.fix}" for check in checks if not check.ok and check.fix]
    if fixes:
        print("\n".join(["\nto fix:", *fixes]))
    missing = ", ".join(check.name for check in checks if check.needed and not check.ok)
    print(f"\nready for {what}" if ready else f"\nnot ready for {what}: {missing}")


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
        fix = "install vllm-tpu-tuner[tpu], or name the Python that has vLLM with --engine-python"
        return Check("engine", False, "vLLM is not installed in this Python", fix, needed=True)
    if "tpu-inference" not in versions:
        return Check("engine", False, f"vLLM {vllm}, but tpu-inference is missing", "install vllm-tpu-tuner[tpu]", needed=True)
    return Check("engine", True, f"vLLM {vllm} with tpu-inference {versions['tpu-inference']}", needed=True)


def _tested(versions: dict[str, str]) -> Check:
    """The plugin overrides methods of the engine, so other versions than those it was tested with may break it."""
    required = [_TPU_EXTRA.match(line) for line in importlib.metadata.requires(_US) or ()]
    pinned = {match[1]: match[2] for match in required if match is not None}
    other = [f"{name} {versions[name]}, tested with {pinned[name]}" for name in pinned if versions.get(name, pinned[name]) != pinned[name]]
    wanted = ", ".join(f"{name} {version}" for name, version in pinned.items())
    return Check("tested", not other, "; ".join(other) or f"this tuner was tested with {wanted}", f"use {wanted}, or expect failures")


def _plugin(python: str) -> Check:
    """Whether vLLM in that Python will find our scheduler."""
    if python == sys.executable:
        found = [item.value for item in importlib.metadata.entry_points(group=_PLUGIN_GROUP) if item.name == _PLUGIN_NAME]
    else:
        code = "import sys, importlib.metadata as m\nprint(*[e.value for e in m.entry_points(group=sys.argv[1]) if e.name == sys.argv[2]])"
        found = _ask(python, code, _PLUGIN_GROUP, _PLUGIN_NAME).split()
    if not found:
        fix = f"install {_US} into the engine's Python, too"
        return Check("plugin", False, f"vLLM cannot find our scheduler: no {_PLUGIN_NAME} in {_PLUGIN_GROUP}", fix, needed=True)
    allowed = os.environ.get("VLLM_PLUGINS")
    if allowed is not None and _PLUGIN_NAME not in allowed.split(","):
        fix = f"unset VLLM_PLUGINS, or add {_PLUGIN_NAME} to it"
        return Check("plugin", False, f"VLLM_PLUGINS={allowed} leaves our plugin out", fix, needed=True)
    return Check("plugin", True, f"entry point {_PLUGIN_GROUP}: {found[0]}", needed=True)


def _tpu(devices: Devices) -> Check:
    """No TPU is no failure: the same engine then runs on XLA:CPU, and its results hold for this host."""
    from tuner.engine.environment import tpu_present

    if devices.platform == "tpu":
        return Check("tpu", True, f"JAX runs on {devices.kind}")
    if not tpu_present():
        fix = "on a TPU VM look at /dev/accel* and /dev/vfio, and pass them into the container; elsewhere there is nothing to fix"
        return Check("tpu", False, "no TPU here: the engine runs on XLA:CPU, and results hold for this host only", fix)
    forced = os.environ.get("JAX_PLATFORMS")
    found = "TPU device files are there, but JAX does not use them" + (f" (JAX_PLATFORMS={forced})" if forced else "")
    return Check("tpu", False, found, "unset JAX_PLATFORMS" if forced else "end the process that holds the TPU, or install libtpu")


def _storage(url: str) -> Check:
    from storage.base import StorageFault
    from storage.upgrade import check, open_storage
    from storage.url import parse_url

    try:
        parsed = parse_url(url)
        if parsed.path is not None and parsed.path.parent.is_dir() and not parsed.path.exists():
            return Check("storage", True, f"{parsed.safe} does not exist yet; tuner search will create it", needed=True)
        found: dict[str, Any] = check(url)
        if found["revision"] is None:
            return Check("storage", True, f"{found['url']} holds no tuner tables yet; tuner search will create them", needed=True)
        open_storage(url, create=False, read_only=True).close()  # says what to do about another schema
    except StorageFault as error:
        return Check("storage", False, error.reason, error.fix or "", needed=True)
    return Check("storage", True, f"{found['url']}, schema {found['revision']}", needed=True)


def _logdir(logdir: str) -> Check:
    from tuner.core.errors import BadInput
    from tuner.setup.study_setup import check_logdir

    try:
        check_logdir(logdir)
    except BadInput as error:
        return Check("logdir", False, error.complaint, error.fix or "", needed=True)
    folder = Path(logdir).expanduser().absolute()
    return Check("logdir", True, str(folder) + ("" if folder.exists() else " does not exist yet; tuner search will create it"), needed=True)


def _spool(folder: Path | None, logdir: str) -> Check:
    """What runs of this machine kept while their database was away, and could not store since."""
    from tuner.trials.spool import default_spool, read_spool, spool_files

    folder = folder or default_spool(logdir)
    said = []
    for path in spool_files(folder):
        kept = read_spool(path)
        damaged = f", {len(kept.damaged)} damaged lines" if kept.damaged else ""
        said.append(f"{len(kept.windows)} windows of study {kept.study!r}{damaged} in {path.name}")
    fix = "start tuner worker with this --spool, or resume the study: both store what was kept"
    return Check("spool", not said, f"{folder}: {'; '.join(said) or 'no window waits for the database'}", fix)


def _model(name: str, engine_python: str | None, devices: Devices) -> Check:
    from tuner.cli.model_check import check_model

    ok, found, fix = check_model(name, engine_python, devices.platform)
    return Check("model", ok, found, fix, needed=True)


def _service() -> Check:
    missing = [name for name in _SERVICE_PACKAGES if importlib.util.find_spec(name) is None]
    found = f"{', '.join(missing)} not installed" if missing else "tuner serve can run"
    return Check("service", not missing, found, "install vllm-tpu-tuner[ui] for tuner serve")


def _tensorboard() -> Check:
    fix = "install vllm-tpu-tuner[ui] to look at profiles"
    try:
        version = importlib.metadata.version("tensorboard")
    except importlib.metadata.PackageNotFoundError:
        return Check("tensorboard", False, "not installed", fix)
    plugin = any((Path(str(entry)) / "tensorboard_plugin_profile").is_dir() for entry in sys.path)
    return Check("tensorboard", plugin, f"{version}" + ("" if plugin else ", but without tensorboard-plugin-profile"), fix)

"""Which launcher `--launcher` means. Imports only the one that is asked for."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.core.contract import ARM_DEFAULT, Launcher
from tuner.core.errors import BadInput
from tuner.core.factors import ENV
from tuner.core.spelling import did_you_mean
from tuner.engine.devices import find_devices
from tuner.engine.environment import resolve_platform, tpu_present
from tuner.serving.engine_arg_facts import factor_facts
from tuner.serving.engine_arg_names import check_engine_arg_names
from tuner.setup.config import WITHOUT_AN_ENGINE, StudyConfig, check_config
from tuner.setup.factors import ALL, check_levels
from tuner.setup.hardware import Limits, accelerator_limits

if TYPE_CHECKING:
    from tuner.foresight.simulated_chip import SimulatedChip
    from tuner.launchers.measured_table import MeasuredTable
    from tuner.launchers.ray_cluster import RayPlace

_COLUMNS = (  # setting, its column in a table, its value where there is no such column
    ("page_sizes", "block_size", 16),
    ("chunk_budgets", "max_num_batched_tokens", 2048),
    ("arms", "arm", ARM_DEFAULT),
)
_ONLY_OF = {  # launcher -> the settings that no other one looks at
    "table": ("table", "table_noise"),
    "simulate": ("accelerator", "borrow", "step_noise"),
    "ray": ("ray_address", "ray_resources", "ray_runtime_env"),
}
SEARCHED_COLUMNS = tuple(column for _, column, _ in _COLUMNS)
LAUNCHERS = ("local", "serve", "ray", "table", "simulate")


def check_launcher(config: StudyConfig) -> None:
    """Everything that can be known before a launcher is made; starts no engine. Raises BadInput."""
    if config.launcher not in LAUNCHERS:
        raise BadInput(f"launcher {config.launcher!r} is unknown; use one of {', '.join(LAUNCHERS)}")
    _refuse_metrics_that_nobody_measures(config)
    if config.launcher == "table":
        _refuse_others_settings(config)
        if config.table is None:
            raise BadInput("launcher table needs a file of measured configurations; add --table FILE.csv")
        _check_table(config, Path(config.table).expanduser())
        return
    _refuse_others_settings(config)
    if config.python_here is not None:
        check_python(config.python_here)
    check_engine_arg_names(config.engine_args, config.python_here)
    if config.factors:
        check_levels(config.factors, factor_facts(config.factors, config.python_here))
        _refuse_variables_that_are_set(config)
    if config.launcher == "simulate":
        _chip_of(config)
        return
    if config.platform == "tpu" and config.launcher != "ray":
        _require_tpu(config)
    parallel = max([config.tensor_parallel_size, *map(int, config.factors.get("tensor_parallel_size", ()))])
    if parallel > 1 and config.asked_platform != "tpu" and resolve_platform(config.platform) != "tpu":
        raise BadInput(f"tensor_parallel_size {parallel} needs a TPU: elsewhere our XLA backend runs on one device; use 1")
    if config.launcher == "ray":
        from tuner.launchers.ray_slices import check_cluster_has

        check_cluster_has(_ray_place(config), config.asked_platform, parallel, config.attention_backend, config.engine_python)


def _ray_place(config: StudyConfig) -> RayPlace:
    from tuner.launchers.ray_cluster import RayPlace, read_runtime_env

    return RayPlace(config.ray_address, config.ray_resources, read_runtime_env(config.ray_runtime_env))


def _refuse_variables_that_are_set(config: StudyConfig) -> None:
    """Every engine inherits them, also the one in which a level says nothing."""
    for name in config.factors:
        if name.startswith(ENV) and (given := os.environ.get(name.removeprefix(ENV))) is not None:
            reason = f"{name} is also set in this environment, to {given!r}"
            raise BadInput(reason, setting="factors", fix=f"unset {name.removeprefix(ENV)}, or drop the factor")


def _refuse_others_settings(config: StudyConfig) -> None:
    """Settings that only another launcher looks at."""
    if config.step_time is not None and config.launcher == "table":
        raise BadInput("is of no use to --launcher table", setting="step_time", value=config.step_time, fix="drop it")
    for launcher, names in _ONLY_OF.items():
        for name in names:
            given = getattr(config, name)
            if config.launcher != launcher and given not in (None, 0.0):
                raise BadInput(f"{name} {given} is only for --launcher {launcher}; drop it or add --launcher {launcher}")


def _chip_of(config: StudyConfig) -> SimulatedChip:
    from tuner.foresight.simulated_chip import simulated_chip

    return simulated_chip(config.accelerator, config.step_time, config.borrow, config.step_noise)


def with_measured_sizes(config: StudyConfig) -> StudyConfig:
    """Where no page sizes are named, those that the table has: nothing else can be measured there; so with the levels of a factor that are
    ALL. A setting that is no column of a table of factors has one value, which changes nothing. Raises BadInput for a bad table."""
    if config.launcher != "table" or config.table is None or (config.page_sizes is not None and not config.factors):
        return config
    table = _table(config)
    changes: dict[str, Any] = {}
    for setting, column, alone in _COLUMNS:
        if column not in table.parameters and setting not in config.model_fields_set:
            changes[setting] = (alone,)
    if config.page_sizes is None and "block_size" in table.parameters:
        changes["page_sizes"] = tuple(sorted({int(row.params["block_size"]) for row in table.configurations}))
    if any(levels == (ALL,) for levels in config.factors.values()):
        found = {name: tuple(table.values_of(name)) if name in table.parameters else () for name in config.factors}
        changes["factors"] = {name: (found[name] or levels) if levels == (ALL,) else levels for name, levels in config.factors.items()}
    sized = config.model_copy(update=changes)
    check_config(sized)
    return sized


def make_launcher(config: StudyConfig) -> Launcher:
    """The launcher of a checked configuration. Raises BadInput."""
    if config.launcher == "table":
        from tuner.launchers.measured_table import Noise
        from tuner.launchers.table import TableLauncher

        noise = Noise("multiplicative", config.table_noise) if config.table_noise else Noise()
        return TableLauncher(Path(str(config.table)).expanduser(), noise=noise, seed=config.seed, factors=config.factors)
    logs = engine_logs(config)
    if config.launcher == "simulate":
        from tuner.launchers.simulate import SimulateLauncher

        return SimulateLauncher(_chip_of(config), log_dir=logs, python=config.engine_python, seed=config.seed)
    if config.launcher == "serve":
        from tuner.launchers.serve import ServeLauncher

        return ServeLauncher(log_dir=logs, python=config.engine_python, platform=config.platform)
    if config.launcher == "ray":
        from tuner.launchers.ray_launcher import RayLauncher

        return RayLauncher(_ray_place(config), log_dir=logs, python=config.engine_python, platform=config.asked_platform)
    from tuner.launchers.local import LocalLauncher

    return LocalLauncher(log_dir=logs, python=config.engine_python, platform=config.platform)


def engine_logs(config: StudyConfig) -> Path:
    """The folder of what engines and simulations of this study write."""
    return Path(config.logdir).expanduser().absolute() / config.study / "engine-logs"


def make_finalists_launcher(config: StudyConfig) -> Launcher | None:
    """Where the finalists are confirmed; None: in the study's own launcher. Starts nothing yet."""
    if config.finalists_via == "launcher" or config.launcher == config.finalists_via:
        return None
    return make_launcher(config.model_copy(update={"launcher": config.finalists_via}))


def device_limits(config: StudyConfig) -> Limits | None:
    """The memory limits of the TPU that a checked configuration will run on; None where it is no TPU, or not here.

    Raises BadInput where the TPU cannot be asked for its kind, or is of a kind that nobody here knows.
    """
    if config.launcher in (*WITHOUT_AN_ENGINE, "ray") or resolve_platform(config.platform) != "tpu":
        return None
    found = find_devices(config.engine_python or sys.executable, platform="tpu")
    if found.error is not None:
        raise BadInput(f"platform {config.platform}: JAX finds no TPU ({found.error}); use --platform cpu")
    return accelerator_limits(found.kind)


def _asked_metrics(config: StudyConfig) -> list[tuple[str, str]]:
    """(setting, metric) of all objectives and SLOs."""
    return [("objective", item.metric) for item in config.objectives] + [("slos", item.metric) for item in config.limits]


def _refuse_metrics_that_nobody_measures(config: StudyConfig) -> None:
    """They would be missing in every window, so that every trial fails. A table has what its columns are (_check_table)."""
    for setting, metric in _asked_metrics(config):
        if config.launcher == "simulate" and metric.startswith(("startup_", "canary_")):
            raise BadInput(f"{setting}: a simulation starts no engine, so it has no {metric}; use --launcher local or another objective")
        if config.launcher != "table" and not config.guard and metric.startswith("canary_"):
            raise BadInput(f"{setting}: {metric} comes from the canary prompts, and guard is off; drop --no-guard (guard: false)")


def _check_table(config: StudyConfig, path: Path) -> None:
    """A size that no row has, or a metric that is no column, would only fail, trial by trial; single rows may be missing."""
    table = _table(config)
    rows = table.configurations
    for name in config.factors:
        if name not in table.parameters:
            fix = did_you_mean(name, [column for column in table.parameters if column not in SEARCHED_COLUMNS])
            raise BadInput(f"table {path} has no column {name}", setting="factors", fix=fix)
    searched = [(setting, column, getattr(config, setting) or ()) for setting, column, _ in _COLUMNS if column in table.parameters]
    for setting, column, values in [*searched, *(("factors", name, levels) for name, levels in config.factors.items())]:
        known = dict.fromkeys(row.params[column] for row in rows)
        for value in values:
            if value not in known:
                raise BadInput(f"{setting}: table {path} has no row with {column} {value}; it has {', '.join(map(str, known))}")
    for setting, column, _ in _COLUMNS:
        if column not in table.parameters and len(getattr(config, setting) or ()) > 1:
            raise BadInput(f"{setting}: table {path} has no column {column}, so they would all be the same; name one")
    for setting, metric in _asked_metrics(config):
        if metric not in table.directions:
            raise BadInput(f"{setting}: table {path} has no metric {metric}; it has {', '.join(table.directions)}")


def _table(config: StudyConfig) -> MeasuredTable:
    from tuner.launchers.table import TableLauncher

    return TableLauncher(Path(str(config.table)).expanduser(), factors=config.factors).table


def check_python(python: str) -> None:
    """Raises BadInput where the engine's Python is not there or no program."""
    path = Path(python).expanduser()
    if not path.is_file():
        raise BadInput(f"engine_python {python} does not exist; name the Python that has vLLM")
    if not os.access(path, os.X_OK):
        raise BadInput(f"engine_python {python} is not a program; name the Python that has vLLM")


def _require_tpu(config: StudyConfig) -> None:
    if not tpu_present():
        raise BadInput("platform tpu: no TPU found on this machine (no /dev/accel*, no /dev/vfio/<n>); use --platform auto or cpu")
    found = find_devices(config.engine_python or sys.executable, platform="tpu")
    if found.error is not None or found.platform != "tpu":
        raise BadInput(f"platform tpu: JAX finds no TPU ({found.error or f'only {found.platform}'}); use --platform auto or cpu")

"""What a submitted study may ask for: nothing but a study.

Who submits is not who runs the workers. So a submission names no command, path, interpreter, environment variable, storage or folder, and
no engine argument that could load code. The rule is a list of what is allowed, not of what is not: a setting or an argument that nobody
has thought about yet is refused. The operator widens it (`Allowed`, from the options of `tuner serve`); `tuner submit` in the operator's
own shell asks nobody.
"""

from __future__ import annotations

import fnmatch
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from tuner.core.errors import BadInput
from tuner.core.factors import ENV
from tuner.fleet.allowed_args import wrong_argument
from tuner.fleet.allowed_workload import Extent, check_workload
from tuner.fleet.submission import OF_THE_WORKER
from tuner.fleet.submitted_text import NotAllowed, Place
from tuner.setup.complaints import first_complaint
from tuner.setup.config import STUDY_NAME, StudyConfig, check_config
from tuner.setup.config_file import suggestion
from tuner.setup.factors import ENVIRONMENT, OF_A_STUDY
from tuner.setup.models import HUB_ID, TINY_QWEN3

# Settings that say where things lie on a machine, or which program runs: they belong to whoever runs the worker.
# A setting that is in neither list is refused, until somebody has thought about it.
OF_A_SUBMISSION = frozenset(
    (
        *(
            "study",
            "model",
            "page_sizes",
            "chunk_budgets",
            "arms",
            "factors",
            "when",
            "compare",
            "starts",
            "alignment_variant",
            "workload",
            "objective",
            "slos",
            "rounds",
        ),
        *("trials", "time_budget", "sampler", "warm_start", "profile", "guard", "launcher", "finalists_via", "table", "table_noise"),
        *("accelerator", "step_time", "borrow", "step_noise", "foresight", "max_num_seqs", "max_model_len", "dtype", "platform"),
        *("attention_backend", "kv_write", "num_gpu_blocks", "tensor_parallel_size", "enable_prefix_caching", "async_scheduling", "seed"),
        *("engine_args", "trial_timeout", "engine_start_timeout"),
    )
)
OF_THE_OPERATOR = OF_THE_WORKER | {"ray_address", "ray_resources", "ray_runtime_env"}
_STUDY_OR_WORD = re.compile(STUDY_NAME)
_CHIP = re.compile(r"[A-Za-z0-9][A-Za-z0-9 .-]{0,59}")
_UNKNOWN_PAGE_SIZES = 8  # about as many as are tried where none are named


@dataclass(frozen=True)
class Limits:
    """How much one study may ask for."""

    combinations: int = 5_000
    factors: int = 12
    levels: int = 64  # of one factor, and page sizes, chunk budgets
    rounds: int = 50
    trials: int = 5_000
    study_s: float = 72 * 3600.0
    trial_s: float = 2 * 3600.0
    start_s: float = 2 * 3600.0
    devices: int = 1024
    running: int = 65_536  # requests at once
    pages: int = 100_000_000
    load: Extent = field(default_factory=Extent)


@dataclass(frozen=True)
class Allowed:
    """`models`: patterns (`Qwen/*`) of Hugging Face ids, and exact folders; () for any id. `files`: exact paths of tables, traces and step
    times on the workers' machines."""

    launchers: Sequence[str] = ("local", "serve", "simulate")
    engine_args: frozenset[str] = frozenset()
    models: Sequence[str] = ()
    files: frozenset[str] = frozenset()
    limits: Limits = field(default_factory=Limits)


def allowed_study(given: Mapping[str, Any], allowed: Allowed) -> StudyConfig:
    """The checked configuration of a submission that was read by tuner.fleet.submitted_text. Nothing is opened or started.

    Raises NotAllowed, which says where and how to mend it.
    """
    for key in given:
        if key in StudyConfig.model_fields and key not in OF_A_SUBMISSION:
            raise NotAllowed((key,), "belongs to the worker that runs the study", "leave it out")
        if key not in StudyConfig.model_fields:
            raise NotAllowed((key,), "is no setting of a study", suggestion(key))
    for name in ("study", "model"):
        if name not in given:
            raise NotAllowed((name,), "is missing", "add it")
    try:
        config = StudyConfig.model_validate(given)
    except ValidationError as error:
        found = first_complaint(error)
        raise NotAllowed(found.place, found.text, None if ";" in found.text else "write it as in a study file") from error
    _check_names(config, allowed)
    _check_arguments(config, allowed)
    _check_extent(config, allowed.limits)
    check_workload(config.workload, allowed.files, allowed.limits.load)
    try:
        check_config(config)
    except BadInput as error:
        raise about(error) from error
    return config if config.time_budget is not None else config.model_copy(update={"time_budget": allowed.limits.study_s})


def about(error: BadInput) -> NotAllowed:
    """The same complaint, with its place."""
    said = " ".join(part for part in ("" if error.value is None else str(error.value), error.reason) if part)
    return NotAllowed((error.setting,) if error.setting else (), said or str(error), error.fix)


def _check_names(config: StudyConfig, allowed: Allowed) -> None:
    """Settings whose values are names of something outside the study."""
    for setting in ("launcher", "finalists_via"):
        value = getattr(config, setting)
        if value not in allowed.launchers and (setting, value) != ("finalists_via", "launcher"):
            known = ", ".join(allowed.launchers)
            raise NotAllowed((setting,), "is not a launcher that is allowed here", f"use {known}, or have --allow-launcher name it")
    if not _model_is_allowed(config.model, allowed.models):
        ways = f"use {TINY_QWEN3} or a Hugging Face id" if not allowed.models else f"use {TINY_QWEN3}, {', '.join(allowed.models)}"
        raise NotAllowed(("model",), "is not a model that is allowed here", f"{ways}, or have --allow-model name it")
    for setting in ("table", "step_time"):
        if (path := getattr(config, setting)) is not None and path not in allowed.files:
            raise NotAllowed((setting,), "is not a file that is allowed here", "leave it out, or have --allow-file name exactly this path")
    for setting in ("accelerator", "borrow"):
        if (chip := getattr(config, setting)) is not None and not _CHIP.fullmatch(chip):
            raise NotAllowed((setting,), "is no name of an accelerator", "write for instance v6e-4")
    if not _STUDY_OR_WORD.fullmatch(config.warm_start):
        raise NotAllowed(("warm_start",), "is no name of a study", "use auto, none or an earlier study's name")


def _model_is_allowed(model: str, patterns: Sequence[str]) -> bool:
    """A folder is a model only where the operator names exactly it."""
    if model == TINY_QWEN3 or model in patterns:
        return True
    if not HUB_ID.fullmatch(model):
        return False
    return not patterns or any(fnmatch.fnmatchcase(model, pattern) for pattern in patterns)


def _check_arguments(config: StudyConfig, allowed: Allowed) -> None:
    for name, value in config.engine_args.items():
        _check_argument(("engine_args", name), name, value, allowed)
    for name, levels in config.factors.items():
        if name.startswith(ENV):
            if name.removeprefix(ENV) not in ENVIRONMENT:
                raise NotAllowed(("factors", name), "is no variable that a study may set", f"use one of {', '.join(ENVIRONMENT)}")
        elif name not in OF_A_STUDY:
            for position, level in enumerate(levels):
                _check_argument(("factors", name, position), name, level, allowed)


def _check_argument(place: Place, name: str, value: object, allowed: Allowed) -> None:
    if (reason := wrong_argument(name, value, allowed.engine_args)) is not None:
        raise NotAllowed(place, reason, "change it or leave it out; docs/service.md lists what is allowed, --allow-engine-args widens it")


def _check_extent(config: StudyConfig, most: Limits) -> None:
    lists: dict[Place, Sequence[object]] = {
        ("page_sizes",): config.page_sizes or (),
        ("chunk_budgets",): config.chunk_budgets,
        ("arms",): config.arms,
    }
    counts: dict[Place, Sequence[object]] = {**lists, **{("factors", name): levels for name, levels in config.factors.items()}}
    for place, values in counts.items():
        _at_most(place, len(values), most.levels, "values")
    _at_most(("factors",), len(config.factors), most.factors, "factors")
    sizes = [len(values) for values in counts.values() if values]
    all_of_them = math.prod(sizes) * (1 if config.page_sizes else _UNKNOWN_PAGE_SIZES)
    _at_most(("factors",) if config.factors else ("page_sizes",), all_of_them, most.combinations, "configurations")
    _at_most(("rounds",), config.rounds.max, most.rounds, "rounds")
    _at_most(("slos",), len(config.slos), most.levels, "values")
    for name, value, limit in (
        ("trials", config.trials, most.trials),
        ("starts", config.starts, most.rounds),
        ("time_budget", config.time_budget, most.study_s),
        ("trial_timeout", config.trial_timeout, most.trial_s),
        ("engine_start_timeout", config.engine_start_timeout, most.start_s),
        ("max_model_len", config.max_model_len, most.load.longest),
        ("max_num_seqs", config.max_num_seqs, most.running),
        ("num_gpu_blocks", config.num_gpu_blocks, most.pages),
        ("tensor_parallel_size", config.tensor_parallel_size, most.devices),
    ):
        _at_most((name,), 0 if value is None else value, limit, "seconds" if limit in (most.study_s, most.trial_s) else "")


def _at_most(place: Place, value: float, limit: float, unit: str) -> None:
    if value > limit:
        raise NotAllowed(place, f"asks for {value:g} {unit}".rstrip(), f"ask for at most {limit:g}")

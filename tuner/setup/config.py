"""What a search is asked to do: one strict, frozen model. Reading files and command lines: tuner.setup.config_file.

Engine settings keep vLLM's names. What needs the model or the workload to be judged stands in tuner.setup.study_setup; here is what the
configuration alone can tell.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

from tuner.core.contract import ARM_PAGE_ALIGNED, ARMS
from tuner.core.contrast import ARM, compared_name
from tuner.core.defaults import DEFAULT_LOGDIR, DEFAULT_STORAGE
from tuner.core.errors import BadInput
from tuner.core.factors import Level
from tuner.metrics.objective import DEFAULT_OBJECTIVE, Objective, Slo, parse_guard, parse_objectives, parse_slo, request_limits
from tuner.setup.comparison import check_comparison
from tuner.setup.conditions import WHEN, check_conditions, split_conditions
from tuner.setup.engine_arg_rules import check_engine_args
from tuner.setup.factors import check_factors, parse_factors
from tuner.setup.feasibility import starvation
from tuner.stats.sequential import InterimPlan

WITHOUT_AN_ENGINE = ("table", "simulate")  # launchers
ORDINAL = "ordinal"  # our own sampler, tuner.sampler
MOST_ROUNDS = 500  # more would ask for minutes of statistics
STARTS = 10  # of each level of a cold factor that is compared
MOST_STARTS = 100
CONFIRMATION_ROUNDS = 6  # of a finalist, within min and max: its value needs an interval, no verdict hangs on it

_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?")
_KV_WRITES = ("scatter", "loop")  # tuner.vllm_plugin.settings.IMPLEMENTATIONS, which only the engine's process may import
LARGEST_SIZE = 1 << 20  # tokens: far above what any engine takes for a page or a step, and low enough that a typing error is told
STUDY_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}"
_STUDY_NAME_RULE = "use 1 to 100 letters, digits and _ . - (it names a folder), not starting with . or -"


def parse_duration(value: Any) -> Any:
    """Seconds from 90, "90", "90s", "10m" or "1h30m"; anything else comes back as it is, for pydantic to refuse."""
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, str):
        return value
    match = _DURATION.fullmatch(value.strip())
    if match is None or not any(match.groups()):
        raise ValueError(f"{value!r} is not a duration; write for instance 90s, 10m or 1h30m")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds


def parse_rounds(value: Any) -> Any:
    """{"min", "max"} from 5, "5" or "3-12"; anything else comes back as it is, for pydantic to refuse."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+)(?:\s*-\s*(\d+))?\s*", value)
        if match is None:
            raise ValueError(f"{value!r} is not a number of rounds; write for instance 5, or 3-12 to let the data decide")
        value = {"min": int(match[1]), "max": int(match[2] or match[1])}
    if isinstance(value, int) and not isinstance(value, bool):
        value = {"min": value, "max": value}
    return value


def parse_resources(value: Any) -> Any:
    """{"TPU": 4.0} from "TPU=4" or a mapping; anything else comes back as it is, for pydantic to refuse."""
    if isinstance(value, str):
        pairs = [part.partition("=") for part in value.split(",") if part.strip()]
        if not pairs or not all(name.strip() and re.fullmatch(r"\s*\d+(\.\d+)?\s*", count) for name, _, count in pairs):
            raise ValueError(f"{value!r} are no resources; write for instance TPU=4, or TPU=4,CPU=8")
        value = {name.strip(): count for name, _, count in pairs}
    if isinstance(value, dict):
        return {name: float(count) if type(count) in (int, str) else count for name, count in value.items()}
    return value


def _compared(value: Any) -> Any:
    return compared_name(value) if isinstance(value, str) else value


def _as_tuple(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    return (value,) if isinstance(value, int | str) and not isinstance(value, bool) else value


class StrictModel(BaseModel):
    """Unknown keys are refused, types are not converted, and a model never changes."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Rounds(StrictModel):
    """How often each configuration is measured: at least `min` and at most `max` times, until its verdict is clear; equal numbers: exactly
    that often.

    The default finds a 3 % effect in 2 % noise in more than 90 % of cells, five fixed rounds in 15 % (bench/null_and_power.py).
    """

    min: Annotated[int, Field(ge=1)] = InterimPlan.first
    max: Annotated[int, Field(ge=1)] = InterimPlan.last

    @property
    def typical(self) -> float:
        """Rounds that a cell takes on average: midway between min and max (measured by bench/null_and_power.py)."""
        return (self.min + self.max) / 2

    @property
    def of_a_finalist(self) -> int:
        return max(self.min, min(self.max, CONFIRMATION_ROUNDS))


PositiveInt = Annotated[int, Field(gt=0)]
Size = Annotated[int, Field(gt=0, le=LARGEST_SIZE)]
Sizes = Annotated[tuple[Size, ...], BeforeValidator(_as_tuple), Field(min_length=1)]
Factors = dict[str, tuple[Level, ...]]
Resources = Annotated[dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]], Field(min_length=1)]
Words = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]
Duration = Annotated[float, Field(gt=0, allow_inf_nan=False), BeforeValidator(parse_duration), PlainSerializer(float)]


@dataclass(frozen=True)
class StudySetting:
    """How a setting is treated after the study has begun.

    `resumable`: it may have another value when the study is resumed, because it says how long and where the search runs, not what is
    measured. `repeated`: it is part of the command that the report prints for repeating the study elsewhere.
    """

    resumable: bool
    repeated: bool


_MEASURED = StudySetting(resumable=False, repeated=True)  # what is measured, and how
_EXTENT = StudySetting(resumable=True, repeated=True)  # how much of it, and from which source
_PLACE = StudySetting(resumable=True, repeated=False)  # where things lie on this machine
_PRIOR = StudySetting(resumable=True, repeated=False)  # what a study began with stands in its record, and nobody else has those studies


class StudyConfig(StrictModel):
    """All settings of a search. Durations are seconds; `None` means "decide from the model, the workload or the machine".

    Every field declares a StudySetting; those that an engine gets are described further in tuner.core.contract.
    """

    study: Annotated[str, _PLACE]
    model: Annotated[str, _MEASURED]
    storage: Annotated[str, _PLACE] = DEFAULT_STORAGE
    logdir: Annotated[str, _PLACE] = DEFAULT_LOGDIR

    page_sizes: Annotated[Sizes | None, _MEASURED] = None  # decided: tuner.setup.space.default_page_sizes
    chunk_budgets: Annotated[Sizes, _MEASURED] = (512, 1024, 2048)
    arms: Annotated[Words, Field(min_length=1), _MEASURED] = ARMS
    # Further settings to try (tuner.core.factors): name -> levels.
    factors: Annotated[Factors, BeforeValidator(parse_factors), _MEASURED] = Field(default_factory=dict)
    # Factor -> where it counts (tuner.setup.conditions); written behind its levels, or beside them.
    when: Annotated[dict[str, str], _MEASURED] = Field(default_factory=dict)
    # The factor whose levels are compared in pairs; of a cold one, over so many engine starts of each level.
    compare: Annotated[str, BeforeValidator(_compared), _MEASURED] = ARM
    starts: Annotated[int, Field(ge=2, le=MOST_STARTS), _MEASURED] = STARTS
    alignment_variant: Annotated[Literal["demote", "strict", "fill_bucket"], _MEASURED] = "demote"

    workload: Annotated[str | dict[str, Any], _MEASURED] = "mixed-small"
    objective: Annotated[str, _MEASURED] = DEFAULT_OBJECTIVE
    slos: Annotated[Words, _MEASURED] = ()

    rounds: Annotated[Rounds, BeforeValidator(parse_rounds), _MEASURED] = Rounds()
    trials: Annotated[PositiveInt | None, _EXTENT] = None
    time_budget: Annotated[Duration | None, _EXTENT] = None
    sampler: Annotated[Literal["auto", "grid", "ordinal", "random", "tpe", "gp", "nsga2"], _MEASURED] = "auto"
    warm_start: Annotated[str, _PRIOR] = "auto"  # or "none", or the name of an earlier study
    profile: Annotated[Literal["finalists", "all", "none"], _EXTENT] = "finalists"

    guard: Annotated[bool | str, _MEASURED] = True  # text: limits for engines whose numerics differ from the baseline's
    launcher: Annotated[str, _MEASURED] = "local"
    finalists_via: Annotated[Literal["launcher", "serve"], _MEASURED] = "launcher"
    table: Annotated[str | None, _EXTENT] = None
    table_noise: Annotated[float, Field(ge=0, le=1), _MEASURED] = 0.0
    accelerator: Annotated[str | None, _MEASURED] = None  # that is simulated
    step_time: Annotated[str | None, _MEASURED] = None
    borrow: Annotated[str | None, _MEASURED] = None
    step_noise: Annotated[float, Field(ge=0, le=1), _MEASURED] = 0.0
    engine_python: Annotated[str | None, _PLACE] = None
    ray_address: Annotated[str | None, _PLACE] = None  # RAY_ADDRESS, else this machine's cluster
    ray_resources: Annotated[Resources | None, BeforeValidator(parse_resources), _PLACE] = None  # an engine's chips
    ray_runtime_env: Annotated[str | None, _PLACE] = None
    foresight: Annotated[bool | None, _PLACE] = None  # where there is a TPU

    max_num_seqs: Annotated[PositiveInt | None, _MEASURED] = None
    max_model_len: Annotated[PositiveInt | None, _MEASURED] = None
    dtype: Annotated[Literal["auto", "float32", "bfloat16", "float16"], _MEASURED] = "auto"
    platform: Annotated[Literal["auto", "tpu", "cpu"], _MEASURED] = "auto"
    attention_backend: Annotated[Literal["auto", "tuner_xla", "tuner_rpa", "rpa"], _MEASURED] = "auto"
    kv_write: Annotated[str, _MEASURED] = "auto"
    num_gpu_blocks: Annotated[PositiveInt | None, _MEASURED] = None
    tensor_parallel_size: Annotated[PositiveInt, _MEASURED] = 1
    enable_prefix_caching: Annotated[bool, _MEASURED] = True
    async_scheduling: Annotated[bool, _MEASURED] = False
    seed: Annotated[int, Field(ge=0, lt=2**31), _MEASURED] = 0
    engine_args: Annotated[dict[str, Any], _MEASURED] = Field(default_factory=dict)

    trial_timeout: Annotated[Duration, _EXTENT] = 600.0
    engine_start_timeout: Annotated[Duration, _EXTENT] = 1200.0

    _conditions_apart = model_validator(mode="before")(split_conditions)

    @property
    def objectives(self) -> tuple[Objective, ...]:
        with _about("objective"):
            return parse_objectives(self.objective)

    @property
    def limits(self) -> tuple[Slo, ...]:
        """The SLOs, parsed."""
        with _about("slos"):
            return tuple(parse_slo(text) for text in self.slos)

    @property
    def guard_limits(self) -> tuple[Slo, ...]:
        """The limits of `guard`, parsed; none where it is only on or off."""
        with _about("guard"):
            return parse_guard(self.guard) if isinstance(self.guard, str) else ()

    @property
    def asked_platform(self) -> str:
        """`platform`; with --launcher ray, auto is a TPU: the nodes' hardware counts, not this machine's."""
        return "tpu" if self.launcher == "ray" and self.platform == "auto" else self.platform

    @property
    def python_here(self) -> str | None:
        """`engine_python` where it is on this machine; with --launcher ray it is the nodes', and this one answers for it."""
        return None if self.launcher == "ray" else self.engine_python

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, as storage.records.Study keeps it; without `storage`, which may hold a password, and without what a comparison of
        the arms has no use for."""
        unused = {name for name in ("compare", "starts") if getattr(self, name) == type(self).model_fields[name].default}
        unused |= set() if self.when else {WHEN}
        return self.model_dump(mode="json", exclude={"storage", *unused})


def study_settings(owner: type[BaseModel]) -> dict[str, StudySetting]:
    """Field name -> its StudySetting. Raises TypeError for a field that declares none."""
    found = {}
    for name, info in owner.model_fields.items():
        setting = next((extra for extra in info.metadata if isinstance(extra, StudySetting)), None)
        if setting is None:
            raise TypeError(f"{owner.__name__}.{name} declares no StudySetting: write {name}: Annotated[type, StudySetting(...)]")
        found[name] = setting
    return found


STUDY_SETTINGS = study_settings(StudyConfig)


@contextmanager
def _about(setting: str) -> Iterator[None]:
    """A complaint about a value names the setting that it stands in."""
    try:
        yield
    except BadInput as error:
        raise error.about(setting) from error


def check_study_name(name: str) -> None:
    """Raises BadInput."""
    if not re.fullmatch(STUDY_NAME, name):
        raise BadInput(setting="study", value=repr(name), fix=_STUDY_NAME_RULE)


def check_config(config: StudyConfig) -> None:
    """Checks that need more than one value or more than its type. Raises BadInput naming the setting and the fix."""
    check_study_name(config.study)
    for name in ("page_sizes", "chunk_budgets", "arms", "slos"):
        _refuse_duplicates(name, getattr(config, name) or ())
    for arm in config.arms:
        if arm not in ARMS:
            raise BadInput(f"{arm!r} is unknown", setting="arms", fix=f"use {' or '.join(ARMS)}, or both separated by a comma")
    page_sizes = config.page_sizes or ()
    for page_size in page_sizes:
        if page_size & (page_size - 1):
            raise BadInput(f"{page_size} is not a power of two", setting="page_sizes", fix=f"use {_nearest_power(page_size)}")
    for page_size in page_sizes:
        for budget in config.chunk_budgets:
            if found := starvation(page_size, budget, config.arms, config.alignment_variant):
                raise found.as_error()
    _refuse_two_limits(config.limits)
    _check_rounds(config.rounds)
    _check_finalists_via(config)
    _check_kv_write(config.kv_write)
    request_limits(config.objectives, config.limits)
    _refuse_two_limits(config.guard_limits, "guard")
    check_engine_args(config.engine_args)
    check_factors(config.factors, given=config.model_dump(), launcher=config.launcher)
    check_conditions(config.when, config.factors)
    check_comparison(config.model_dump(), usual_starts=STARTS)
    if config.max_num_seqs is not None and config.max_num_seqs > min(config.chunk_budgets):
        raise BadInput(
            f"is above the chunk budget {min(config.chunk_budgets)}, which vLLM refuses",
            setting="max_num_seqs",
            value=config.max_num_seqs,
            fix="lower max_num_seqs or raise chunk_budgets",
        )


def _check_finalists_via(config: StudyConfig) -> None:
    if config.finalists_via == "launcher":
        return
    if config.launcher in WITHOUT_AN_ENGINE:
        raise BadInput(
            f"the launcher {config.launcher} has no engine that could be served",
            setting="finalists_via",
            value="serve:",
            fix="drop it or choose another launcher",
        )
    for metric in [*(item.metric for item in config.objectives), *(slo.metric for slo in config.limits)]:
        if "step" in metric:
            raise BadInput(
                f"vllm serve does not report {metric}",
                setting="finalists_via",
                value="serve:",
                fix="use another objective, or drop finalists_via",
            )


def _check_kv_write(text: str) -> None:
    """Checked here as well as in the plugin, which would refuse it only after an engine start."""
    parts = text.split(",")
    if text != "auto" and (len(parts) != 2 or any(part not in _KV_WRITES for part in parts)):
        raise BadInput(
            f"{text!r} is unknown",
            setting="kv_write",
            fix="use auto, or the implementations by token and by page, for instance scatter,loop",
        )


def _check_rounds(rounds: Rounds) -> None:
    if rounds.max > MOST_ROUNDS:
        raise BadInput(
            f"{rounds.max} is above {MOST_ROUNDS}", setting="rounds", fix="lower it, or make windows longer with a larger workload"
        )
    if rounds.min > rounds.max:
        raise BadInput(f"min {rounds.min} is above max {rounds.max}", setting="rounds", fix="swap them")
    if rounds.min != rounds.max and rounds.min < 2:
        raise BadInput("min 1 says nothing about the noise", setting="rounds", fix="use 2 or more, for instance 3-12")


def untested_settings(config: StudyConfig, multimodal: bool) -> list[str]:
    """Warnings: one line for each setting that was never tested together with page-aligned scheduling."""
    if ARM_PAGE_ALIGNED not in config.arms:
        return []
    warnings = []
    if any(key.replace("-", "_") in ("enable_lora", "lora_modules") and value for key, value in config.engine_args.items()):
        warnings.append("engine_args: enable_lora (LoRA) with the arm page_aligned is untested")
    if multimodal:
        warnings.append(f"model {config.model}: {_multimodal_warning(config)}")
    return warnings


def _multimodal_warning(config: StudyConfig) -> str:
    given = {key.replace("-", "_"): value for key, value in config.engine_args.items()}
    if given.get("language_model_only", True):
        return "multimodal, measured with text only: the recommended flags have --language-model-only, which takes no images"
    return "multimodal input with the arm page_aligned is untested; the workload sends text only"


def _refuse_two_limits(slos: tuple[Slo, ...], setting: str = "slos") -> None:
    """Refuses two upper (or two lower) limits on one metric: the looser one would have no effect."""
    sides = [(slo.metric, slo.operator[0]) for slo in slos]
    for index, side in enumerate(sides):
        if side in sides[:index]:
            raise BadInput(
                f"{slos[sides.index(side)]} and {slos[index]} limit the same metric on the same side", setting=setting, fix="keep one"
            )


def _refuse_duplicates(name: str, values: tuple[Any, ...]) -> None:
    for index, value in enumerate(values):
        if value in values[:index]:
            raise BadInput(f"{value} is there twice", setting=name, fix="keep one")


def _nearest_power(number: int) -> str:
    below = 1 << (number.bit_length() - 1)
    return f"{below} or {2 * below}"

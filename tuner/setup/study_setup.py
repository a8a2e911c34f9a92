"""A configuration, made concrete: the model, the exact requests, the engine's cold settings, the space. Writes nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

from storage.records import Json
from storage.records import Workload as WorkloadRecord
from tuner.core.contract import ARM_DEFAULT, EngineSettings, LoadPlan
from tuner.core.errors import BadInput
from tuner.core.factors import Factors, cold_factors
from tuner.engine.environment import resolve_platform
from tuner.metrics.objective import Objective, Slo, request_limits
from tuner.metrics.window import RequestLimit
from tuner.serving.engine_arg_facts import factor_facts
from tuner.serving.stored_settings import requested_settings
from tuner.setup.config import StudyConfig, check_config, untested_settings
from tuner.setup.effective import effective_settings
from tuner.setup.factors import check_long_prefill, own_levels
from tuner.setup.feasibility import Infeasible, Judged, Needs, check
from tuner.setup.hardware import Limits
from tuner.setup.model_rules import model_faults
from tuner.setup.models import ResolvedModel, known_model, resolve_model
from tuner.setup.space import Configuration, SearchSpace, build_space, default_page_sizes
from tuner.setup.vllm_defaults import SERVE_SEQS, VllmDefaults, is_mla, vllm_defaults
from tuner.workload.canaries import canary_plan
from tuner.workload.spec import WorkloadSpec

MIN_MODEL_LEN = 512  # tokens; the default never goes below, so that small workloads do not shape the engine
MAX_DEFAULT_SEQS = 128
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/{1,2}")  # gs://, s3://; also gs:/, which is what pathlib makes of it
TEXT_ONLY = "language_model_only"  # vLLM's argument

type Judge = Callable[[EngineSettings, ResolvedModel], Judged | None]
"""The compiler's word on an engine (tuner.foresight.judge); None where it does not know."""


@dataclass(frozen=True)
class StudySetup:
    """All that a search knows before it starts an engine. `engine`: the settings that all its engines share; its page size is 0 until
    group_engine or cold_engine sets it."""

    config: StudyConfig
    model: ResolvedModel
    workload: WorkloadRecord
    plan: LoadPlan
    engine: EngineSettings
    space: SearchSpace
    objectives: tuple[Objective, ...]
    slos: tuple[Slo, ...]
    request_limits: tuple[RequestLimit, ...]
    warnings: tuple[str, ...]
    limits: Limits | None = None  # of the TPU, None where there is none
    judge: Judge | None = None
    guard_limits: tuple[Slo, ...] = ()  # of engines whose numerics differ from the baseline's

    @cached_property
    def canaries(self) -> LoadPlan:
        """What every engine is asked before it is measured, unless the guard is off."""
        return canary_plan(self.model.vocab_size, self.engine.max_model_len, self.space.page_sizes, self.space.chunk_budgets)

    @property
    def open_loop(self) -> bool:
        return self.plan.max_concurrency is None

    @property
    def starts_of_an_engine(self) -> int:
        """How often the engine of each page size and cold factors is started in the search."""
        return self.config.starts if self.space.contrast.cold else 1

    @property
    def windows_at_most(self) -> int:
        """Of each configuration in the search."""
        rounds = self.config.rounds
        return self.config.starts * rounds.min if self.space.contrast.cold else rounds.max

    def group_engine(self, block_size: int, factors: Factors = ()) -> EngineSettings:
        """The engine in which all that is live is measured of a page size and the cold ones of these factors."""
        shared = self.engine.with_changes(block_size=block_size, max_num_batched_tokens=self.space.compiled_max)
        return shared.with_factors(cold_factors(factors))

    def cold_engine(self, configuration: Configuration) -> EngineSettings:
        """The engine with exactly this configuration's flags."""
        own = self.engine.with_changes(
            block_size=configuration.block_size,
            max_num_batched_tokens=configuration.max_num_batched_tokens,
            alignable=configuration.arm != ARM_DEFAULT,
        )
        return own.with_factors(configuration.factors)

    def effective(self, configuration: Configuration) -> Json:
        """What this configuration in effect runs with, in one spelling."""
        return effective_settings(self.cold_engine(configuration), configuration.arm, self.space.own_levels, self.model.features)

    def infeasible(self, engine: EngineSettings) -> list[Infeasible]:
        """All known reasons why this engine cannot run.

        Asked at two times: for each page size before anything is written, to refuse the study or to warn; and for each engine when its
        turn comes, since those of the finalists and of `vllm serve` are compiled for a chunk budget of their own.
        """
        longest = max(len(request.prompt_token_ids) + request.max_tokens for request in self.plan.requests)
        needs = Needs(longest, self.config.arms)
        found = check(engine, self.model.features, None, needs)
        if found or self.judge is None:  # what breaks a simple rule is not compiled
            return found or check(engine, self.model.features, self.limits, needs)
        return check(engine, self.model.features, self.limits, needs, self.judge(engine, self.model))

    def requested(self, configuration: Configuration, engine: EngineSettings) -> Json:
        """What storage.records.Trial.requested holds."""
        return requested_settings(asdict(engine), configuration.params)


def prepare_study(
    config: StudyConfig, limits: Limits | None = None, judge: Judge | None = None, *, model: ResolvedModel | None = None
) -> StudySetup:
    """`judge` is asked about the engine of each page size, which may take minutes. `model`: where it is known, vLLM is not asked about it.

    Raises BadInput for a model, workload or length that does not go together, and where no page size can run on this TPU.
    """
    if model is None and config.launcher == "table":
        model = resolve_model(config.model)
    elif model is None:
        model = known_model(config.model, config.python_here, _asked_on(config), _given_args(config))
    spec = _parse_workload(config)
    max_model_len = max_model_len_of(config, model, spec)
    plan = spec.plan(model.vocab_size, max_model_len)
    _refuse_longer_than_its_timeout(config, plan)
    # Without SLOs the throughput of an overloaded engine is a value like any other.
    plan = replace(plan, stop_when_saturated=bool(config.slos) and plan.max_concurrency is None)
    engine = shared_engine(config, model, max_num_seqs=_max_num_seqs(config, plan), max_model_len=max_model_len)
    if config.launcher != "table":
        check_long_prefill(config.factors, config.engine_args, max_model_len)
        _refuse_model_faults(config, engine, model, limits)
    known = factor_facts(config.factors, config.python_here) if config.factors else {}
    own = vllm_defaults(max_model_len, engine.max_num_seqs, engine.extra_engine_args, mla=is_mla(model.features))
    config = _with_page_sizes(config, own, max_model_len)
    setup = StudySetup(
        config=config,
        model=model,
        workload=WorkloadRecord(plan.content_hash, spec.name, spec.to_json(), spec.summary(plan)),
        plan=plan,
        engine=engine,
        space=build_space(config, own, own_levels(config.factors, known)),
        objectives=config.objectives,
        slos=config.limits,
        request_limits=request_limits(config.objectives, config.limits),
        warnings=(*untested_settings(config, model.multimodal), *spec.warnings(plan, max_model_len)),
        limits=limits,
        judge=judge,
        guard_limits=config.guard_limits,
    )
    if config.factors and config.launcher != "table":
        for factors in dict.fromkeys(factors for _, factors in setup.space.engines):
            try:
                _refuse_model_faults(config, engine.with_factors(factors), model, limits)
            except BadInput as error:
                setting = "factors" if error.setting == "engine_args" else error.setting
                raise BadInput(error.reason, setting=setting, value=error.value, fix=error.fix) from error
    return replace(setup, warnings=(*setup.warnings, *_skipped_engines(setup)))


def _refuse_model_faults(config: StudyConfig, engine: EngineSettings, model: ResolvedModel, limits: Limits | None) -> None:
    """Raises BadInput for a model that no such engine can run."""
    for fault in model_faults(engine, model.features, _platform_of(config, limits)):
        raise fault.as_error()


def _given_args(config: StudyConfig) -> Json:
    """The further engine arguments under vLLM's names."""
    return {key.replace("-", "_"): value for key, value in config.engine_args.items()}


def shared_engine(config: StudyConfig, model: ResolvedModel, *, max_num_seqs: int, max_model_len: int) -> EngineSettings:
    """The cold settings that all engines of a configuration share; the page size is 0 until somebody sets it."""
    given = _given_args(config)
    return EngineSettings(
        model=config.model,
        model_path=model.path,
        block_size=0,
        max_num_batched_tokens=max(config.chunk_budgets),
        max_num_seqs=max_num_seqs,
        max_model_len=max_model_len,
        dtype=config.dtype,
        load_format=model.load_format,
        platform=config.platform,
        attention_backend=config.attention_backend,
        alignment_variant=config.alignment_variant,
        kv_write=config.kv_write,
        num_gpu_blocks=config.num_gpu_blocks,
        enable_prefix_caching=config.enable_prefix_caching,
        async_scheduling=config.async_scheduling,
        tensor_parallel_size=config.tensor_parallel_size,
        seed=config.seed,
        extra_engine_args={TEXT_ONLY: True, **given} if model.multimodal else given,  # the workload sends nothing but text
    )


def _with_page_sizes(config: StudyConfig, own: VllmDefaults, max_model_len: int) -> StudyConfig:
    """With those that are tried where none are named. Raises BadInput for one that cannot be measured."""
    if config.page_sizes is None:
        config = config.model_copy(update={"page_sizes": default_page_sizes(config, own, max_model_len)})
        check_config(config)
    largest = max(config.page_sizes or ())
    if largest > max_model_len:
        raise BadInput(
            f"{largest} is above max_model_len {max_model_len}", setting="page_sizes", fix="drop that page size or raise max_model_len"
        )
    return config


def _platform_of(config: StudyConfig, limits: Limits | None = None) -> str:
    on_a_tpu = config.launcher == "simulate" or limits is not None or config.asked_platform == "tpu"
    return "tpu" if on_a_tpu else resolve_platform(config.platform)


def _asked_on(config: StudyConfig) -> str:
    """Where vLLM is asked about the model: on this machine, whatever is simulated, and wherever Ray's nodes are."""
    if config.launcher == "ray":
        return resolve_platform("auto")
    return resolve_platform(config.platform) if config.launcher == "simulate" else _platform_of(config)


def _skipped_engines(setup: StudySetup) -> list[str]:
    """One line for each page size (and cold factors) that cannot run here. Raises BadInput where that is all of them."""
    engines = setup.space.engines if setup.config.factors else [(size, ()) for size in setup.space.page_sizes]
    reasons = [found[0] for engine in engines if (found := setup.infeasible(setup.group_engine(*engine)))]
    if len(reasons) == len(engines):
        raise reasons[0].as_error()
    return list(dict.fromkeys(f"{reason} (skipped)" for reason in reasons))


def check_places(config: StudyConfig) -> None:
    """Checks that the folders beside the database can be written, without writing. Raises BadInput."""
    check_logdir(config.logdir)


def check_logdir(logdir: str) -> None:
    """Checks that the profile folder can be written, without writing. Raises BadInput."""
    if not logdir:
        raise BadInput("is empty", setting="logdir", value="", fix="name a folder with --logdir, or drop it for the default")
    refuse_address(logdir)
    folder = Path(logdir).expanduser().absolute()
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not existing.is_dir():
        raise _bad_logdir(logdir, f"{existing} is not a folder")
    if not _writable(existing):
        raise _bad_logdir(logdir, f"{existing} cannot be written")


def refuse_address(logdir: str) -> None:
    """Raises BadInput for gs://bucket and its kind, of which pathlib would make a folder called "gs:"."""
    if (scheme := _SCHEME.match(logdir)) is not None:
        raise BadInput(
            f"profiles lie in a folder of this machine, not in {scheme.group()}",
            setting="logdir",
            value=f"{logdir}:",
            fix="name a folder, and copy between the two (gcloud storage rsync, aws s3 sync)",
        )


def _bad_logdir(logdir: str, reason: str) -> BadInput:
    return BadInput(reason, setting="logdir", value=f"{logdir}:", fix="name another with --logdir")


def _writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK)


def _parse_workload(config: StudyConfig) -> WorkloadSpec:
    if isinstance(config.workload, str):
        return WorkloadSpec.parse(config.workload)
    return WorkloadSpec.from_mapping(config.workload, "workload")


def max_model_len_of(config: StudyConfig, model: ResolvedModel, spec: WorkloadSpec) -> int:
    """The given one; else the next power of two that holds the workload's longest request, at least 512, at most the model's maximum."""
    if config.max_model_len is not None:
        if config.max_model_len > model.max_position:
            raise BadInput(
                f"is above the model's maximum of {model.max_position} tokens",
                setting="max_model_len",
                value=config.max_model_len,
                fix="lower it",
            )
        return config.max_model_len
    longest = spec.longest_request(model.max_position)
    return min(model.max_position, max(MIN_MODEL_LEN, 1 << (longest - 1).bit_length()))


def _refuse_longer_than_its_timeout(config: StudyConfig, plan: LoadPlan) -> None:
    """An open loop lasts at least until its last arrival; so does a simulated one, in its own time."""
    if config.launcher != "table" and plan.last_arrival_s >= config.trial_timeout:
        raise BadInput(
            f"the last request arrives after {plan.last_arrival_s:.0f} s, but trial_timeout is {config.trial_timeout:g} s",
            setting="workload",
            fix=f"set trial_timeout well above {plan.last_arrival_s:.0f}s, or take fewer requests, a higher rate or a smaller time_scale",
        )


def _max_num_seqs(config: StudyConfig, plan: LoadPlan) -> int:
    """The given one, of a factor the largest level; else the workload's concurrency (open loop: 128) as the next power of two, at least 8,
    at most the smallest budget."""
    if "max_num_seqs" in config.factors:
        inactive = [SERVE_SEQS] if "max_num_seqs" in config.when and config.launcher != "table" else []
        return max(int(level) for level in (*config.factors["max_num_seqs"], *inactive))
    if config.max_num_seqs is not None:
        return config.max_num_seqs
    wanted = MAX_DEFAULT_SEQS if plan.max_concurrency is None else max(8, 1 << (plan.max_concurrency - 1).bit_length())
    return min(wanted, *config.chunk_budgets)

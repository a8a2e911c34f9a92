"""What a capacity is asked of: one configuration of the engine, one workload at any rate, its SLOs. Made from settings; starts nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from storage.records import Json, Workload
from tuner.capacity.criteria import check_slos
from tuner.capacity.loads import BY, RATE, LoadKind
from tuner.core.contract import ARM_DEFAULT, ARM_PAGE_ALIGNED, EngineSettings, LiveSettings, LoadPlan
from tuner.core.errors import BadInput
from tuner.core.factors import ENV, UNSET, Factors
from tuner.metrics.objective import Slo
from tuner.metrics.window import RequestLimit
from tuner.serving.engine_args import ASYNC_SCHEDULER, OUR_BACKENDS, SYNC_SCHEDULER
from tuner.serving.stored_settings import requested_settings
from tuner.setup.config import StudyConfig
from tuner.setup.engine_arg_rules import MANAGED_ENGINE_ARGS
from tuner.setup.space import Configuration
from tuner.setup.study_setup import StudySetup
from tuner.stats.edge_search import EdgeAsk
from tuner.workload.rates import as_open_loop, at_once, at_rate, with_requests
from tuner.workload.sources import DRAWN
from tuner.workload.spec import WorkloadSpec

DRAWS = 64  # of a workload; the engine is made long enough for the longest request of all of them
QUIET_REQUESTS, QUIET_RATE = 32, 0.1  # of the second warm-up; the rate as a part of what the engine serves at most
FAST = 1000.0  # requests/s, only to set the engine up: a plan at this rate lasts shorter than any time-out
_SIZES = {"block_size": "page_sizes", "max_num_batched_tokens": "chunk_budgets"}
_NOT_SETTINGS = ("model", "tokenizer", "served_model_name", "load_format", "skip_tokenizer_init")  # follow from the model

type Prepare = Callable[[StudyConfig], StudySetup]


@dataclass(frozen=True)
class CapacityQuestion:
    """`spec` is an open loop; its nth draw under a load, which is a rate unless `kind` says otherwise, is the nth window's."""

    setup: StudySetup
    spec: WorkloadSpec
    configuration: Configuration
    engine: EngineSettings
    kind: LoadKind = RATE

    @property
    def config(self) -> StudyConfig:
        return self.setup.config

    @property
    def live(self) -> LiveSettings:
        return self.configuration.live

    @property
    def slos(self) -> tuple[Slo, ...]:
        return self.setup.slos

    @property
    def limits(self) -> tuple[RequestLimit, ...]:
        """What a request meets that counts for goodput."""
        return self.setup.request_limits

    def plan(self, nth: int) -> LoadPlan:
        """The nth draw at its own rate, after DRAWS the first again. Raises BadInput as WorkloadSpec.plan."""
        return as_open_loop(self.spec, nth % DRAWS).plan(self.setup.model.vocab_size, self.engine.max_model_len)

    def load(self, nth: int, load: float) -> LoadPlan:
        return self.kind.plan(self.plan(nth), load)

    def first(self, served: float) -> float:
        """The load to begin with. `served`: requests/s where all come at once."""
        return self.kind.first(served, self.live.max_num_seqs or self.engine.max_num_seqs)

    def ask(self, first: float, highest: float | None, max_windows: int, precision: float) -> EdgeAsk:
        """What is asked of the search; no load above `highest` is tried."""
        most = min(math.inf if highest is None else highest, self.kind.highest(len(self.plan(0).requests)))
        return EdgeAsk(min(first, most), most, max_windows, precision, whole=self.kind.whole)

    def burst(self) -> LoadPlan:
        """All requests at once: compiles what large batches need, and says how much the engine serves."""
        return at_once(self.plan(0))

    def quiet(self, served: float) -> LoadPlan:
        """A few requests at a low rate: compiles what small batches need. `served`: requests/s at most."""
        plan = self.plan(0)
        few = replace(plan, requests=plan.requests[:QUIET_REQUESTS])
        return at_rate(few, QUIET_RATE * served)

    def workload(self) -> Workload:
        plan = self.load(0, 1.0)
        return Workload(plan.content_hash, self.spec.name, self.spec.to_json(), self.spec.summary(plan))

    @property
    def requested(self) -> Json:
        return requested_settings(asdict(self.engine), self.configuration.params)

    @property
    def depends_on(self) -> Json:
        """What a window depends on beside the engine's settings and the workload: a run goes on only with the same."""
        names = ("accelerator", "step_time", "borrow", "step_noise", "seed")
        found = {name: value for name in names if (value := getattr(self.config, name)) not in (None, 0.0)}
        return found if self.kind is RATE else {**found, BY: self.kind.by}


def question_of(config: StudyConfig, prepare: Prepare, requests: int | None, kind: LoadKind = RATE) -> CapacityQuestion:
    """`config`: of a search, with at most one page size, chunk budget and arm; vLLM's own where none is named.

    `prepare`: tuner.setup.study_setup.prepare_study. `requests`: of a window; None: as many as the workload has. Raises BadInput.
    """
    check_slos(config.limits)
    spec = open_loop_of(config)
    kind.check(spec)
    spec = spec if requests is None else with_requests(spec, requests)
    config = config.model_copy(update={"workload": fast(spec).to_json()})
    setup = prepare(config)  # as seldom as can be: it may ask vLLM about the model
    longer = _longer(config, setup, spec)
    if longer is not None:
        config = config.model_copy(update={"max_model_len": longer})
        setup = prepare(config)
    own = setup.space.own
    sizes: dict[str, Any] = {} if config.page_sizes is not None else {"page_sizes": (own.block_size,)}
    if "chunk_budgets" not in config.model_fields_set:
        sizes["chunk_budgets"] = (own.max_num_batched_tokens,)
    if sizes:
        setup = prepare(config.model_copy(update=sizes))
    [configuration] = setup.space.configurations
    return CapacityQuestion(setup, spec, configuration, setup.cold_engine(configuration), kind)


def fast(spec: WorkloadSpec) -> WorkloadSpec:
    """A trace with times stays as it is."""
    return spec if spec.load is None else spec.model_copy(update={"load": spec.load.model_copy(update={"request_rate": FAST})})


def long_enough(config: StudyConfig, prepare: Prepare, spec: WorkloadSpec) -> StudyConfig:
    """With a max_model_len for all draws, where none is given. Raises BadInput where one does not fit the model or the given one."""
    longer = _longer(config, prepare(config), spec)
    return config if longer is None else config.model_copy(update={"max_model_len": longer})


def _longer(config: StudyConfig, setup: StudySetup, spec: WorkloadSpec) -> int | None:
    """The max_model_len that all draws need; None where the set-up's is enough. Raises BadInput as long_enough."""
    draws = DRAWS if type(spec.source) in DRAWN else 1  # a file's lengths are the same in each
    most = setup.model.max_position if config.max_model_len is None else config.max_model_len
    longest = max(as_open_loop(spec, nth).longest_request(most) for nth in range(draws))
    return None if longest <= setup.engine.max_model_len else min(most, 1 << (longest - 1).bit_length())


def open_loop_of(config: StudyConfig) -> WorkloadSpec:
    """The workload as an open loop. Raises BadInput."""
    given = config.workload
    return as_open_loop(WorkloadSpec.parse(given) if isinstance(given, str) else WorkloadSpec.from_mapping(given, "workload"))


def settings_of_served(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Settings of a search from arguments of `vllm serve` (what `tuner recommend --format yaml` writes). `where`: what messages call it.

    Raises BadInput for a scheduler that is not ours.
    """
    settings: dict[str, Any] = {"arms": [ARM_DEFAULT]}
    further: dict[str, Any] = {}
    for key, value in config.items():
        name = str(key).replace("-", "_")
        if name.startswith("no_") and value is True:  # as the command line writes a switch that is off
            name, value = name.removeprefix("no_"), False
        if name in _NOT_SETTINGS:
            continue
        if name in _SIZES:
            settings[_SIZES[name]] = [value]
        elif name == "scheduler_cls":
            if value not in (SYNC_SCHEDULER, ASYNC_SCHEDULER):
                raise BadInput("is not one of ours", setting="scheduler-cls", value=value, where=where, fix=f"use {SYNC_SCHEDULER} or none")
            settings["arms"] = [ARM_PAGE_ALIGNED]
        elif name == "attention_backend":
            settings[name] = str(value).lower() if str(value).lower() in OUR_BACKENDS else "rpa"
        elif name == "additional_config":
            settings |= _of_plugin(value)
        elif name in MANAGED_ENGINE_ARGS:
            settings[MANAGED_ENGINE_ARGS[name]] = value
        else:
            further[name] = value
    return settings | ({"engine_args": further} if further else {})


def check_variables(factors: Factors, environment: Mapping[str, str]) -> None:
    """What a recommendation sets in an engine's environment comes from the user's here. Raises BadInput for what is not set there."""
    for name, level in factors:
        variable = name.removeprefix(ENV)
        if name.startswith(ENV) and environment.get(variable, UNSET) != level:
            fix = f"unset {variable} and run again" if level == UNSET else f"export {variable}={level} and run again"
            raise BadInput(f"was measured with {variable} {level}, which is not so here", setting="config", value="recommended:", fix=fix)


def _of_plugin(additional: Mapping[str, Any]) -> dict[str, Any]:
    """The plugin's own part of additional_config; what else stands there (device indexes) the engine gets anyway."""
    tuner = additional.get("tuner") or {}
    names = {"variant": "alignment_variant", "kv_write": "kv_write"}
    return {ours: tuner[theirs] for theirs, ours in names.items() if theirs in tuner}

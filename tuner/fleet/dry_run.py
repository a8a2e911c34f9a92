"""What a submitted study would do, told where it is submitted: a machine that need not have its accelerator, its vLLM or its model.

The plan is that of `tuner search --dry-run`. What only a worker can know is left to it: whether its vLLM takes an argument that this
machine has no vLLM to ask for, and how a model looks whose config.json does not lie here. Nothing is downloaded, started or written.
"""

from __future__ import annotations

from dataclasses import dataclass

from storage.base import Storage
from storage.records import Json
from tuner.capacity.loads import kind_of_metrics
from tuner.core.errors import BadInput
from tuner.launchers.choice import check_launcher, with_measured_sizes
from tuner.search.plan import SearchPlan, plan_search
from tuner.serving.engine_arg_facts import factor_facts
from tuner.serving.engine_arg_names import check_engine_arg_names
from tuner.setup.config import WITHOUT_AN_ENGINE, StudyConfig
from tuner.setup.factors import check_levels
from tuner.setup.hardware import Limits, accelerator_limits
from tuner.setup.models import local_model
from tuner.setup.study_setup import prepare_study


@dataclass(frozen=True)
class DryRun:
    """`plan` None: it cannot be told here, because of `reason`. `skipped`: what cannot run, and further warnings, one line each."""

    config: StudyConfig
    plan: SearchPlan | None
    reason: str | None = None
    skipped: tuple[str, ...] = ()

    def to_json(self) -> Json:
        found = None if self.plan is None else self.plan.to_json()
        return {"plan": found, "reason": self.reason, "warnings": list(self.skipped)}


def dry_run(config: StudyConfig, storage: Storage, accelerator: str | None = None, *, resume: bool = False) -> DryRun:
    """`config` was allowed (tuner.fleet.allowed); `accelerator`: what it will run on, as far as it is known. Raises BadInput for what no
    worker could run, and for a study that the database has already, or with `resume` has
    not."""
    config = with_measured_sizes(config)
    if config.launcher in WITHOUT_AN_ENGINE:
        check_launcher(config)
    else:
        check_engine_arg_names(config.engine_args, None)
        if config.factors:
            check_levels(config.factors, factor_facts(config.factors, None))
    if config.launcher != "table" and kind_of_metrics(item.metric for item in config.objectives) is not None:
        return DryRun(config, None, "a search for the highest load finds its steps while it runs")
    model = local_model(config.model)
    if model is None:
        return DryRun(config, None, f"the config.json of {config.model} is not on the service's machine; the worker reads it")
    setup = prepare_study(config, _limits(config, accelerator), model=model)
    return DryRun(config, plan_search(setup, storage, resume=resume), skipped=setup.warnings)


def _limits(config: StudyConfig, accelerator: str | None) -> Limits | None:
    if config.launcher in WITHOUT_AN_ENGINE or accelerator is None:
        return None
    try:
        return accelerator_limits(accelerator)
    except BadInput:  # no TPU
        return None

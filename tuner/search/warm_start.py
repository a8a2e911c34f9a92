"""Which earlier studies a search begins with, and what they say about its configurations.

Their results are priors of the sampler, never results of this study: none of them becomes a trial, a value or a part of a verdict. Values
are computed anew from the stored windows, by this study's objectives and SLOs. Each earlier study is ranked within itself, so that another
workload's level does not matter, and how far it can be trusted is learned from the new results (tuner.sampler.kernel).

`auto` takes up to three studies of the same model, launcher and accelerator: those of the same workload, only where there is none those of
others. Studies of other models or accelerators are taken only by name: what they say about this one is not known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from storage.base import NotFound, Storage
from storage.records import Json, Stage, Study, StudyState, Trial, TrialState
from tuner.core.errors import BadInput, TrialFailed
from tuner.metrics.objective import constraint_values, median_metrics, objective_values
from tuner.search.proposer import Observation
from tuner.setup.config import ORDINAL
from tuner.setup.effective import configuration_like
from tuner.setup.stored_study import StoredStudy, was_launched_by
from tuner.setup.study_setup import StudySetup
from tuner.verdict.evidence import TWIN_OF

AUTO, NONE = "auto", "none"
MOST_STUDIES = 3
FEWEST_RESULTS = 3  # with values; below that there is no order to learn from
_SEEN = 50  # newest studies that are looked at


@dataclass(frozen=True)
class EarlierStudy:
    name: str
    same_workload: bool
    observations: tuple[Observation, ...]

    def to_json(self) -> Json:
        """How the study's record keeps it."""
        return {"study": self.name, "same_workload": self.same_workload, "results": len(self.observations)}


def check_warm_start(setup: StudySetup, storage: Storage | None, sampler: str) -> None:
    """Raises BadInput where the study that `warm_start` names does not exist, is this one, or can teach nothing. `storage` None: it will be
    made."""
    name = setup.config.warm_start
    if sampler != ORDINAL:
        raise _refused(name, f"sampler {sampler} has no use for earlier results", "add --sampler ordinal, or drop --warm-start")
    if name == setup.config.study:
        raise BadInput("is this study itself", setting="warm_start", value=repr(name), fix="name an earlier one")
    found = load_earlier(storage, setup, [name]) if storage is not None else []
    if not found:
        raise _refused(name, "there is no such study in this database", "`tuner show` lists them")
    if not _teaches(found[0]):
        reason = f"fewer than {FEWEST_RESULTS} of its results are of configurations and objectives of this search"
        raise _refused(name, reason, "name another study, or use --warm-start none")


def _refused(name: str, reason: str, fix: str) -> BadInput:
    return BadInput(reason, setting="warm_start", value=f"{name!r}:", fix=fix)


def find_earlier(storage: Storage, setup: StudySetup, accelerator: str | None) -> list[EarlierStudy]:
    """The earlier studies to learn from. `accelerator`: the one that this search runs on, named as in storage.records.Environment; None:
    unknown, so `auto` finds none."""
    choice = setup.config.warm_start
    if choice == NONE:
        return []
    if choice != AUTO:
        return load_earlier(storage, setup, [choice])
    if accelerator is None:
        return []
    candidates = [
        study
        for study in storage.list_studies(model=setup.config.model, limit=_SEEN)
        if study.name != setup.config.study
        and study.state in (StudyState.COMPLETE, StudyState.INTERRUPTED)
        and was_launched_by(study, setup.config.launcher)
        and _accelerator(storage, storage.list_trials(study.id)) == accelerator
    ]
    found = [item for item in (_earlier(storage, setup, study) for study in candidates) if _teaches(item)]
    return ([item for item in found if item.same_workload] or found)[:MOST_STUDIES]


def load_earlier(storage: Storage, setup: StudySetup, names: Sequence[str]) -> list[EarlierStudy]:
    """The named studies, without those that were deleted since."""
    found = []
    for name in names:
        try:
            found.append(_earlier(storage, setup, storage.get_study(name)))
        except NotFound:
            continue
    return found


def _earlier(storage: Storage, setup: StudySetup, study: Study) -> EarlierStudy:
    trials = storage.list_trials(study.id, stage=Stage.SEARCH)
    comparable = _same_goodput(setup, study)
    observations = [item for trial in trials if comparable and (item := _observation(storage, setup, trial)) is not None]
    workloads = Counter(trial.workload_hash for trial in trials)
    same = bool(workloads) and workloads.most_common(1)[0][0] == setup.workload.content_hash
    return EarlierStudy(study.name, same, tuple(observations))


def _observation(storage: Storage, setup: StudySetup, trial: Trial) -> Observation | None:
    """None where the trial teaches nothing: it was not measured, is outside the space, or lacks a metric of this search."""
    configuration = configuration_like(trial, setup.space, setup.engine)
    if configuration is None or TWIN_OF in trial.notes or trial.state not in (TrialState.COMPLETE, TrialState.FAIL):
        return None
    if trial.state is TrialState.FAIL:
        return Observation(configuration, None, {})
    measurements = storage.list_measurements(trial_id=trial.id)
    try:
        values = objective_values(setup.objectives, measurements)
        constraints = constraint_values(setup.slos, median_metrics(measurements))
    except (TrialFailed, BadInput):
        return None
    return Observation(configuration, tuple(values.values()), dict(zip(map(str, setup.slos), constraints, strict=True)))


def _same_goodput(setup: StudySetup, study: Study) -> bool:
    """Goodput was counted under the earlier study's limits; other metrics mean the same everywhere."""
    asked = {objective.metric for objective in setup.objectives} | {slo.metric for slo in setup.slos}
    return "goodput" not in asked or sorted(StoredStudy.from_record(study).slo_texts) == sorted(setup.config.slos)


def _teaches(item: EarlierStudy) -> bool:
    return sum(observation.values is not None for observation in item.observations) >= FEWEST_RESULTS


def _accelerator(storage: Storage, trials: Sequence[Trial]) -> str | None:
    known = Counter(trial.environment for trial in trials if trial.environment)
    return storage.get_environment(known.most_common(1)[0][0]).accelerator if known else None

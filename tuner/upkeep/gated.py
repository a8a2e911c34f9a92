"""A finished study at its gates: the windows of what is published, where this study measured it, else of what it recommends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from storage import upgrade
from storage.base import Storage
from storage.records import PublicationState, Recommendation, Stage, Study
from storage.url import parse_url
from tuner.advice.lookup import Query, exact_keys
from tuner.core.errors import BadInput
from tuner.setup.config import StudyConfig
from tuner.setup.space import Configuration
from tuner.upkeep.contenders import configuration_of
from tuner.upkeep.gate import Gate, GateResult, Standing, judge_gate
from tuner.verdict.answer import STATUS_NONE, Answer, readable_answers
from tuner.verdict.candidates import candidates_of
from tuner.verdict.conclude import load_evidence
from tuner.verdict.evidence import MEASURED, Evidence, usable_measurements


def check_gates(config: StudyConfig, gates: Sequence[Gate]) -> None:
    """Raises BadInput, before anything is measured, where the study could never be compared with what is published."""
    if config.launcher == "simulate":
        raise BadInput("what is predicted passes no gate", setting="gate", fix="use a launcher that measures, or drop --gate")
    if not any(gate.of_published for gate in gates):
        return
    url = parse_url(config.storage)
    if (url.path is None or url.path.exists()) and upgrade.check(config.storage)["revision"] is not None:
        storage = upgrade.open_storage(config.storage, create=False, read_only=True)
        try:
            if storage.list_recommendations(model=config.model, publication=PublicationState.PUBLISHED, limit=1):
                return
        finally:
            storage.close()
    reason = f"nothing is published for model {config.model} in {url.safe}"
    raise BadInput(reason, setting="gate", fix="publish a recommendation first, or name the database that has it with --storage")


EXIT_FAILS, EXIT_UNDECIDED = 1, 3


@dataclass(frozen=True)
class Passed:
    """How each gate stands; `looked_at`: at which configuration's windows, in words."""

    results: tuple[GateResult, ...] = ()
    looked_at: str = ""

    @property
    def exit_code(self) -> int:
        """0 where all hold."""
        standings = {item.standing for item in self.results}
        return EXIT_FAILS if Standing.FAILS in standings else EXIT_UNDECIDED if Standing.UNDECIDED in standings else 0


def pass_gates(storage: Storage, study: Study, recommended: Answer, gates: Sequence[Gate]) -> Passed:
    """Where nothing is recommended, every gate is undecided."""
    evidence = load_evidence(storage, study)
    published = _published(storage, evidence)
    configuration, words = None, "nothing is recommended"
    if published is not None and (configuration := configuration_of(published[1])) is not None:
        words = f"the published configuration ({configuration}) of recommendation {published[0].id}"
    if configuration is None or not _windows(evidence, configuration):
        configuration = None if recommended.status == STATUS_NONE else configuration_of(recommended)
        words = words if configuration is None else f"what this study recommends ({configuration})"
    ours = [] if configuration is None else _windows(evidence, configuration)
    theirs = None if published is None else _of_answer(storage, *published)
    found = (
        judge_gate(gate, _values(ours, gate.metric), None if theirs is None else _values(theirs, gate.metric), gates=len(gates))
        for gate in gates
    )
    return Passed(tuple(found), words)


def _published(storage: Storage, evidence: Evidence) -> tuple[Recommendation, Answer] | None:
    """The newest that is in force for the same model, accelerator, workload and objective, of another study."""
    study, environment, workload = evidence.study, evidence.environment, evidence.workload
    if environment is None or workload is None:
        return None
    query = Query(
        model=study.model,
        accelerator=environment.accelerator,
        device_count=environment.device_count,
        workload=workload.content_hash,
        objective=study.objective,
    )
    keys = [key for key in exact_keys(query, storage.list_recommendation_keys(model=study.model)) if key.published_at is not None]
    ids = [key.id for key in keys if key.study_id != study.id and key.status != STATUS_NONE]
    return next(iter(readable_answers(storage.get_recommendations(ids[:1]))), None)


def _windows(evidence: Evidence, configuration: Configuration) -> list[dict[str, float]]:
    """Metrics of its windows: of the cold start where it had one, else of the search."""
    for stage in (Stage.CONFIRM, Stage.SEARCH):
        for item in candidates_of(evidence, stage, ()):
            if Configuration.of_trial(item.trial) == configuration:
                return [window.metrics for window in item.measurements]
    return []


def _of_answer(storage: Storage, record: Recommendation, answer: Answer) -> list[dict[str, float]]:
    """Metrics of the windows that a stored recommendation rests on."""
    named = set(answer.evidence.get("measurement_ids", ()))
    trials = storage.list_trials(record.study_id)
    usable, _ = usable_measurements(trials, storage.list_measurements(study_id=record.study_id), MEASURED)
    return [window.metrics for windows in usable.values() for window in windows if window.id in named]


def _values(windows: Sequence[dict[str, float]], metric: str) -> list[float]:
    return [float(window[metric]) for window in windows if metric in window]

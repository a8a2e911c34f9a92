"""Published recommendations, measured again where what they were measured with has changed; then withdrawn, renewed, or left as they are.

Each step looks at what is stored and does the next thing: begin the study, wait for it, or judge it. So it may be called as often as one
likes, by a person or by a clock, and what was begun is never begun twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from storage.base import Storage
from storage.queue_records import ENDED, SubmissionState
from storage.records import Actor, Json, PublicationState, Recommendation, StudyState
from tuner.advice.lookup import other_versions
from tuner.core.errors import BadInput
from tuner.core.reason import MOST_CHARACTERS
from tuner.search.opening import find_study
from tuner.setup.config import StudyConfig
from tuner.setup.hardware import hardware_of
from tuner.setup.stored_study import StoredStudy
from tuner.upkeep.contenders import Contenders, check_study, contenders_of
from tuner.upkeep.due import study_name, why_due
from tuner.upkeep.judgement import Fate, Judgement, judge
from tuner.upkeep.renewal import renewed
from tuner.verdict.answer import Answer, answer_of
from tuner.verdict.conclude import load_evidence, study_objectives, study_slos
from tuner.verdict.evidence import Evidence

MOST = 1000  # published recommendations that one call looks at


class Step(StrEnum):
    CURRENT = "current"  # nothing has changed
    UNKNOWN = "unknown"  # whether anything has
    TO_MEASURE = "to measure"  # of a dry run
    WAITING = "waiting"  # for its study
    HOLDS = "holds"
    WITHDRAWN = "withdrawn"
    UNDECIDED = "undecided"
    FAILED = "failed"  # it could not be measured


@dataclass(frozen=True)
class Outcome:
    """Of one published recommendation. `why`: it is due; `told`: what was found, or what is waited for; `successor`: the renewed one."""

    recommendation: int
    model: str
    step: Step
    why: tuple[str, ...] = ()
    told: str = ""
    study: str | None = None
    successor: int | None = None

    def to_json(self) -> Json:
        return {
            "recommendation": self.recommendation,
            "model": self.model,
            "step": self.step.value,
            "why": list(self.why),
            "told": self.told,
            "study": self.study,
            "successor": self.successor,
        }


@dataclass(frozen=True)
class Present:
    """What is in use now. `versions_for`: package -> version of whatever would measure on this accelerator with so many devices; None:
    nobody knows, and `unknown` says why. `revision_of`: of a model's files. `now`: Unix seconds."""

    versions_for: Callable[[str, int], Mapping[str, str] | None]
    unknown: str = ""
    revision_of: Callable[[str], str | None] = lambda _model: None
    now: float = 0.0
    max_age_s: float | None = None


@dataclass(frozen=True)
class Ways:
    """How a study is measured: `begin` runs it, or puts it into the queue, and says what is waited for, None where it has ended; it raises
    BadInput where it cannot. Without it (a dry run) nothing is begun and nothing is changed. `places`: storage, logdir and the like."""

    by: Actor
    begin: Callable[[StudyConfig, Recommendation, Mapping[str, str]], str | None] | None = None
    places: Mapping[str, str] = field(default_factory=dict)


def revalidate(storage: Storage, present: Present, ways: Ways, *, only: Sequence[int] = (), model: str | None = None) -> list[Outcome]:
    """Every published recommendation, or those with the ids `only` and of this `model`, oldest first. Raises StorageFault."""
    found = storage.list_recommendations(publication=PublicationState.PUBLISHED, model=model, limit=MOST)
    chosen = [item for item in reversed(found) if not only or item.id in only]
    return [_one(storage, present, ways, record) for record in chosen]


def _one(storage: Storage, present: Present, ways: Ways, record: Recommendation) -> Outcome:
    try:
        answer = answer_of(record)
        versions = present.versions_for(record.accelerator, record.device_count)
        if versions is None:
            return Outcome(record.id, record.model, Step.UNKNOWN, told=f"measured on {record.accelerator}: {present.unknown}")
        revision = present.revision_of(record.model)
        why = why_due(record, answer, versions, revision=revision, now=present.now, max_age_s=present.max_age_s)
        if not why:
            return Outcome(record.id, record.model, Step.CURRENT)
        return _due(storage, ways, (record, answer), versions, why)
    except BadInput as error:
        return Outcome(record.id, record.model, Step.FAILED, told=str(error))


def _due(storage: Storage, ways: Ways, found: tuple[Recommendation, Answer], versions: Mapping[str, str], why: list[str]) -> Outcome:
    """Raises BadInput."""
    record, answer = found
    origin = storage.get_study_by_id(record.study_id)
    before = load_evidence(storage, origin)
    objective = study_objectives(origin)[0]
    contenders = contenders_of(answer, before, objective, study_slos(origin))
    config = check_study(StoredStudy.from_record(origin), contenders, study_name(record, why), **ways.places)
    begun = find_study(storage, config.study)

    def told(step: Step, text: str, successor: int | None = None) -> Outcome:
        return Outcome(record.id, record.model, step, why=tuple(why), told=text, study=config.study, successor=successor)

    if begun is None or begun.state is not StudyState.COMPLETE:
        waiting = _waiting(storage, config.study)
        if waiting is None and ways.begin is None:
            return told(Step.TO_MEASURE, _plan(contenders))
        if waiting is None and ways.begin is not None:
            waiting = ways.begin(config, record, versions)
        begun = find_study(storage, config.study)
        if waiting is not None or begun is None or begun.state is not StudyState.COMPLETE:
            return told(Step.WAITING, waiting or f"study {config.study} has not ended")
    evidence = load_evidence(storage, begun)
    judgement = _judged(evidence, before, contenders, versions)
    successor = None if ways.begin is None else _apply(storage, ways.by, found, evidence, contenders, judgement)
    return told(Step(judgement.fate.value), judgement.sentence, successor)


def _waiting(storage: Storage, study: str) -> str | None:
    """How the study stands in the queue, where it is there."""
    newest = next(iter(storage.list_submissions(study=study, limit=1)), None)
    return None if newest is None or newest.state in ENDED else f"submission {newest.id} of study {study} is {newest.state.value}"


def refuse_what_failed(storage: Storage, study: str) -> None:
    """Raises BadInput where the last submission of the study ended without a result: by itself nothing is tried again and again."""
    newest = next(iter(storage.list_submissions(study=study, limit=1)), None)
    if newest is not None and newest.state in (SubmissionState.FAILED, SubmissionState.CANCELLED):
        reason = f"submission {newest.id} of study {study} is {newest.state.value}: {newest.reason or 'no reason given'}"
        raise BadInput(reason, fix="mend that and measure it with tuner revalidate, without --submit, or measure the model anew")


def _plan(contenders: Contenders) -> str:
    others = " and ".join(f"{words} ({item})" for words, item in contenders.against.items()) or "nothing: no other was measured"
    pairs = f"engine starts, which differ in {contenders.cold[0]}" if contenders.cold else "rounds of one engine"
    if not contenders.paired:
        return f"{contenders.recommended} against {others}: no pairs, they differ in {' and '.join(contenders.cold)}"
    return f"{contenders.recommended} against {others}, in pairs of {pairs}"


def _judged(evidence: Evidence, before: Evidence, contenders: Contenders, versions: Mapping[str, str]) -> Judgement:
    """Undecided where something else was measured than what was asked for."""
    origin = before.study
    now, then = evidence.environment, before.environment
    if now is None or then is None:
        return Judgement(Fate.UNDECIDED, ("nothing was measured",))
    hardware = [hardware_of(item.accelerator, item.device_count) for item in (now, then)]
    if (hardware[0].name, hardware[0].device_count) != (hardware[1].name, hardware[1].device_count):
        return Judgement(Fate.UNDECIDED, (f"it was measured on {now.accelerator}, not on {then.accelerator}",))
    if evidence.workload is None or before.workload is None or evidence.workload.content_hash != before.workload.content_hash:
        return Judgement(Fate.UNDECIDED, ("its workload sends other requests now",))
    if others := other_versions(now.versions, versions):
        return Judgement(Fate.UNDECIDED, (f"it was measured with other versions: {', '.join(others)}",))
    return judge(evidence, contenders, study_objectives(origin)[0], study_slos(origin))


def _apply(
    storage: Storage, by: Actor, found: tuple[Recommendation, Answer], evidence: Evidence, contenders: Contenders, judgement: Judgement
) -> int | None:
    """The id of the renewed recommendation, None where there is none."""
    record, answer = found
    told = f"measured again by study {evidence.study.name}: {judgement.sentence}"
    if judgement.fate is Fate.WITHDRAWN:
        storage.mark_recommendation(record.id, published=False, by=_signed(by, told))
    if judgement.fate is not Fate.HOLDS:
        return None
    origin = storage.get_study_by_id(record.study_id)
    objectives, slos = study_objectives(origin), study_slos(origin)
    new = renewed(record, answer, evidence, contenders, objectives=objectives, slos=slos, judgement=judgement)
    known = storage.list_recommendations(study_id=evidence.study.id, include_withdrawn=True)  # of a call that died half-way
    stored = next((item for item in known if item.body == new.body), None) or storage.add_recommendation(new)
    storage.mark_recommendation(stored.id, published=True, by=_signed(by, told))
    storage.mark_recommendation(record.id, published=False, by=_signed(by, f"renewed as recommendation {stored.id}"))
    return stored.id


def _signed(by: Actor, reason: str) -> Actor:
    return Actor(by.name, " ".join(reason.split())[:MOST_CHARACTERS], by.request_id)

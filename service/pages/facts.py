"""A study's records for its pages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from service.answers.finished import FinishedStudies
from storage.base import Storage
from storage.records import Comparison, Environment, Profile, Study, StudyState, Trial, TrialState, Workload
from tuner.core.errors import BadInput
from tuner.verdict.answer import Answer, answer_of
from tuner.verdict.conclude import compare_stored

_KEPT = 32
_KEPT_COMPARISONS = 200


@dataclass(frozen=True)
class StudyFacts:
    """`answer`: what the study recommends. `environment` and `workload`: those that most trials have. Measurements are not here: a large
    study has thousands."""

    study: Study
    trials: Sequence[Trial]
    comparisons: Sequence[Comparison]
    profiles: Sequence[Profile]
    answer: Answer | None
    environment: Environment | None
    workload: Workload | None

    @property
    def running(self) -> bool:
        return self.study.state is StudyState.RUNNING

    @property
    def counts(self) -> dict[TrialState, int]:
        found = Counter(trial.state for trial in self.trials)
        return {state: found[state] for state in TrialState}

    @property
    def place(self) -> tuple[str, int, int] | None:
        """(arm, page size, chunk budget) that is recommended."""
        return self.answer.place if self.answer is not None else None


class FactsReader:
    """One for a process; safe to use from several threads."""

    def __init__(self) -> None:
        self._trials = FinishedStudies[tuple[Sequence[Trial], Sequence[Comparison]]](_KEPT)
        self._comparisons = FinishedStudies[Sequence[Comparison]](_KEPT_COMPARISONS)

    def read(self, storage: Storage, name: str) -> StudyFacts:
        """Raises NotFound."""
        study = storage.get_study(name)
        trials, comparisons = self._trials.get(study, lambda: (storage.list_trials(study.id), judged_comparisons(storage, study)))
        recommendations = storage.list_recommendations(study_id=study.id, limit=1)
        fingerprint = _commonest(trial.environment for trial in trials)
        workload = _commonest(trial.workload_hash for trial in trials)
        return StudyFacts(
            study=study,
            trials=trials,
            comparisons=comparisons,
            profiles=storage.list_profiles(study_id=study.id),
            answer=answer_of(recommendations[0]) if recommendations else None,
            environment=storage.get_environment(fingerprint) if fingerprint else None,
            workload=storage.get_workload(workload) if workload else None,
        )

    def comparisons(self, storage: Storage, study: Study) -> Sequence[Comparison]:
        """A study's comparisons, for a list of many studies. None while its search runs: too early, one sees differences by chance."""
        if study.state is StudyState.RUNNING:
            return ()
        return self._comparisons.get(study, lambda: judged_comparisons(storage, study))


def judged_comparisons(storage: Storage, study: Study) -> Sequence[Comparison]:
    """As everybody else shows them; none before the study was first completed. Of one that cannot be read any more, what is stored."""
    stored = storage.list_comparisons(study.id)
    if not stored or study.state is StudyState.RUNNING:
        return stored
    try:
        return compare_stored(storage, study).comparisons
    except BadInput:
        return stored


def _commonest(values: Iterable[str | None]) -> str | None:
    found = Counter(value for value in values if value)
    return found.most_common(1)[0][0] if found else None

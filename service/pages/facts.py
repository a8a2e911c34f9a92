"""A study's records for its pages. What cannot change any more, the trials and comparisons of a study that is not running, is kept."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from threading import Lock

from storage.base import Storage
from storage.records import Comparison, Environment, Profile, Recommendation, Study, StudyState, Trial, TrialState, Workload

_KEPT = 32
_KEPT_COMPARISONS = 200


@dataclass(frozen=True)
class StudyFacts:
    """`environment` and `workload` are those that most trials have. Measurements are not among them: they are
    thousands in a large study."""

    study: Study
    trials: Sequence[Trial]
    comparisons: Sequence[Comparison]
    profiles: Sequence[Profile]
    recommendation: Recommendation | None
    environment: Environment | None
    workload: Workload | None

    @property
    def running(self) -> bool:
        return self.study.state is StudyState.RUNNING

    @property
    def counts(self) -> dict[TrialState, int]:
        found = Counter(trial.state for trial in self.trials)
        return {state: found[state] for state in TrialState}

    def trial_of(self, trial_id: int | None) -> Trial | None:
        return next((trial for trial in self.trials if trial.id == trial_id), None)


class FactsReader:
    """One for a process; safe to use from several threads."""

    def __init__(self, kept: int = _KEPT) -> None:
        self._kept = kept
        self._trials: OrderedDict[tuple[int, float], tuple[Sequence[Trial], Sequence[Comparison]]] = OrderedDict()
        self._comparisons: OrderedDict[tuple[int, float], Sequence[Comparison]] = OrderedDict()
        self._lock = Lock()

    def read(self, storage: Storage, name: str) -> StudyFacts:
        """Raises NotFound."""
        study = storage.get_study(name)
        trials, comparisons = self._trials_of(storage, study)
        recommendations = storage.list_recommendations(study_id=study.id, limit=1)
        fingerprint = _commonest(trial.environment for trial in trials)
        workload = _commonest(trial.workload_hash for trial in trials)
        return StudyFacts(
            study=study,
            trials=trials,
            comparisons=comparisons,
            profiles=storage.list_profiles(study_id=study.id),
            recommendation=recommendations[0] if recommendations else None,
            environment=storage.get_environment(fingerprint) if fingerprint else None,
            workload=storage.get_workload(workload) if workload else None,
        )

    def comparisons(self, storage: Storage, study: Study) -> Sequence[Comparison]:
        """Of the study alone, for a list of many; none while it runs: looking early finds differences that are not there."""
        if study.state is StudyState.RUNNING:
            return ()
        key = (study.id, study.updated_at)
        with self._lock:
            if key in self._comparisons:
                self._comparisons.move_to_end(key)
                return self._comparisons[key]
        found = storage.list_comparisons(study.id)
        with self._lock:
            self._comparisons[key] = found
            while len(self._comparisons) > _KEPT_COMPARISONS:
                self._comparisons.popitem(last=False)
        return found

    def _trials_of(self, storage: Storage, study: Study) -> tuple[Sequence[Trial], Sequence[Comparison]]:
        key = (study.id, study.updated_at)
        with self._lock:
            if key in self._trials:
                self._trials.move_to_end(key)
                return self._trials[key]
        found = storage.list_trials(study.id), storage.list_comparisons(study.id)
        if study.state is not StudyState.RUNNING:
            with self._lock:
                self._trials[key] = found
                while len(self._trials) > self._kept:
                    self._trials.popitem(last=False)
        return found


def _commonest(values: Iterable[str | None]) -> str | None:
    found = Counter(value for value in values if value)
    return found.most_common(1)[0][0] if found else None

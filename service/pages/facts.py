"""A study's records for its pages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from service.answers.finished import FinishedStudies
from service.pages.slo_view import Margin, margins_of, slos_of
from storage.base import DamagedRecord, Storage
from storage.records import Comparison, Environment, Profile, Recommendation, Study, StudyState, Trial, TrialState, Workload
from tuner.core.contrast import ALIGNMENT, Contrast
from tuner.core.errors import BadInput
from tuner.core.factors import ArmCell, in_arm
from tuner.report.recommended import compared_place
from tuner.search.life import Life, life_of
from tuner.setup.stored_study import StoredStudy
from tuner.verdict.answer import Answer, answer_of, readable_answers
from tuner.verdict.cell_claims import Place
from tuner.verdict.changes import with_changes
from tuner.verdict.compare import StudyComparison
from tuner.verdict.conclude import compare_stored, default_settings
from tuner.verdict.evidence import place_of
from tuner.verdict.study_answer import StudyAnswer, stored_answer

_KEPT = 32
_KEPT_COMPARISONS = 200


@dataclass(frozen=True)
class StudyFacts:
    """`answer`: what the study recommends; `said`: its answer to the question of page alignment, or of what it compares. `life`: of its
    search, None where nobody says that it runs. `environment` and `workload`: those that most trials have. `margins`: trial id -> how far
    it is inside each SLO. Measurements are not here: a large study has thousands.
    """

    study: Study
    trials: Sequence[Trial]
    comparison: StudyComparison
    profiles: Sequence[Profile]
    answer: Answer | None
    environment: Environment | None
    workload: Workload | None
    life: Life | None = None
    margins: Mapping[int, Sequence[Margin]] = field(default_factory=dict)

    @property
    def comparisons(self) -> Sequence[Comparison]:
        return self.comparison.comparisons

    @property
    def said(self) -> StudyAnswer | None:
        """None while the search runs: looking early finds differences that are not there."""
        return None if self.running else self.comparison.answer

    @property
    def running(self) -> bool:
        """Whether a search measures it just now; a killed one leaves its state RUNNING."""
        return self.life is not None and not self.life.note

    @property
    def contrast(self) -> Contrast:
        """What its answer is about; of one that cannot be read any more, page alignment."""
        with suppress(BadInput):
            return StoredStudy.from_record(self.study).contrast
        return ALIGNMENT

    @property
    def counts(self) -> dict[TrialState, int]:
        found = Counter(trial.state for trial in self.trials)
        return {state: found[state] for state in TrialState}

    @property
    def place(self) -> ArmCell | None:
        """(arm, page size, chunk budget) that is recommended."""
        return self.answer.place if self.answer is not None else None

    @property
    def winner(self) -> Trial | None:
        """The trial that the recommendation rests on."""
        ids = self.answer.evidence.get("trial_ids", []) if self.answer is not None else []
        return next((item for item in self.trials if item.id in ids and in_arm(item.arm, place_of(item)) == self.place), None)

    @property
    def compared_place(self) -> Place | None:
        """Where the comparisons have what is recommended (tuner.report.recommended)."""
        return compared_place(self.place, self.contrast)


@dataclass(frozen=True)
class _Measured:
    """What is kept of a study whose search does not run."""

    trials: Sequence[Trial]
    comparison: StudyComparison
    margins: Mapping[int, Sequence[Margin]]


class FactsReader:
    """One for a process; safe to use from several threads."""

    def __init__(self) -> None:
        self._measured = FinishedStudies[_Measured](_KEPT)
        self._comparisons = FinishedStudies[StudyComparison](_KEPT_COMPARISONS)

    def read(self, storage: Storage, name: str) -> StudyFacts:
        """Raises NotFound."""
        study = storage.get_study(name)
        life = life_of(storage, study)
        measured = self._measured.get(_settled(study, life), lambda: _measured(storage, study, life))
        trials = measured.trials
        recommendations = storage.list_recommendations(study_id=study.id, limit=1)
        fingerprint = _commonest(trial.environment for trial in trials)
        workload = _commonest(trial.workload_hash for trial in trials)
        return StudyFacts(
            study=study,
            trials=trials,
            comparison=measured.comparison,
            profiles=storage.list_profiles(study_id=study.id),
            answer=next((answer_with_changes(found, study) for found, _ in readable_answers(recommendations)), None),
            environment=storage.get_environment(fingerprint) if fingerprint else None,
            workload=storage.get_workload(workload) if workload else None,
            life=life,
            margins=measured.margins,
        )

    def comparison(self, storage: Storage, study: Study, life: Life | None) -> StudyComparison:
        """For a list of many studies. Empty while its search runs: too early, one sees differences by chance."""
        return self._comparisons.get(_settled(study, life), lambda: judged(storage, study, life))


def _measured(storage: Storage, study: Study, life: Life | None) -> _Measured:
    trials = storage.list_trials(study.id)
    return _Measured(trials, judged(storage, study, life), _margins(storage, study, trials))


def _margins(storage: Storage, study: Study, trials: Sequence[Trial]) -> Mapping[int, Sequence[Margin]]:
    """Empty without SLOs, and where what is stored cannot be read."""
    slos = slos_of(study)
    with suppress(DamagedRecord):
        return margins_of(trials, storage.list_measurements(study_id=study.id), slos) if slos else {}
    return {}


def _settled(study: Study, life: Life | None) -> Study:
    """As interrupted where its search died: what is made of it can be kept."""
    return replace(study, state=StudyState.INTERRUPTED) if life is not None and life.note else study


def judged(storage: Storage, study: Study, life: Life | None) -> StudyComparison:
    """As everybody else shows it, also of a search that was interrupted or died; nothing while it runs. Of one that cannot be read any
    more, what is stored."""
    if life is not None and not life.note:
        return StudyComparison(())
    with suppress(BadInput, DamagedRecord):
        return compare_stored(storage, study)
    with suppress(DamagedRecord):
        stored = storage.list_comparisons(study.id)
        found = {item.metric: stored_answer(stored, item.metric) for item in stored}
        return StudyComparison(tuple(stored), {metric: answer for metric, answer in found.items() if answer is not None})
    return StudyComparison(())


def answer_with_changes(found: Recommendation, study: Study) -> Answer:
    """The stored answer with its settings against vLLM's defaults, also one of an earlier version."""
    try:
        return with_changes(answer_of(found), default_settings(study))
    except BadInput:  # a study that cannot be read any more
        return answer_of(found)


def _commonest(values: Iterable[str | None]) -> str | None:
    found = Counter(value for value in values if value)
    return found.most_common(1)[0][0] if found else None

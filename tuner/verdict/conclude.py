"""Reads what is stored about a study and makes its verdicts and recommendation.

Used by the search at its end, and by whatever shows a study.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace

from storage.base import Storage
from storage.records import Comparison, Environment, Json, Measurement, Recommendation, Stage, Study, StudyState, Trial
from tuner.core.contrast import Contrast
from tuner.core.errors import BadInput
from tuner.metrics.objective import Objective, Slo, parse_objectives
from tuner.setup.stored_study import StoredStudy
from tuner.setup.vllm_defaults import is_mla, vllm_defaults
from tuner.verdict.answer import Answer, answer_of, readable_answers
from tuner.verdict.beside import beside
from tuner.verdict.candidates import candidates_of
from tuner.verdict.cell_cause import CAUSE
from tuner.verdict.cell_evidence import CellCauses
from tuner.verdict.compare import Question, StudyComparison, compare_study
from tuner.verdict.compared import is_of_arms
from tuner.verdict.evidence import Evidence
from tuner.verdict.predicted import is_simulated, marked
from tuner.verdict.recommend import recommend
from tuner.verdict.slo_cells import NO_SLOS, SloFacts, slo_facts
from tuner.verdict.study_answer import stored_answer

# Judged beside the objective where they were measured: what the feature was claimed to win (a step's time), and what it may cost.
SIDE_METRICS = ("total_token_throughput", "mean_step_ms", "ttft_p99_ms", "tpot_p99_ms")


def study_objectives(study: Study) -> tuple[Objective, ...]:
    return parse_objectives(study.objective)


def study_slos(study: Study) -> tuple[Slo, ...]:
    return StoredStudy.from_record(study).slos


def load_evidence(storage: Storage, study: Study) -> Evidence:
    """Everything about a study, under the environment that most of its trials ran in."""
    trials = storage.list_trials(study.id)
    environment = _environment(storage, trials)
    hashes = Counter(trial.workload_hash for trial in trials)
    workload = storage.get_workload(hashes.most_common(1)[0][0]) if hashes else None
    return Evidence(
        study=study,
        trials=trials,
        measurements=storage.list_measurements(study_id=study.id),
        environment=environment,
        workload=workload,
        comparisons=storage.list_comparisons(study.id),
        profiles=storage.list_profiles(study_id=study.id),
        defaults=default_settings(study),
        recommendation=next(iter(storage.list_recommendations(study_id=study.id, limit=1)), None),
        quarantined={item.host: item.reason for item in storage.list_quarantines()},
    )


def default_settings(study: Study) -> Json:
    """What vLLM would take by itself, under vLLM's names; empty where a damaged or very old study does not say for which lengths."""
    stored = StoredStudy.from_record(study)
    length, seqs = stored.resolved.max_model_len, stored.resolved.max_num_seqs
    if not length or not seqs:
        return {}
    return {
        **asdict(vllm_defaults(length, seqs, stored.value("engine_args"), mla=is_mla(study.model_features))),
        **stored.resolved.factor_defaults,
    }


def compare_stored(storage: Storage, study: Study, metrics: Sequence[str] | None = None) -> StudyComparison:
    """The study's comparison, in `metrics` or in all that were judged: the one path for CLI, report, REST and pages.

    A completed study has it stored (an older version's without the causes of its cells, which are added). `compare_measured` makes it
    anew where the study is not complete, where another version stored no answer or one of another meaning, and where one of `metrics`
    was not judged at the end. Raises BadInput for an unknown metric.
    """
    stored = storage.list_comparisons(study.id) if study.state is StudyState.COMPLETE else ()
    judged = [item.metric for item in stored]
    wanted = list(dict.fromkeys(judged if metrics is None else metrics))
    found = {metric: answer for metric in wanted if (answer := stored_answer(stored, metric)) is not None}
    if not wanted or len(found) < len(wanted):
        return compare_measured(storage, study, metrics)
    asked = [item for item in stored if item.metric in found]
    known = all(CAUSE in item.details or not is_of_arms(item) for item in asked)
    return StudyComparison(tuple(asked if known else _with_causes(storage, study, asked)), found)


def _with_causes(storage: Storage, study: Study, comparisons: Sequence[Comparison]) -> list[Comparison]:
    trials, measurements = trials_and_windows(storage, study.id)
    return CellCauses(trials, measurements, storage.list_profiles(study_id=study.id)).told(comparisons)


def compare_measured(storage: Storage, study: Study, metrics: Sequence[str] | None = None) -> StudyComparison:
    """Judge the study's search stage from its measurements, in `metrics` or in all of interest, the objective's first. Raises BadInput."""
    evidence, objectives = load_evidence(storage, study), study_objectives(study)
    chosen = list(metrics) if metrics is not None else compared_metrics(study, evidence.measurements)
    stored = StoredStudy.from_record(study)
    contrast = stored.contrast
    question = Question(
        objectives=tuple(item.metric for item in objectives),
        slos=_slo_facts(evidence, objectives, study_slos(study), contrast),
        interrupted=study.state is StudyState.INTERRUPTED,
        contrast=contrast,
        windows=1 if stored.rounds is None else stored.rounds.min,
    )
    judged = compare_study(
        study.id,
        evidence.trials,
        evidence.measurements,
        chosen,
        stage=Stage.SEARCH,
        plan=evidence.interim,
        question=question,
        profiles=evidence.profiles,
    )
    if is_simulated(study):
        return marked(judged)
    if question.objectives[0] not in judged.answers:  # other metrics were asked for
        return judged
    return beside(judged, _recommended(storage, replace(evidence, comparisons=judged.comparisons)), contrast)


def _slo_facts(evidence: Evidence, objectives: Sequence[Objective], slos: Sequence[Slo], contrast: Contrast) -> SloFacts:
    """Of the search and, where it was begun, of the confirmation, which a recommendation then rests on."""
    stages = [Stage.SEARCH, *([Stage.CONFIRM] if evidence.confirming else [])]
    return slo_facts([candidates_of(evidence, stage, objectives) for stage in stages], slos, contrast) if slos else NO_SLOS


def _recommended(storage: Storage, evidence: Evidence) -> Answer | None:
    """What is shown beside the study's answer: the stored one of a study that has ended, else what its evidence says now. None where no
    settings can be made of what is stored of its trials; their pairs still count."""
    study = evidence.study
    stored = storage.list_recommendations(study_id=study.id, limit=1) if study.state is StudyState.COMPLETE else ()
    for _, answer in readable_answers(stored):
        return answer
    with suppress(BadInput):
        return answer_of(recommend(evidence, study_objectives(study), study_slos(study)))
    return None


def compared_metrics(study: Study, measurements: Sequence[Measurement]) -> list[str]:
    """The objectives' metrics, then those of SIDE_METRICS that were measured."""
    measured = {name for item in measurements for name in item.metrics}
    wanted = [*(objective.metric for objective in study_objectives(study)), *(name for name in SIDE_METRICS if name in measured)]
    return list(dict.fromkeys(wanted))


def recommend_stored(storage: Storage, study: Study) -> Recommendation:
    """What the stored evidence recommends now; stores nothing."""
    return recommend(load_evidence(storage, study), study_objectives(study), study_slos(study))


def _environment(storage: Storage, trials: Sequence[Trial]) -> Environment | None:
    known = Counter(trial.environment for trial in trials if trial.environment)
    return storage.get_environment(known.most_common(1)[0][0]) if known else None


def trials_and_windows(storage: Storage, study_id: int) -> tuple[Sequence[Trial], Sequence[Measurement]]:
    """Of a study that may be written or deleted meanwhile: every window is one of these trials."""
    measurements = storage.list_measurements(study_id=study_id)  # first, so that their trials are there
    trials = storage.list_trials(study_id)
    known = {trial.id for trial in trials}
    return trials, [item for item in measurements if item.trial_id in known]

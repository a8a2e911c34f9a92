"""What a study found, as plain data for every way out (text, JSON, Markdown). Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from storage.records import Comparison, Json, Study, Trial
from tuner.verdict.answer import STATUS_NONE, Answer
from tuner.verdict.cell_cause import CAUSE
from tuner.verdict.compare import StudyComparison
from tuner.verdict.compared import COMPARED, is_of_arms
from tuner.verdict.study_answer import StudyAnswer


def comparison_json(comparison: Comparison) -> Json:
    """Ratios are page_aligned / default, or those that `compared` says."""
    return {
        "metric": comparison.metric,
        "block_size": comparison.block_size,
        "max_num_batched_tokens": comparison.max_num_batched_tokens,
        **({"factors": comparison.factors} if comparison.factors else {}),
        "verdict": comparison.verdict,
        "ratio": comparison.ratio,
        "low": comparison.low,
        "high": comparison.high,
        "pairs": comparison.pairs,
        "reason": comparison.details.get("reason"),
        "cause": comparison.details.get(CAUSE),
        **({} if is_of_arms(comparison) else {COMPARED: comparison.details[COMPARED]}),
    }


def answer_json(answer: StudyAnswer | None) -> Json | None:
    return None if answer is None else answer.to_json()


def study_json(study: Study) -> Json:
    return {
        "name": study.name,
        "state": study.state.value,
        "model": study.model,
        "objective": study.objective,
        "engine_starts": study.engine_starts,
        "cost_s": study.cost,
        "created_at": study.created_at,
        "updated_at": study.updated_at,
        "tags": study.tags or [],
        "archived_at": study.archived_at,
    }


def trial_json(trial: Trial) -> Json:
    return {
        "id": trial.id,
        "number": trial.number,
        "stage": trial.stage.value,
        "state": trial.state.value,
        "arm": trial.arm,
        "block_size": trial.block_size,
        "max_num_batched_tokens": trial.max_num_batched_tokens,
        **({"factors": trial.factors} if trial.factors else {}),
        "values": trial.values,
        "error_class": trial.error_class,
        "error_message": trial.error_message,
        "log_excerpt": trial.log_excerpt,
        "environment": trial.environment,
        "effective": trial.effective,
        "requested": trial.requested,
        "started_at": trial.started_at,
        "finished_at": trial.finished_at,
        "notes": trial.notes,
    }


def study_comparison_json(comparison: StudyComparison) -> Json:
    return {
        "answer": answer_json(comparison.answer),
        "answers": {metric: answer_json(answer) for metric, answer in comparison.answers.items()},
        "comparisons": [comparison_json(item) for item in comparison.comparisons],
    }


def recommendation_json(answer: Answer) -> Json:
    """A study's own recommendation. Whether it is published is not a part of what the study found."""
    return {name: value for name, value in answer.to_json().items() if name not in {"published_at", "withdrawn_at"}}


def serve_command(answer: Answer) -> str:
    """The shell line that serves with the recommended settings, environment variables first; "" where nothing is recommended."""
    if answer.status == STATUS_NONE:
        return ""
    assignments = [f"{name}={shlex.quote(str(value))}" for name, value in answer.env.items()]
    return " ".join([*assignments, shlex.join(["vllm", "serve", str(answer.config["model"]), *answer.vllm_args])])


def first_metric(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons of the metric that comes first: the objective's."""
    return [item for item in comparisons if item.metric == comparisons[0].metric] if comparisons else []

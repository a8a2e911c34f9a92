"""What a simulated study may say: a prediction is never a recommendation. Pure."""

from __future__ import annotations

from dataclasses import replace

from storage.records import Study
from tuner.core.factors import further
from tuner.setup.stored_study import was_launched_by
from tuner.verdict.answer import STATUS_NONE, Answer, Settings
from tuner.verdict.compare import StudyComparison
from tuner.verdict.study_answer import with_answer

MARK = "simulated, not measured"


def is_simulated(study: Study) -> bool:
    """Whether its windows are predictions (tuner.launchers.simulate)."""
    return was_launched_by(study, "simulate")


def predicted_only(answer: Answer) -> Answer:
    """With status "none", whatever was chosen: nobody who asks for settings gets these. They stand under `predicted`, to be measured."""
    settings = answer.settings
    kept = {
        "status": answer.status,
        "reason": answer.reason,
        "config": answer.config,
        "vllm_args": answer.vllm_args,
        "expected": answer.expected,
    }
    where = f"page size {settings.get('block_size')}, chunk budget {settings.get('max_num_batched_tokens')}, {settings.get('arm')}"
    where += further(answer.factors)
    return Answer.of_body(
        {**answer.body(), "predicted": {**kept, "settings": dict(settings)}},
        status=STATUS_NONE,
        reason=f"simulated, never measured: predicted best are {where}; measure them with --launcher local before you use them",
        config={},
        vllm_args=[],
        env={},
        expected={},
        settings=Settings(),
        changes=[],
    )


def marked(judged: StudyComparison) -> StudyComparison:
    """Every sentence begins with MARK, whoever shows it."""
    answers = {metric: replace(answer, sentence=f"{MARK}: {answer.sentence}") for metric, answer in judged.answers.items()}
    own = {metric: [item for item in judged.comparisons if item.metric == metric] for metric in answers}
    kept = [item for item in judged.comparisons if item.metric not in answers]
    return StudyComparison((*(item for metric in own for item in with_answer(own[metric], answers[metric])), *kept), answers)

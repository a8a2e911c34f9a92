"""The evidence of a recommendation that still holds, made new: the same settings, with what was measured now. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from storage.records import Recommendation, Stage
from tuner.metrics.objective import Objective, Slo
from tuner.setup.space import Configuration
from tuner.upkeep.contenders import Contenders
from tuner.upkeep.judgement import Judgement
from tuner.verdict.answer import Answer, Grounds, Scope
from tuner.verdict.candidates import Candidate, candidates_of
from tuner.verdict.evidence import Evidence
from tuner.verdict.gain import gain_over
from tuner.verdict.recommend import expected_of


def renewed(
    record: Recommendation,
    answer: Answer,
    evidence: Evidence,
    contenders: Contenders,
    *,
    objectives: Sequence[Objective],
    slos: Sequence[Slo],
    judgement: Judgement,
) -> Recommendation:
    """To be stored in the place of `record`. `evidence`: of the study that measured it again, with a value of what is recommended."""
    winner = _measured(evidence, contenders.recommended, objectives[0])
    assert winner is not None and evidence.environment is not None  # it holds, so it was measured
    defaults = None if contenders.defaults is None else _measured(evidence, contenders.defaults, objectives[0])
    gain = None if defaults is None else gain_over(defaults, winner, objectives[0], slos, evidence.defaults)
    environment, study = evidence.environment, evidence.study
    grounds = Grounds(
        study=study.name,
        study_id=study.id,
        stage=winner.trial.stage.value,
        trial_ids=[winner.trial.id],
        measurement_ids=[item.id for item in winner.measurements],
        profile_ids=[],
        profiles=[],
        configurations_measured=len(list(contenders)),
        comparisons=[],
        arms=None,
        over_default=gain,
    )
    scope: Scope = {
        **answer.scope,
        "environment": environment.fingerprint,
        "versions": dict(environment.versions),
        "model_features": study.model_features,
    }
    body = answer.changed(
        reason=f"still holds: {judgement.sentence}; the settings are those of recommendation {record.id}",
        expected=expected_of(winner, [item.metric for item in objectives] + [slo.metric for slo in slos]),
        evidence=grounds,
        scope=scope,
    ).body()
    return replace(record, id=0, study_id=study.id, body=body, created_at=0.0, published_at=None, withdrawn_at=None)


def _measured(evidence: Evidence, configuration: Configuration, objective: Objective) -> Candidate | None:
    """Started cold where it was, else in the search."""
    for stage in (Stage.CONFIRM, Stage.SEARCH):
        for item in candidates_of(evidence, stage, (objective,)):
            if Configuration.of_trial(item.trial) == configuration:
                return item
    return None

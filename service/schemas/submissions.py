"""Studies that are submitted: what the body of a submission is, and the answers."""

from __future__ import annotations

from service.schemas.submission_examples import SUBMITTED
from storage.records import Json
from tuner.fleet.allowed import OF_A_SUBMISSION
from tuner.fleet.dry_run import DryRun
from tuner.setup.config import StudyConfig

_DURATION: Json = {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string"}], "examples": ["90s", "1h30m"]}
_ROUNDS: Json = {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string"}, {"type": "object"}], "examples": ["3-12"]}
_AS_PEOPLE_WRITE_IT: Json = {
    "rounds": _ROUNDS,
    **dict.fromkeys(("time_budget", "trial_timeout", "engine_start_timeout"), _DURATION),
    "factors": {"type": "object", "description": "Name -> levels.", "examples": [{"max_num_seqs": "8..64:log"}]},
}


def study_schema() -> Json:
    """JSON Schema of the body: the settings of a study file, without those that belong to the worker."""
    made = StudyConfig.model_json_schema()
    properties = {name: value for name, value in made["properties"].items() if name in OF_A_SUBMISSION} | _AS_PEOPLE_WRITE_IT
    return {
        "type": "object",
        "title": "SubmittedStudy",
        "properties": properties,
        "required": ["study", "model"],
        "additionalProperties": False,
        "examples": [SUBMITTED],
    }


def study_body() -> Json:
    """`openapi_extra` of the route that takes it."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": study_schema()}}}}


def dry_run_answer(found: DryRun) -> Json:
    return {"study": found.config.study, **found.to_json()}

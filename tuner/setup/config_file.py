"""YAML files and command-line values -> StudyConfig. Every mistake is BadInput in one line: where, which key, and the fix."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tuner.core.errors import BadInput
from tuner.core.spelling import did_you_mean
from tuner.core.yaml_file import read_yaml
from tuner.setup.complaints import first_complaint
from tuner.setup.config import StudyConfig, check_config

# What people write -> the key it is called here.
_SYNONYMS = {
    "block_size": "page_sizes",
    "block_sizes": "page_sizes",
    "page_size": "page_sizes",
    "max_num_batched_tokens": "chunk_budgets",
    "chunk_budget": "chunk_budgets",
    "chunk_sizes": "chunk_budgets",
    "slo": "slos",
    "factor": "factors",
    "n_trials": "trials",
    "timeout": "trial_timeout",
    "name": "study",
}

_OPTIONS = {"factors": "factor"}  # where an option is not called as its key


def load_config(path: Path | None, options: Mapping[str, Any], *, unnamed: str | None = None) -> StudyConfig:
    """The file's settings with `options` (settings given on the command line, by their key) over them; checked. `unnamed`: what the study
    is called where neither names it. Raises BadInput.
    """
    from_file = read_study_file(path) if path is not None else {}
    for key in from_file:
        if key not in StudyConfig.model_fields:
            raise BadInput(f"{path}: the key {key!r} is unknown; {suggestion(key)}")
    merged = {**({} if unnamed is None else {"study": unnamed}), **from_file, **options}
    for name in ("model", "study"):
        if name not in merged:
            raise BadInput(f"{name} is missing; give --{name}" + (f" or add it to {path}" if path is not None else " or a YAML file"))
    try:
        config = StudyConfig.model_validate(merged)
    except ValidationError as error:
        found = first_complaint(error)
        on_command_line = path is None or found.setting in options
        where = f"--{_OPTIONS.get(found.key, found.key.replace('_', '-'))}" if on_command_line else f"{path}: {found.key}"
        raise BadInput(f"{where}: {found.text}") from error
    try:
        check_config(config)
    except BadInput as error:
        if path is not None and error.setting in from_file and error.setting not in options:
            raise error.found_in(path) from error
        raise
    return config


def read_study_file(path: Path) -> dict[str, Any]:
    """A mapping with text keys. Raises BadInput."""
    return read_yaml(path, holds="settings such as model and page_sizes")


def suggestion(key: str) -> str:
    """Which setting somebody meant who wrote `key`."""
    plain = key.replace("-", "_").lower()
    if plain in _SYNONYMS:
        return f"did you mean {_SYNONYMS[plain]}?"
    return did_you_mean(key, StudyConfig.model_fields)

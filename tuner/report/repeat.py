"""The command that repeats a study, written out of its stored configuration. Pure."""

from __future__ import annotations

import json
import shlex
from typing import Any

from storage.records import Study
from tuner.core.numbers import exact
from tuner.setup.config import STUDY_SETTINGS
from tuner.setup.stored_study import StoredStudy, setting_default
from tuner.verdict.evidence import Evidence

_ALWAYS = ("model", "page_sizes", "chunk_budgets", "arms", "workload", "objective", "rounds", "seed")  # also where they are the default
_WORKLOAD_FILE = "workload.json"


def repeat_command(evidence: Evidence) -> str:
    """`tuner search` with every setting that is not its default; a workload that was written in a file comes before it."""
    lines = []
    workload = StoredStudy.from_record(evidence.study).workload
    if isinstance(workload, dict):
        lines.append(f"cat > {_WORKLOAD_FILE} <<'END'\n{json.dumps(workload, indent=2)}\nEND")
    lines.append(" \\\n  ".join(["tuner search", "--study AGAIN", *_options(evidence.study)]))
    return "\n".join(lines)


def _options(study: Study) -> list[str]:
    config = StoredStudy.from_record(study).given
    chosen = [name for name in _ALWAYS if config.get(name) not in (None, {}, [])]
    chosen += [
        name
        for name, setting in STUDY_SETTINGS.items()
        if name in config and name not in _ALWAYS and setting.repeated and config[name] != setting_default(name)
    ]
    return [option for name in chosen for option in _option(name, config[name])]


def _option(name: str, value: Any) -> list[str]:
    """As `tuner search --help` has it: lists with commas, switches, slos and engine_args once for each."""
    flag = name.replace("_", "-")
    if name == "slos":
        return [f"--slo {shlex.quote(limit)}" for limit in value]
    if name == "engine_args":
        return [f"--engine-arg {shlex.quote(f'{key}={json.dumps(item)}')}" for key, item in value.items()]
    if name == "rounds":
        return [f"--rounds {value['min']}" + ("" if value["min"] == value["max"] else f"-{value['max']}")]
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    if isinstance(value, dict):
        return [f"--{flag} {_WORKLOAD_FILE}"]
    if isinstance(value, list):
        return [f"--{flag} {','.join(map(str, value))}"]
    return [f"--{flag} {shlex.quote(_number(value))}"]


def _number(value: Any) -> str:
    return exact(value) if isinstance(value, float) else str(value)

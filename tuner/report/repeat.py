"""The commands that repeat a study or go on with it, written out of its stored configuration. Pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from storage.records import Study
from tuner.core.factors import levels_text
from tuner.core.numbers import exact
from tuner.setup.conditions import WHEN
from tuner.setup.config import STUDY_SETTINGS
from tuner.setup.stored_study import StoredStudy, setting_default
from tuner.verdict.evidence import Evidence

_ALWAYS = ("model", "page_sizes", "chunk_budgets", "arms", "workload", "objective", "rounds", "seed")  # also where they are the default
_WORKLOAD_FILE = "workload.json"


def repeat_command(evidence: Evidence) -> str:
    """`tuner search` with every setting that is not its default; a workload that was written in a file comes before it."""
    return search_again(evidence.study, "AGAIN")


def search_again(study: Study, name: str) -> str:
    """The same search, as the study `name`. Raises BadInput where what is stored of the study is damaged."""
    return _command(study, name, {key for key, setting in STUDY_SETTINGS.items() if setting.repeated})


def resume_command(study: Study) -> str:
    """What goes on with the study on the machine where it was begun; its database is not said: it may hold a password. Raises BadInput."""
    return _command(study, study.name, STUDY_SETTINGS.keys() - {"study", "storage"}, "--resume")


def _command(study: Study, name: str, settings: AbstractSet[str], *further: str) -> str:
    lines = []
    workload = StoredStudy.from_record(study).workload
    if isinstance(workload, dict):
        lines.append(f"cat > {_WORKLOAD_FILE} <<'END'\n{json.dumps(workload, indent=2)}\nEND")
    lines.append(" \\\n  ".join(["tuner search", f"--study {shlex.quote(name)}", *_options(study, settings), *further]))
    return "\n".join(lines)


def _options(study: Study, settings: AbstractSet[str]) -> list[str]:
    config = StoredStudy.from_record(study).given
    chosen = [name for name in _ALWAYS if config.get(name) not in (None, {}, [])]
    chosen += [
        name
        for name in STUDY_SETTINGS
        if name in config and name in settings and name not in _ALWAYS and config[name] != setting_default(name)
    ]
    return [option for name in chosen if name != WHEN for option in _option(name, config[name], config.get(WHEN, {}))]


def _option(name: str, value: Any, when: Mapping[str, str]) -> list[str]:
    """As `tuner search --help` has it: lists with commas, switches, slos and engine_args once for each."""
    flag = name.replace("_", "-")
    if name == "slos":
        return [f"--slo {shlex.quote(limit)}" for limit in value]
    if name == "guard":
        return [f"--guard {shlex.quote(value)}" if isinstance(value, str) else "--guard on" if value else "--no-guard"]
    if name == "engine_args":
        return [f"--engine-arg {shlex.quote(f'{key}={json.dumps(item)}')}" for key, item in value.items()]
    if name == "factors":
        conditions = {factor: f" when {condition}" for factor, condition in when.items()}
        return [f"--factor {shlex.quote(f'{key}={levels_text(levels)}{conditions.get(key, "")}')}" for key, levels in value.items()]
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

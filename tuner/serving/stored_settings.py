"""The settings of a stored trial, typed: the one place that writes and reads storage.records.Trial.requested and `.effective`. Pure.

A trial of an earlier version lacks settings that came later and may have some that are gone: what is missing had the value that is now
the default, what is unknown is left out. What no version can have written is damage, and is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import cache
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from storage.records import Json, Trial
from tuner.core.contract import SETTINGS, EngineSettings
from tuner.core.errors import BadInput
from tuner.core.factors import LIVE_FACTORS, factors_of
from tuner.core.settings import Difference

COMPILED_MAX = "compiled_max_num_batched_tokens"
"""How `requested` calls the budget that the engine was compiled for; the trial's own budget is `max_num_batched_tokens`."""

COMPILED_SEQS = "compiled_max_num_seqs"
"""The same of the number of requests at once, where it is a factor."""
_SEQS = "max_num_seqs"
_EXTRA = "extra_engine_args"

_DEFAULTS = {item.name: item.default for item in fields(EngineSettings) if item.default is not MISSING}
_DEFAULTS |= {item.name: item.default_factory() for item in fields(EngineSettings) if item.default_factory is not MISSING}
_CONDITIONS = tuple(name for name, setting in SETTINGS.items() if setting.difference is Difference.CONDITION)
_KV_WRITES = 2  # "<token-wise>,<page-wise>"


def requested_settings(engine: Mapping[str, Any], params: Mapping[str, Any]) -> Json:
    """What `requested` holds: an engine's cold settings (an EngineSettings as a mapping) and what was measured in it; vLLM's names."""
    cold = dict(engine)
    cold[COMPILED_MAX] = cold.pop("max_num_batched_tokens")
    if _SEQS in params:
        cold[COMPILED_SEQS] = cold[_SEQS]
    if not cold["env"]:
        del cold["env"]
    return {**cold, **params}


def settings_of(trial: Trial) -> EngineSettings:
    """The cold settings of an engine with exactly this trial's flags. Raises BadInput where `requested` is damaged."""
    found = _engine_settings(trial, trial.max_num_batched_tokens)
    live = {name: level for name, level in trial.factors.items() if name in LIVE_FACTORS and name not in found.__dataclass_fields__}
    return found.with_factors(factors_of(live))


def measured_engine_of(trial: Trial) -> EngineSettings:
    """The engine that the trial was measured in: compiled for the largest budget of its group. Raises BadInput as settings_of does."""
    found = _engine_settings(trial, trial.requested.get(COMPILED_MAX, trial.max_num_batched_tokens))
    return found.with_changes(max_num_seqs=trial.requested[COMPILED_SEQS]) if COMPILED_SEQS in trial.requested else found


def conditions_of(trial: Trial) -> Json:
    """Every setting but the cell's own coordinates that two trials must share to be comparable; a missing one has its default. Without
    the live factors, whether an engine was started with them or not, and without an empty `env`, which no earlier version knew."""
    stored = {**_DEFAULTS, **trial.requested}
    live = LIVE_FACTORS & trial.factors.keys()
    if live and isinstance(extra := stored[_EXTRA], dict):
        stored[_EXTRA] = {name: value for name, value in extra.items() if name not in live}
    return {name: stored[name] for name in _CONDITIONS if name in stored and name not in live and (name != "env" or stored[name])}


def measured_kv_write(trial: Trial) -> str | None:
    """The implementations of the KV write that the engine chose, "<token-wise>,<page-wise>"; None where another kernel writes them."""
    found = trial.effective.get("kv_write")
    return found if isinstance(found, str) and len(found.split(",")) == _KV_WRITES else None


def _engine_settings(trial: Trial, budget: Any) -> EngineSettings:
    stored = {**trial.requested, "block_size": trial.block_size, "max_num_batched_tokens": budget}
    values = {}
    for name, adapter in _types().items():
        if name not in stored:
            if name not in _DEFAULTS:
                raise BadInput(f"trial {trial.number}: its stored settings are incomplete, {name} is missing; measure it again")
            continue
        try:
            values[name] = adapter.validate_python(stored[name])
        except ValidationError as error:
            raise BadInput(
                f"trial {trial.number}: its stored settings are damaged, {name} cannot be {stored[name]!r}; measure it again"
            ) from error
    return EngineSettings(**values)


@cache
def _types() -> dict[str, TypeAdapter[Any]]:
    hints = get_type_hints(EngineSettings)
    return {item.name: TypeAdapter(hints[item.name], config=ConfigDict(strict=True)) for item in fields(EngineSettings)}

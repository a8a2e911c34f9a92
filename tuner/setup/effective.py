"""What an engine in effect runs with, in one spelling: nothing that is the same in effect is measured twice in a study. Pure.

Two configurations are the same in effect where they differ only in how a setting is said:
- what is not said (`unset`) and vLLM's own value said aloud; `dtype` auto and what it becomes;
- numbers of the same size (8 and 8.0), in an environment variable with blanks or without;
- a threshold for long prefills that is no smaller than the chunk budget, and none: vLLM cuts a chunk to the smaller of the two
  (vllm/v1/core/sched/scheduler.py, `schedule`).
What is not known to be the same counts as different, for instance `kv_cache_dtype` auto, which a checkpoint may decide.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from storage.records import Json, Trial
from tuner.core.contract import SETTINGS, EngineSettings
from tuner.core.factors import ADDITIONAL, ENV, LONG_PREFILL, UNSET, Level, factors_of
from tuner.core.settings import Difference
from tuner.setup.model_memory import Features, served_dtype
from tuner.setup.space import Configuration, SearchSpace

_LEFT_OUT = frozenset({"extra_engine_args", "env", "alignable"})  # the first two setting by setting; the third is the arm's
_OF_VARIABLES = {"USE_BATCHED_RPA_KERNEL": "0"}  # tpu_inference 0.32.0, envs.py
_MOVES_IT = "max_num_partial_prefills"  # above 1 vLLM takes a threshold of its own where none is said


def effective_settings(engine: EngineSettings, arm: str, own: Mapping[str, Level], features: Features) -> Json:
    """Of an engine with exactly a configuration's flags. `own`: vLLM's own level of further arguments, as far as known."""
    found: Json = {
        name: _plain(getattr(engine, name))
        for name, setting in SETTINGS.items()
        if setting.difference is not Difference.NONE and name not in _LEFT_OUT and hasattr(engine, name)
    }
    found["dtype"] = served_dtype(engine.dtype, features)
    found["arm"] = arm
    arguments = {name.replace("-", "_"): _plain(value) for name, value in engine.extra_engine_args.items()}
    if _MOVES_IT not in arguments and _reaches(arguments.get(LONG_PREFILL), engine.max_num_batched_tokens):
        arguments[LONG_PREFILL] = 0
    arguments |= {f"{ADDITIONAL}{key}": value for key, value in (arguments.pop(ADDITIONAL.rstrip("."), None) or {}).items()}
    further = {name: value for name, value in arguments.items() if value is not None and not (name in own and value == _plain(own[name]))}
    variables = {name: "".join(str(value).split()) for name, value in engine.env.items()}
    variables = {f"{ENV}{name}": value for name, value in variables.items() if _OF_VARIABLES.get(name) != value}
    return found | further | variables


def effective_key(settings: Json) -> str:
    """16 hexadecimal digits, the same for what is the same in effect."""
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _reaches(threshold: Any, budget: int) -> bool:
    return isinstance(threshold, int) and not isinstance(threshold, bool) and threshold >= budget


def _plain(value: Any) -> Any:
    """A whole number as one, however it is said; UNSET as nothing."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return None if value == UNSET else value


def configuration_like(trial: Trial, space: SearchSpace, engine: EngineSettings) -> Configuration | None:
    """The configuration of the space that is the same in effect as a trial of another study, so far as page size, budget, arm and factors
    go; None where there is none. `engine`: what the engines of this study share.

    A factor that the other study did not search had one value there: what its engines were given, else vLLM's own.
    """
    found = Configuration.of_trial(trial)
    if found in space:
        return found
    for name, level in trial.factors.items():
        if name not in space.factors and _in_effect(level, None) != _in_effect(_said(name, asdict(engine)), space.own_levels.get(name)):
            return None
    levels = {}
    for name, listed in space.factors.items():
        own = space.own_levels.get(name)
        value = _in_effect(trial.factors.get(name, _said(name, trial.requested)), own)
        level = next((level for level in listed if _in_effect(level, own) == value), None)
        if level is None:
            return None
        levels[name] = level
    return next((item for item in (replace(found, factors=factors_of(levels)),) if item in space), None)


def _said(name: str, settings: Mapping[str, Any]) -> Any:
    """What an engine's settings (EngineSettings as a mapping) have under a factor's name; None where they do not say it."""
    if name.startswith(ENV):
        return settings.get("env", {}).get(name.removeprefix(ENV))
    if name.startswith(ADDITIONAL):
        found: Any = settings.get("extra_engine_args", {})
        for part in name.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
        return found
    return settings.get(name, settings.get("extra_engine_args", {}).get(name))


def _in_effect(level: Any, own: Level | None) -> Any:
    said = _plain(level)
    return _plain(own) if said is None else said

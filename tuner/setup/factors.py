"""The factors of a study as people write them, and which of them cannot be searched. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import yaml

from tuner.core.contract import EngineSettings
from tuner.core.errors import BadInput
from tuner.core.factors import ADDITIONAL, ENV, LIVE_FACTORS, LONG_PREFILL, UNSET, Level, level_text
from tuner.core.spelling import closest, did_you_mean
from tuner.core.yaml_file import parse_yaml
from tuner.serving.arg_facts import ArgFacts
from tuner.setup.engine_arg_rules import MANAGED_ENGINE_ARGS, check_engine_args
from tuner.setup.vllm_defaults import SERVE_SEQS

ALL = "*"  # of --launcher table: every value of the column
MOST_LEVELS = 1000
_RANGE = re.compile(r"(-?\d{1,9})\.\.(-?\d{1,9})(?::(\d{1,9}|log))?")

# What has options of its own.
_OWN_OPTIONS = {
    **dict.fromkeys(("block_size", "page_size", "page_sizes"), "page_sizes"),
    **dict.fromkeys(("max_num_batched_tokens", "chunk_budget", "chunk_budgets"), "chunk_budgets"),
    **dict.fromkeys(("arm", "arms", "page_aligned"), "arms"),
}
# Settings of a study of which a factor may be made -> the type of a level.
OF_A_STUDY: Mapping[str, type] = {
    "max_num_seqs": int,
    "tensor_parallel_size": int,
    "dtype": str,
    "enable_prefix_caching": bool,
    "async_scheduling": bool,
}
# What vLLM takes by itself of these; whether it schedules asynchronously depends on more.
_OWN: Mapping[str, Level | None] = {
    "max_num_seqs": SERVE_SEQS,
    "tensor_parallel_size": 1,
    "dtype": "auto",
    "enable_prefix_caching": True,
    "async_scheduling": None,
}
# tpu_inference 0.32.0, envs.py: (bq_sz, bkv_sz, bq_csz, bkv_csz) of the RPA v3 kernel, and a switch.
_BLOCK_SIZES = re.compile(r"[1-9]\d*(,[1-9]\d*){3}")
_SWITCH = re.compile(r"[01]")
_KEY = re.compile(r"additional_config(\.[A-Za-z_][\w-]*)+")
ENVIRONMENT: Mapping[str, tuple[re.Pattern[str], str]] = {
    **{f"RPA_V3_{phase}_BLOCK_SIZES": (_BLOCK_SIZES, "four numbers with ; between levels") for phase in ("DECODE", "PREFILL", "MIXED")},
    "USE_BATCHED_RPA_KERNEL": (_SWITCH, "0 or 1"),
}
_SETTINGS = frozenset(item.name for item in fields(EngineSettings))


def parse_factors(value: Any) -> Any:
    """{name: levels} with each level plain; levels may be written as one text (`parse_levels`). Anything else comes back as it is, for
    pydantic to refuse. Raises ValueError."""
    if not isinstance(value, Mapping):
        return value
    return {name: _levels(str(name), levels) for name, levels in value.items()}


def parse_levels(name: str, text: str) -> tuple[Level, ...]:
    """ "8,16,32", "8..64:8" (a step), "8..64:log" (doubling), "auto,fp8"; with ; between levels that hold commas. Raises ValueError."""
    variable = ENVIRONMENT.get(name.removeprefix(ENV))
    alone = variable is not None and variable[0].fullmatch(text.strip()) is not None
    parts = [text.strip()] if alone else [part.strip() for part in text.split(";" if ";" in text else ",") if part.strip()]
    found: list[Level] = []
    for part in parts:
        match = None if name.startswith(ENV) else _RANGE.fullmatch(part)
        found += [_level(name, part)] if match is None else _range(name, part, match)
    return tuple(found)


def _levels(name: str, value: Any) -> tuple[Level, ...]:
    if isinstance(value, str):
        return parse_levels(name, value)
    given = value if isinstance(value, list | tuple) else [value]
    return tuple(level for item in given for level in ([_checked(name, item)] if not isinstance(item, str) else _of_list(name, item)))


def _of_list(name: str, item: str) -> Sequence[Level]:
    """Text in a list is a level as it stands, but for a range."""
    match = None if name.startswith(ENV) else _RANGE.fullmatch(item)
    return [item] if match is None else _range(name, item, match)


def _level(name: str, text: str) -> Level:
    """What YAML makes of it; of an environment variable, the text."""
    if name.startswith(ENV) or text == ALL:
        return text
    try:
        value = parse_yaml(text)
    except (yaml.YAMLError, RecursionError):
        return text
    return _checked(name, value)


def _checked(name: str, value: Any) -> Level:
    if not isinstance(value, str | int | float) or (isinstance(value, float) and not math.isfinite(value)):
        shown = repr(value) if isinstance(value, float) or value is None else f"a {type(value).__name__}"  # what is nested may be endless
        raise ValueError(f"{name}: {shown} cannot be a level; use numbers, words, true, false, or {UNSET} for vLLM's own")
    return level_text(value) if name.startswith(ENV) and not isinstance(value, bool) else value


def _range(name: str, text: str, match: re.Match[str]) -> list[Level]:
    low, high, step = int(match[1]), int(match[2]), match[3]
    if low > high or step == "0":
        raise ValueError(f"{name}: {text} is empty; write for instance 8..64, 8..64:8 or 8..64:log")
    if step == "log":
        if low < 1:
            raise ValueError(f"{name}: {text} doubles from its first number, which must be 1 or more")
        return [low << power for power in range((high // low).bit_length())]
    if (count := (high - low) // int(step or 1) + 1) > MOST_LEVELS:
        raise ValueError(f"{name}: {text} has {count:,} levels, more than {MOST_LEVELS:,}; add a step, as in {low}..{high}:log")
    return list(range(low, high + 1, int(step or 1)))


def check_factors(factors: Mapping[str, Sequence[Level]], *, given: Mapping[str, Any], launcher: str) -> None:
    """`given`: the study's settings as they stand. Raises BadInput for a factor that cannot be searched, whatever vLLM says of it."""
    for name, levels in factors.items():
        if not levels:
            raise _bad(f"{name} has no level", "name its levels, as in max_num_seqs=8,16,32")
        for index, level in enumerate(levels):
            if level in levels[:index]:
                raise _bad(f"{name}: {level_text(level)} is there twice", "keep one")
        if name in _OWN_OPTIONS:
            raise _bad(f"{name} has an option of its own", f"use {_OWN_OPTIONS[name]}")
        if launcher == "table":  # its columns say what there is (tuner.launchers.choice)
            if name in LIVE_FACTORS and levels != (ALL,):
                _check_types(name, levels)
            continue
        if name.startswith(ENV):
            _check_environment(name, levels, launcher)
        elif name.startswith(ADDITIONAL):
            _check_key(name, given["engine_args"], launcher)
        elif name in OF_A_STUDY:
            _check_setting(name, levels, given)
        else:
            _check_argument(name, levels, given["engine_args"])


def _check_environment(name: str, levels: Sequence[Level], launcher: str) -> None:
    variable = name.removeprefix(ENV)
    if variable not in ENVIRONMENT:
        raise _bad(f"{name} is no variable of tpu-inference that is known to change the program", f"known: {', '.join(ENVIRONMENT)}")
    if launcher == "simulate":
        raise _bad(f"{name} changes the program, of which a simulation knows nothing", "measure it with --launcher local")
    pattern, what = ENVIRONMENT[variable]
    for level in levels:
        if level != UNSET and not pattern.fullmatch(str(level)):
            raise _bad(f"{name}: {level_text(level)} is not {what.partition(' with ')[0]}", f"write {what}, or {UNSET}")


def _check_key(name: str, engine_args: Mapping[str, Any], launcher: str) -> None:
    if not _KEY.fullmatch(name):
        raise _bad(f"{name} names no key", f"write {ADDITIONAL}KEY, with further dots for what is inside it")
    if launcher == "simulate":
        raise _bad(f"{name} changes the program, of which a simulation knows nothing", "measure it with --launcher local")
    fixed: Any = {key.replace("-", "_"): value for key, value in engine_args.items()}.get(ADDITIONAL.rstrip("."))
    for part in name.removeprefix(ADDITIONAL).split("."):
        fixed = fixed.get(part) if isinstance(fixed, dict) else None
    if fixed is not None:
        raise _bad(f"{name} is also fixed by engine_args", "take it out of --engine-arg additional_config, or drop the factor")


def _check_setting(name: str, levels: Sequence[Level], given: Mapping[str, Any]) -> None:
    if given[name] not in (None, engine_default(name)):
        raise _bad(f"{name} is also fixed to {level_text(given[name])}", f"drop --{name.replace('_', '-')}, or the factor")
    _check_types(name, levels)
    budget = max(given["chunk_budgets"])
    for level in levels if name == "max_num_seqs" else ():
        if isinstance(level, int) and level > budget:
            raise _bad(f"{name}: {level} is above the largest chunk budget {budget}, which vLLM refuses", "drop it or raise chunk_budgets")


def check_long_prefill(factors: Mapping[str, Sequence[Level]], engine_args: Mapping[str, Any], max_model_len: int) -> None:
    """Raises BadInput for a threshold that vLLM refuses at a start (config/scheduler.py), or that cuts prompts where chunking is off."""
    sizes = [level for level in factors.get(LONG_PREFILL, ()) if isinstance(level, int)]
    if max(sizes, default=0) > max_model_len:
        raise _bad(f"{LONG_PREFILL}: {max(sizes)} is above max_model_len {max_model_len}, which vLLM refuses", "drop that level")
    chunked = {key.replace("-", "_"): value for key, value in engine_args.items()}.get("enable_chunked_prefill")
    if chunked is False and max(sizes, default=0) > 0:
        raise _bad(f"{LONG_PREFILL}: {max(sizes)} needs chunked prefill, which engine_args turns off", "drop one of the two")


def _check_types(name: str, levels: Sequence[Level]) -> None:
    if name == LONG_PREFILL:
        if wrong := [level for level in levels if level != UNSET and (type(level) is not int or level < 0)]:
            raise _bad(f"{name}: {level_text(wrong[0])} is neither a whole number nor {UNSET}", "fix that level")
        return
    wanted = OF_A_STUDY[name]
    for level in levels:
        if type(level) is not wanted or (wanted is int and isinstance(level, int) and level < 1):
            words = {int: "a whole number above 0", str: "a word", bool: "true or false"}[wanted]
            raise _bad(f"{name}: {level_text(level)} is not {words}", "fix that level")


def engine_default(name: str) -> Any:
    """What a search takes for a setting of an engine that nobody names; None where it is decided later."""
    return next((item.default for item in fields(EngineSettings) if item.name == name), None)


def _check_argument(name: str, levels: Sequence[Level], engine_args: Mapping[str, Any]) -> None:
    if name in MANAGED_ENGINE_ARGS or name in _SETTINGS:
        raise _bad(f"{name} is one setting of a whole search", f"use the setting {MANAGED_ENGINE_ARGS.get(name, name)}")
    if "-" in name:
        raise _bad(f"{name} is not how vLLM's arguments are written", f"write {name.replace('-', '_')}")
    if name in {key.replace("-", "_") for key in engine_args}:
        raise _bad(f"{name} is also fixed by engine_args", f"drop --engine-arg {name}, or the factor")
    for level in levels:
        try:
            check_engine_args({name: level} if level != UNSET else {})
        except BadInput as error:
            raise _bad(error.reason, error.fix or "drop it") from error


def check_levels(factors: Mapping[str, Sequence[Level]], known: Mapping[str, ArgFacts]) -> None:
    """`known`: vLLM's arguments; {} where there is no vLLM to read. Raises BadInput for a factor or a level that vLLM does not take."""
    for name, levels in factors.items() if known else ():
        if name.startswith(ENV):
            continue
        if name.startswith(ADDITIONAL):
            _check_known_key(name, known)
            if name not in known:
                continue  # inside a key: what it takes is not known
        if name not in known:
            similar = closest(name, known)
            raise _bad(f"vLLM has no {name}", "see vllm serve --help" if similar is None else f"did you mean {similar}?")
        for level in levels:
            if (reason := known[name].refuses(level)) is not None:
                raise _bad(f"{name}: {reason}", "fix that level, or drop it")


def _check_known_key(name: str, known: Mapping[str, ArgFacts]) -> None:
    """Of `additional_config.sharding.x` the part before the second dot has to be known."""
    keys = [key.removeprefix(ADDITIONAL) for key in known if key.startswith(ADDITIONAL)]
    first = name.removeprefix(ADDITIONAL).partition(".")[0]
    if keys and first not in keys:
        raise _bad(f"tpu-inference reads no additional_config key {first}", did_you_mean(first, keys))


def own_levels(factors: Mapping[str, Sequence[Level]], known: Mapping[str, ArgFacts]) -> dict[str, Level]:
    """What vLLM takes by itself, of the factors of which that is known."""
    found = {}
    for name in factors:
        own = UNSET if name.startswith(ENV) else _OWN[name] if name in _OWN else known[name].default if name in known else None
        if own is not None:
            found[name] = own
    return found


def _bad(reason: str, fix: str) -> BadInput:
    return BadInput(reason, setting="factors", fix=fix)

"""The one-line form of a workload, `kind:key=value,...`, turned into the form of a workload file (plain data; spec.py checks it).

    synthetic:input=64-256,output=16-64,requests=32,concurrency=8,prefix_share=0.3,seed=1
    sessions:sessions=20,turns=1-6,input=32-256,output=16-64,shared_prefix=200,think_s=5,rate=2,burst=4:30:5
    azure:PATH,requests=200,time_scale=0.5,too_long=clip,max_input_tokens=4096
    lengths:PATH,rate=4,burstiness=0.5
    columns:PATH,input=prompt_len,output=answer_len,time=at,time_unit=ms,bad_rows=skip

Lengths are `128` (fixed), `64-256` (uniform) or `lognormal:MEDIAN:SIGMA:HIGH`. A synthetic or lengths workload without `concurrency`
and `rate` runs as a closed loop of 8; a synthetic one without `requests` has 32.
"""

from __future__ import annotations

import re
from typing import Any

from tuner.core.errors import BadInput

KINDS = ("synthetic", "sessions", "azure", "mooncake", "lengths", "bailian", "burstgpt", "sharegpt", "columns")
DRAWN_AS = "num_prompts"  # what a file calls `requests`
_DEFAULT_REQUESTS = 32
_DEFAULT_CONCURRENCY = 8

_WITHOUT_A_FILE = ("synthetic", "sessions")
_TIMED = ("azure", "mooncake", "bailian", "burstgpt")
LOAD_KEYS = {"concurrency": "max_concurrency", "rate": "request_rate", "burstiness": "burstiness", "ramp_to": "ramp_to", "burst": "burst"}
_FILE_KEYS = {
    "requests": "max_requests",
    "max_input_tokens": "max_input_tokens",
    "max_output_tokens": "max_output_tokens",
    "too_long": "too_long",
    "bad_rows": "bad_rows",
}
_TRACE_KEYS = _FILE_KEYS | {"time_scale": "time_scale", "duration_s": "max_duration_s"}
_SOURCE_KEYS = {
    "synthetic": {
        "input": "input",
        "output": "output",
        "requests": DRAWN_AS,
        "prefix_share": "prefix_share",
        "prefix_groups": "prefix_groups",
    },
    "sessions": {
        "sessions": "sessions",
        "turns": "turns",
        "input": "input",
        "output": "output",
        "shared_prefix": "shared_prefix",
        "think_s": "think_s",
    },
    "azure": _TRACE_KEYS,
    "mooncake": _TRACE_KEYS | {"time_unit": "time_unit", "block_tokens": "block_tokens"},
    "bailian": _TRACE_KEYS | {"block_tokens": "block_tokens"},
    "burstgpt": _TRACE_KEYS,
    "columns": _TRACE_KEYS | {"input": "input", "output": "output", "time": "time", "time_unit": "time_unit"},
    "lengths": _FILE_KEYS,
    "sharegpt": _FILE_KEYS | {"chars_per_token": "chars_per_token", "turns": "turns", "think_s": "think_s"},
}


def bad_workload(name: str, reason: str, fix: str | None) -> BadInput:
    """A complaint about the workload that is called so."""
    return BadInput(reason, setting="workload", value=f"{name!r}:", fix=fix)


def is_inline(text: str) -> bool:
    return text.partition(":")[0] in KINDS and ":" in text


def inline_mapping(text: str) -> dict[str, Any]:
    """Raises BadInput for what cannot be read; whether the values make sense is for WorkloadSpec to say."""
    kind, _, rest = text.partition(":")
    source: dict[str, Any] = {"kind": kind}
    load: dict[str, Any] = {}
    top: dict[str, Any] = {}
    parts = [part.strip() for part in rest.split(",") if part.strip()]
    if kind not in _WITHOUT_A_FILE:
        if not parts or "=" in parts[0]:
            raise bad_workload(text, "the file is missing", f"put the file's path right after the colon, as in {kind}:PATH,requests=100")
        source["path"] = parts.pop(0)
    source_keys = _SOURCE_KEYS[kind]
    for part in parts:
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not value:
            raise bad_workload(text, f"{part!r} must be written key=value", None)
        if key in ("seed", "name"):
            _set(top, key, value if key == "name" else _scalar(value), text, key)
        elif key in LOAD_KEYS:
            _set(load, LOAD_KEYS[key], _burst(value, text) if key == "burst" else _scalar(value), text, key)
        elif key in source_keys:
            _set(source, source_keys[key], _source_value(kind, key, value, text), text, key)
        else:
            known = ", ".join([*source_keys, *LOAD_KEYS, "seed", "name"])
            raise bad_workload(text, f"the key {key!r} is unknown", f"use one of {known}")
    return _with_defaults({"name": text, **top, "source": source}, load)


def _source_value(kind: str, key: str, value: str, text: str) -> Any:
    """Of a synthetic workload input and output are lengths, of columns the columns' names."""
    if kind == "columns" and key in ("input", "output", "time"):
        return value
    lengths = ("input", "output", "turns") if kind == "sessions" else ("input", "output")
    return _length(key, value, text) if key in lengths else _float(value) if key == "think_s" else _scalar(value)


def _burst(value: str, text: str) -> dict[str, Any]:
    parts = value.split(":")
    if len(parts) != 3:
        raise bad_workload(text, f"burst is {value!r}", "write FACTOR:EVERY:LENGTH, for instance 4:30:5: four times the rate in 5 of 30 s")
    return dict(zip(("factor", "every_s", "length_s"), map(_float, parts), strict=True))


def _float(value: str) -> float | str:
    number = _scalar(value)
    return float(number) if isinstance(number, int) else number


def _with_defaults(mapping: dict[str, Any], load: dict[str, Any]) -> dict[str, Any]:
    source = mapping["source"]
    timed = source["kind"] in _TIMED or "time" in source
    if source["kind"] == "synthetic":
        source.setdefault(DRAWN_AS, _DEFAULT_REQUESTS)
    if not timed and "request_rate" not in load:
        load.setdefault("max_concurrency", _DEFAULT_CONCURRENCY)
    return {**mapping, "load": load} if load else mapping


def _set(target: dict[str, Any], field: str, value: Any, text: str, key: str) -> None:
    if field in target:
        raise bad_workload(text, f"the key {key!r} is given twice", "keep one")
    target[field] = value


def _length(key: str, value: str, text: str) -> dict[str, Any]:
    if value.isdecimal():
        return {"kind": "fixed", "value": int(value)}
    if match := re.fullmatch(r"(\d+)-(\d+)", value):
        return {"kind": "uniform", "low": int(match[1]), "high": int(match[2])}
    if match := re.fullmatch(r"lognormal:([^:]+):([^:]+):([^:]+)", value):
        return {"kind": "lognormal", "median": _scalar(match[1]), "sigma": _scalar(match[2]), "high": _scalar(match[3])}
    raise bad_workload(text, f"{key} is {value!r}", "write a length as 128, 64-256 or lognormal:MEDIAN:SIGMA:HIGH")


def _scalar(value: str) -> int | float | str:
    """A number where it is written as one; `inf` stays a word, because JSON has no infinity."""
    for kind, pattern in ((int, r"[+-]?\d+"), (float, r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")):
        if re.fullmatch(pattern, value, re.ASCII):
            return kind(value)
    return value

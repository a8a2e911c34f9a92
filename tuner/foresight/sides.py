"""The two settings of `tuner foresee profile`: one, and the other one by what is changed in it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tuner.core.errors import BadInput
from tuner.core.spelling import closest
from tuner.foresight.look import Side
from tuner.foresight.questions import foreseeable_model, questions_of
from tuner.setup.config_file import load_config

BLOCK_SIZES = tuple(f"RPA_V3_{case}_BLOCK_SIZES" for case in ("DECODE", "PREFILL", "MIXED"))
_WHOLE = ("page_size", "chunk_budget", "tokens", "max_num_seqs", "max_model_len", "tensor_parallel_size")
_WORDS = ("accelerator", "dtype", "kv_cache_dtype")
CHANGEABLE = (*_WHOLE, *_WORDS, *BLOCK_SIZES)
_FOUR = re.compile(r"[1-9]\d{0,6}(,[1-9]\d{0,6}){3}")
_STUDY = "foresee"  # a configuration needs a name; nothing is stored under it


def changes(texts: Sequence[str]) -> dict[str, Any]:
    """("page_size=16", "RPA_V3_DECODE_BLOCK_SIZES=1,2048,1,512") -> what differs on the other side. Raises BadInput."""
    found: dict[str, Any] = {}
    for given in texts:
        name, equals, value = (part.strip() for part in given.partition("="))
        if not equals or not value:
            raise BadInput(f"{given!r}: write KEY=VALUE, for instance page_size=16", setting="--against")
        if name not in CHANGEABLE:
            similar = closest(name, CHANGEABLE)
            fix = f"use one of {', '.join(CHANGEABLE)}" if similar is None else f"did you mean {similar}?"
            raise BadInput("cannot be changed", setting="--against", value=name, fix=fix)
        if name in found:
            raise BadInput(f"{name} is given twice; keep one", setting="--against")
        found[name] = _value(name, value)
    return found


def _value(name: str, value: str) -> Any:
    if name in BLOCK_SIZES:
        return block_sizes(name, value)
    if name in _WORDS:
        return value
    if not (value.isascii() and value.isdecimal() and int(value) > 0):
        raise BadInput("is not a whole number above 0", setting=f"--against {name}", value=repr(value))
    return int(value)


def block_sizes(name: str, value: str) -> str:
    """Four numbers as the engine reads them. Raises BadInput."""
    plain = value.replace(" ", "")
    if not _FOUR.fullmatch(plain):
        raise BadInput("must be bq,bkv,bq compute,bkv compute in tokens", setting=name, value=repr(value), fix="for instance 1,2048,1,512")
    return plain


def side_of(settings: Mapping[str, Any]) -> Side:
    """`settings`: those of CHANGEABLE (block sizes as text) and model, layers, engine_args, engine_python. Raises BadInput."""
    given = {name: value for name, value in settings.items() if value is not None}
    environment = {name: given.pop(name) for name in BLOCK_SIZES if name in given}
    tokens, layers, accelerator = given.pop("tokens", None), given.pop("layers"), given.pop("accelerator")
    args = dict(given.pop("engine_args", {}))
    if "kv_cache_dtype" in given:
        args["kv_cache_dtype"] = given.pop("kv_cache_dtype")
    args["hf_overrides"] = {**(args.get("hf_overrides") or {}), "num_hidden_layers": layers}
    lists = {"page_sizes": [given.pop("page_size")], "chunk_budgets": [given.pop("chunk_budget")]}
    config = load_config(None, {**given, **lists, "engine_args": args, "arms": ["default"]}, unnamed=_STUDY)
    model = foreseeable_model(config.model)
    model.prepare()
    (question,) = questions_of(config, model, [accelerator])
    return Side(question, tokens or question.engine.max_num_batched_tokens, layers, environment)

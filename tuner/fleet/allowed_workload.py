"""Which workloads a submission may name: those with a name, drawn ones (synthetic, sessions, mixes) of a limited size, and files that the
operator names. Opens nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuner.core.errors import BadInput
from tuner.fleet.submitted_text import NotAllowed, Place
from tuner.workload.builtin import BUILTIN
from tuner.workload.inline import inline_mapping, is_inline
from tuner.workload.sources import (
    FileSource,
    FixedLength,
    LengthDistribution,
    Load,
    LognormalLength,
    MixPart,
    MixSource,
    SessionsSource,
    SyntheticSource,
)
from tuner.workload.spec import WorkloadSpec

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.,:=/+-]{0,199}")
_WHERE = ("workload",)
_WIDEST = 10.0  # sigma of a lognormal distribution
_MOST_AT_ONCE = 65_536  # requests
_MOST_PARTS = 64  # of a mix
_LONGEST_THINK_S = 3600.0
_BURST = {"factor": (1.0, 1000.0), "every_s": (1e-2, 86_400.0), "length_s": (1e-3, 86_400.0)}


@dataclass(frozen=True)
class Extent:
    """The largest workload: a plan of it is held in memory, by the service as well, at about 40 bytes a token."""

    requests: int = 20_000
    tokens: int = 2_000_000  # of all prompts
    longest: int = 1 << 20  # tokens of a request


def check_workload(workload: str | Mapping[str, Any], files: frozenset[str], most: Extent) -> None:
    """Raises NotAllowed."""
    if isinstance(workload, str) and (workload in BUILTIN or workload in files):
        return
    try:
        spec = WorkloadSpec.from_mapping(_mapping(workload), "workload")
    except BadInput as error:
        raise NotAllowed(_WHERE, error.reason or str(error), error.fix or "write it as in docs/workloads.md") from error
    if not _NAME.fullmatch(spec.name):
        raise NotAllowed((*_WHERE, "name"), "is no name", "use letters, digits, spaces and _ . , : = / + -")
    _check_load(spec.load)
    place = (*_WHERE, "source")
    if isinstance(spec.source, SyntheticSource):
        _check_requests(place, spec.source.num_prompts, most)
        _check_drawn(place, spec.source, spec.source.num_prompts, most)
    elif isinstance(spec.source, MixSource):
        _check_requests(place, spec.source.num_prompts, most)
        if len(spec.source.parts) > _MOST_PARTS:
            raise NotAllowed((*place, "parts"), f"are {len(spec.source.parts)}", f"use at most {_MOST_PARTS}")
        for number, part in enumerate(spec.source.parts):
            _check_drawn((*place, "parts", number), part, spec.source.num_prompts, most)
    elif isinstance(spec.source, SessionsSource):
        _check_sessions(place, spec.source, most)
    elif not isinstance(spec.source, FileSource):
        raise NotAllowed((*place, "kind"), f"is {spec.source.kind}, which is not taken here", "use synthetic, sessions or mix")
    elif spec.source.path not in files:
        raise _no_file("source", "path")


def _check_load(load: Load | None) -> None:
    """Rates so far from any engine's would be arrivals at infinity."""
    if load is None:
        return
    if isinstance(load.request_rate, int | float) and not 1e-3 <= load.request_rate <= 1e6:
        raise NotAllowed((*_WHERE, "load", "request_rate"), f"is {load.request_rate:g} requests/s", "use 0.001 to 1000000")
    if load.ramp_to is not None and not 1e-3 <= load.ramp_to <= 1e6:
        raise NotAllowed((*_WHERE, "load", "ramp_to"), f"is {load.ramp_to:g} requests/s", "use 0.001 to 1000000")
    if not 1e-2 <= load.burstiness <= 1e3:
        raise NotAllowed((*_WHERE, "load", "burstiness"), f"is {load.burstiness:g}", "use 0.01 to 1000")
    for name, (least, largest) in _BURST.items() if load.burst is not None else ():
        value = getattr(load.burst, name)
        if not least <= value <= largest:
            raise NotAllowed((*_WHERE, "load", "burst", name), f"is {value:g}", f"use {least:g} to {largest:g}")
    if load.max_concurrency is not None and load.max_concurrency > _MOST_AT_ONCE:
        raise NotAllowed((*_WHERE, "load", "max_concurrency"), f"is {load.max_concurrency}", f"use at most {_MOST_AT_ONCE}")


def _check_requests(place: Place, requests: int, most: Extent) -> None:
    if requests > most.requests:
        raise NotAllowed((*place, "num_prompts"), f"is {requests}", f"use at most {most.requests}")


def _check_lengths(place: Place, source: SyntheticSource | MixPart | SessionsSource) -> None:
    for name, lengths in (("input", source.input), ("output", source.output), ("turns", getattr(source, "turns", None))):
        if isinstance(lengths, LognormalLength) and lengths.sigma > _WIDEST:
            raise NotAllowed((*place, name, "sigma"), f"is {lengths.sigma:g}", f"use at most {_WIDEST:g}")


def _check_drawn(place: Place, source: SyntheticSource | MixPart, requests: int, most: Extent) -> None:
    """As if all requests were of this kind."""
    _check_lengths(place, source)
    for name, lengths in (("input", source.input), ("output", source.output)):
        if _longest(lengths) > most.longest:
            raise NotAllowed((*place, name), f"has requests of {_longest(lengths)} tokens", f"use at most {most.longest}")
    if source.prefix_groups > requests:
        raise NotAllowed((*place, "prefix_groups"), "is more than there are requests", f"use at most {requests}")
    if (tokens := requests * _longest(source.input)) > most.tokens:
        raise NotAllowed(place, f"may have {tokens} tokens in its prompts", f"use fewer or shorter ones, {most.tokens} tokens at most")
    if source.prefix_groups * _longest(source.input) > most.tokens:
        raise NotAllowed((*place, "prefix_groups"), "makes prefixes too large", "use fewer")


def _check_sessions(place: Place, source: SessionsSource, most: Extent) -> None:
    """As if every session had its most turns of the longest requests: prompts carry all that came before."""
    _check_lengths(place, source)
    turns = _longest(source.turns)
    if (requests := source.sessions * turns) > most.requests:
        raise NotAllowed((*place, "sessions"), f"may have {requests} turns", f"use at most {most.requests}")
    each = _longest(source.input) + _longest(source.output)
    if (longest := source.shared_prefix + turns * each) > most.longest:
        raise NotAllowed((*place, "turns"), f"may grow to requests of {longest} tokens", f"use at most {most.longest}")
    tokens = source.sessions * (turns * source.shared_prefix + each * turns * (turns + 1) // 2)
    if tokens > most.tokens:
        raise NotAllowed(place, f"may have {tokens} tokens in its prompts", f"use fewer or shorter ones, {most.tokens} tokens at most")
    if source.think_s > _LONGEST_THINK_S:
        raise NotAllowed((*place, "think_s"), f"is {source.think_s:g}", f"use at most {_LONGEST_THINK_S:g}")


def _mapping(workload: str | Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(workload, str):
        return workload
    if not is_inline(workload):
        raise _no_file()
    return inline_mapping(workload)


def _no_file(*inside: str) -> NotAllowed:
    return NotAllowed(
        (*_WHERE, *inside),
        "is neither a workload with a name nor a file that is allowed here",
        f"use one of {', '.join(BUILTIN)}, synthetic:input=...,output=..., or have --allow-file name exactly this path",
    )


def _longest(lengths: LengthDistribution) -> int:
    return lengths.value if isinstance(lengths, FixedLength) else lengths.high

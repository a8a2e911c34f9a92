"""Which workloads a submission may name: those with a name, synthetic ones of a limited size, and files that the operator names. Opens
nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuner.core.errors import BadInput
from tuner.fleet.submitted_text import NotAllowed
from tuner.workload.builtin import BUILTIN
from tuner.workload.inline import inline_mapping, is_inline
from tuner.workload.sources import FileSource, FixedLength, LengthDistribution, Load, LognormalLength, SyntheticSource
from tuner.workload.spec import WorkloadSpec

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.,:=/+-]{0,199}")
_WHERE = ("workload",)
_WIDEST = 10.0  # sigma of a lognormal distribution
_MOST_AT_ONCE = 65_536  # requests


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
    if isinstance(spec.source, SyntheticSource):
        _check_synthetic(spec.source, most)
    elif not isinstance(spec.source, FileSource):
        raise NotAllowed(
            (*_WHERE, "source", "kind"), f"is {spec.source.kind}, which is not taken here", "use synthetic, or a workload with a name"
        )
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
    if load.max_concurrency is not None and load.max_concurrency > _MOST_AT_ONCE:
        raise NotAllowed((*_WHERE, "load", "max_concurrency"), f"is {load.max_concurrency}", f"use at most {_MOST_AT_ONCE}")


def _check_synthetic(source: SyntheticSource, most: Extent) -> None:
    place = (*_WHERE, "source")
    for name, lengths in (("input", source.input), ("output", source.output)):
        if isinstance(lengths, LognormalLength) and lengths.sigma > _WIDEST:
            raise NotAllowed((*place, name, "sigma"), f"is {lengths.sigma:g}", f"use at most {_WIDEST:g}")
    for name, lengths in (("input", source.input), ("output", source.output)):
        if _longest(lengths) > most.longest:
            raise NotAllowed((*place, name), f"has requests of {_longest(lengths)} tokens", f"use at most {most.longest}")
    if source.num_prompts > most.requests:
        raise NotAllowed((*place, "num_prompts"), f"is {source.num_prompts}", f"use at most {most.requests}")
    if source.prefix_groups > source.num_prompts:
        raise NotAllowed((*place, "prefix_groups"), "is more than there are requests", f"use at most {source.num_prompts}")
    if (tokens := source.num_prompts * _longest(source.input)) > most.tokens:
        raise NotAllowed(place, f"may have {tokens} tokens in its prompts", f"use fewer or shorter ones, {most.tokens} tokens at most")
    if source.prefix_groups * _longest(source.input) > most.tokens:
        raise NotAllowed((*place, "prefix_groups"), "makes prefixes too large", "use fewer")


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

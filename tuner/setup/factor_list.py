"""What a study varies, setting by setting, and how many configurations that makes. Starts nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product

from storage.records import Json
from tuner.core.contract import ARM_DEFAULT, SETTINGS
from tuner.core.contrast import ARM, CHUNK_BUDGET, PAGE_SIZE
from tuner.core.factors import LIVE_FACTORS, Level, further
from tuner.core.settings import Memory
from tuner.setup.conditions import said_name
from tuner.setup.space import SearchSpace
from tuner.setup.study_setup import StudySetup

_MEMORY = {Memory.GROWS: "grows", Memory.PAGES: "pages", Memory.SAME: "unknown", Memory.NONE: "none"}
_KINDS = {PAGE_SIZE: "cold", CHUNK_BUDGET: "live", ARM: "live"}


def factors_json(space: SearchSpace) -> list[Json]:
    """Each factor beyond page size, chunk budget and arm; `default` null where vLLM's own is not known."""
    conditions = {
        name: {"when": str(condition), "inactive": space.conditions.inactive[name]} for name, condition in space.conditions.of.items()
    }
    return [
        {
            "factor": name,
            "kind": "live" if name in LIVE_FACTORS else "cold",
            "levels": list(levels),
            "default": space.own_levels.get(name),
            **conditions.get(name, {}),
        }
        for name, levels in space.factors.items()
    ]


def space_json(setup: StudySetup) -> Json:
    """All that is varied, page size, chunk budget and arm first, and the numbers of configurations.

    `memory` of a factor: "grows" (more of it never needs less), "pages" (the KV pages' size), "none", or "unknown". `configurations`:
    `combinations` of all levels as they are named, those left `after_conditions` (an inactive factor has one level, vLLM's own), those that
    the scheduler can run (`searched`), and of these the ones whose engine no rule known before a start excludes (`feasible`).
    """
    space, excluded = setup.space, _excluded(setup)
    named: Mapping[str, Sequence[Level]] = {PAGE_SIZE: space.page_sizes, CHUNK_BUDGET: space.chunk_budgets, ARM: space.arms}
    own = {PAGE_SIZE: space.own.block_size, CHUNK_BUDGET: space.own.max_num_batched_tokens, ARM: ARM_DEFAULT}
    first = [
        {"factor": said_name(name), "kind": _KINDS[name], "levels": list(levels), "default": own[name], "memory": _memory(name)}
        for name, levels in named.items()
    ]
    lost = sum(item["configurations"] for item in excluded)
    return {
        "factors": [*first, *({**factor, "memory": _memory(factor["factor"])} for factor in factors_json(space))],
        "compare": said_name(space.contrast.name),
        "configurations": {
            "combinations": math.prod(map(len, (*named.values(), *setup.config.factors.values()))),
            "after_conditions": _after_conditions(setup),
            "searched": len(space.configurations),
            "feasible": len(space.configurations) - lost,
        },
        "cells": len(space.cells),
        "engines": len(space.engines),
        "excluded": excluded,
    }


def _memory(name: str) -> str:
    if name == ARM:
        return "none"  # both arms have the same pages
    return _MEMORY[SETTINGS[name].memory] if name in SETTINGS else "unknown"


def _after_conditions(setup: StudySetup) -> int:
    space = setup.space
    axes: Mapping[str, Sequence[Level]] = {
        PAGE_SIZE: space.page_sizes,
        CHUNK_BUDGET: space.chunk_budgets,
        ARM: space.arms,
        **space.factors,
    }
    if not space.conditions.of:
        return math.prod(map(len, axes.values()))
    points = (dict(zip(axes, levels, strict=True)) for levels in product(*axes.values()))
    return sum(space.conditions.allows(point, setup.config.factors) for point in points)


def _excluded(setup: StudySetup) -> list[Json]:
    """The engines that cannot run, with the first reason of each."""
    found = []
    for size, factors in setup.space.engines:
        if reasons := setup.infeasible(setup.group_engine(size, factors)):
            engine = f"page size {size}{further(factors)}"
            found.append({"engine": engine, "configurations": len(setup.space.group((size, factors))), "reason": str(reasons[0])})
    return found

"""Which factor a study may compare in pairs, and what the comparison needs. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tuner.core.contrast import ARM, CHUNK_BUDGET, PAGE_SIZE, Contrast
from tuner.core.errors import BadInput
from tuner.core.factors import level_text
from tuner.core.spelling import did_you_mean
from tuner.setup.factors import ALL

_OPTIONS = {PAGE_SIZE: "page_sizes", CHUNK_BUDGET: "chunk_budgets"}


def check_comparison(given: Mapping[str, Any], *, usual_starts: int) -> None:
    """`given`: the settings of a study. Raises BadInput for a factor that is not searched, or has one level, and for settings that leave
    comparisons without a side."""
    name, contrast = given["compare"], Contrast(given["compare"], 0)
    if not contrast.cold and given["starts"] != usual_starts:
        raise BadInput("is only for a factor that is cold", setting="starts", value=given["starts"], fix="drop it")
    if name == ARM:
        return
    levels = _levels(name, given)
    if levels is not None and tuple(levels) != (ALL,) and len(levels) < 2:
        raise BadInput(
            f"has one level, {level_text(levels[0])}: nothing to compare it with",
            setting="compare",
            value=name,
            fix=f"give {_OPTIONS.get(name, 'factors')} another, or drop --compare",
        )
    if given["launcher"] == "serve":
        why = "needs pairs of one engine, or engines of one level" if not contrast.cold else "starts an engine for each configuration"
        raise BadInput(
            f"--launcher serve {why}", setting="compare", value=f"{name}:", fix="use --launcher local, or compare page_alignment"
        )
    if contrast.cold:
        _check_all_is_measured(name, given)


def _levels(name: str, given: Mapping[str, Any]) -> Sequence[Any] | None:
    """None where the page sizes are still to be decided."""
    if name in _OPTIONS:
        found: Sequence[Any] | None = given[_OPTIONS[name]]
        return found
    if name not in given["factors"]:
        known = ("page_alignment", "page_size", "chunk_budget", *given["factors"])
        raise BadInput(
            "is not searched",
            setting="compare",
            value=name,
            fix=f"{did_you_mean(name, known)}; or add --factor {name}=...",
        )
    listed: Sequence[Any] = given["factors"][name]
    return listed


def _check_all_is_measured(name: str, given: Mapping[str, Any]) -> None:
    """Engine starts are paired over the whole grid: a search that leaves configurations out would leave starts without a neighbour."""
    if given["sampler"] not in ("auto", "grid"):
        raise BadInput(
            f"{given['sampler']} leaves configurations out, and a cold comparison ({name}) needs every level in every cell",
            setting="sampler",
            fix="drop --sampler",
        )
    if given["trials"] is not None:
        raise BadInput(
            f"{given['trials']} may leave a level out, and a cold comparison ({name}) needs every level in every cell",
            setting="trials",
            fix="drop --trials; --time-budget ends it after whole pairs of starts",
        )

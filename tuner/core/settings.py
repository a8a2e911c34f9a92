"""What a setting of an engine means to those who compare, predict, store and show it. Standard library only, like the contract.

Each field of EngineSettings and LiveSettings (tuner.core.contract) declares a Setting where it is declared itself, so that a new setting
is described in one place and every list of settings elsewhere is derived. A live setting is a field of LiveSettings; all others are cold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Annotated, Any, get_args, get_origin, get_type_hints


class Difference(StrEnum):
    """What two trials are to each other that differ in this setting."""

    ARM = "arm"  # the two sides of a comparison: the arm, and what follows from it
    CELL = "cell"  # two cells of one grid
    CONDITION = "condition"  # not comparable: measured under different conditions
    NONE = "none"  # the same configuration: it is the same for a whole study, or the launcher derives it


class Memory(StrEnum):
    """How memory depends on a setting. Asked when one engine has run out of memory, to tell which others would."""

    GROWS = "grows"  # more of it never needs less memory
    PAGES = "pages"  # page size and pool: rules of their own (tuner.trials.learned)
    SAME = "same"  # nothing is known: only equal values compare
    NONE = "none"  # has no influence


class _Always:
    """Stands for "vLLM's own default does not matter: always write the argument"."""


ALWAYS = _Always()


@dataclass(frozen=True)
class Setting:
    """`study`: the setting of StudyConfig (tuner.setup.config) that a user gives for it; None where it cannot be given.

    `vllm`: vLLM's engine argument; None where there is none. `as_is`: vLLM gets the setting's value unchanged; if False,
    tuner.serving.engine_args computes the argument. `vllm_default`: vLLM's own default; a recommendation does not write the argument when
    the setting has this value. `shown`: whether tables of trials have a column for it; False for what the launcher or the model fixes.
    """

    difference: Difference
    memory: Memory
    study: str | None
    vllm: str | None = None
    as_is: bool = True
    vllm_default: object = ALWAYS
    shown: bool = True


def declared_settings(owner: type[Any]) -> dict[str, Setting]:
    """Field name -> its Setting, of a dataclass whose fields are `Annotated[type, Setting(...)]`. Raises TypeError for one without."""
    hints = get_type_hints(owner, include_extras=True)
    found = {item.name: _setting_of(hints[item.name]) for item in fields(owner)}
    if missing := [name for name, setting in found.items() if setting is None]:
        raise TypeError(f"{owner.__name__}.{missing[0]} declares no Setting: write {missing[0]}: Annotated[type, Setting(...)]")
    return {name: setting for name, setting in found.items() if setting is not None}


def merged_settings(*owners: type[Any]) -> Mapping[str, Setting]:
    """The settings of all `owners`. Raises TypeError where two of them declare one name differently."""
    merged: dict[str, Setting] = {}
    for owner in owners:
        for name, setting in declared_settings(owner).items():
            if merged.setdefault(name, setting) != setting:
                raise TypeError(f"{owner.__name__}.{name} declares another Setting than a class before it")
    return merged


def _setting_of(hint: Any) -> Setting | None:
    extras = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    return next((extra for extra in extras if isinstance(extra, Setting)), None)

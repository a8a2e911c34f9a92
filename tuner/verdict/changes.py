"""What is recommended, set against what vLLM takes by itself: setting by setting. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from storage.records import Json
from tuner.core.contract import ARM_PAGE_ALIGNED
from tuner.core.factors import ArmCell, Level, factors_in
from tuner.verdict.answer import Answer, Change, Settings

PAGE_ALIGNED = "page_aligned"
SAME = "same as vLLM's default"
_LABELS = {"block_size": "page size", "max_num_batched_tokens": "chunk budget", PAGE_ALIGNED: "page-aligned scheduling"}


def changes_of(place: ArmCell, defaults: Json) -> list[Change]:
    """One entry for each setting under study. `place`: arm and cell; `defaults` as in Evidence, None in an entry where vLLM's is not
    known."""
    arm, cell = place[0], place[1:]
    recommended: dict[str, Level] = {"block_size": cell[0], "max_num_batched_tokens": cell[1], **dict(factors_in(cell))}
    found = [Change(setting=name, default=defaults.get(name), recommended=value) for name, value in recommended.items()]
    return [*found, Change(setting=PAGE_ALIGNED, default=False, recommended=arm == ARM_PAGE_ALIGNED)]


def answer_settings(arm: str, block_size: int, max_num_batched_tokens: int, factors: Mapping[str, Level]) -> Settings:
    found = Settings(arm=arm, block_size=block_size, max_num_batched_tokens=max_num_batched_tokens, page_aligned=arm == ARM_PAGE_ALIGNED)
    found.update(factors)  # type: ignore[typeddict-item]  # an open form: factors stand beside the others
    return found


def with_changes(answer: Answer, defaults: Json) -> Answer:
    """The same answer; one that an earlier version stored gets its changes."""
    if answer.changes or answer.place is None:
        return answer
    return answer.changed(changes=changes_of(answer.place, defaults))


def change_rows(changes: Sequence[Change]) -> list[tuple[str, str, str]]:
    """(setting in words, what is recommended, how vLLM's default stands to it); empty for an answer of an earlier version."""
    return [(_LABELS.get(item["setting"], item["setting"]), _said(item["recommended"]), _standing(item)) for item in changes]


def change_lines(changes: Sequence[Change]) -> list[str]:
    """For instance "page size 128 (vLLM's default: 32)"."""
    return [f"{name} {value} ({standing})" for name, value, standing in change_rows(changes)]


def _standing(item: Change) -> str:
    if item["default"] is None:
        return "vLLM's default is not known"
    return SAME if item["default"] == item["recommended"] else f"vLLM's default: {_said(item['default'])}"


def _said(value: Level) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)

"""The trials of a study with many settings as lines over one axis for each setting that varies. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from service.pages.study_view import value_of
from storage.records import Stage, Trial
from tuner.core.contrast import ARM, CHUNK_BUDGET, PAGE_SIZE, WORDS
from tuner.core.factors import ArmCell, Level, in_arm, in_order, level_text
from tuner.metrics.objective import Objective
from tuner.verdict.evidence import place_of

LEAST_AXES = 4  # settings that vary; fewer are seen in the maps
MOST_LINES = 150  # the best ones: more are not told apart


@dataclass(frozen=True)
class Axis:
    """`levels` from below to above."""

    name: str
    levels: tuple[Level, ...]

    def height(self, level: Level) -> float:
        """Of a level, 0 below to 1 above."""
        return self.levels.index(level) / max(1, len(self.levels) - 1)


@dataclass(frozen=True)
class Line:
    """`levels`: one on each axis."""

    trial: Trial
    value: float
    levels: tuple[Level, ...]
    winner: bool


@dataclass(frozen=True)
class Parallel:
    """The worst line first, so that the best are drawn over it. `left_out`: completed trials that are not among them."""

    axes: tuple[Axis, ...]
    lines: tuple[Line, ...]
    left_out: int = 0


def parallel_of(trials: Sequence[Trial], objective: Objective, place: ArmCell | None) -> Parallel | None:
    """None where too few settings vary. `place`: what is recommended."""
    found = [(trial, value) for trial in trials if trial.stage is Stage.SEARCH and (value := value_of(trial, objective)) is not None]
    axes = _axes([trial for trial, _ in found])
    if len(axes) < LEAST_AXES:
        return None
    found.sort(key=lambda item: -objective.direction.sign * item[1])
    lines = [
        Line(
            trial,
            value,
            tuple(_levels_of(trial)[axis.name] for axis in axes),
            in_arm(trial.arm, place_of(trial)) == place,
        )
        for trial, value in reversed(found[:MOST_LINES])
    ]
    return Parallel(axes, tuple(lines), len(found) - len(lines))


def axis_title(axis: Axis) -> str:
    return "arm" if axis.name == ARM else WORDS.get(axis.name, axis.name)


def line_words(line: Line, parallel: Parallel) -> str:
    """ "page size 16, chunk budget 256, arm default, max_num_seqs 8"."""
    return ", ".join(f"{axis_title(axis)} {level_text(level)}" for axis, level in zip(parallel.axes, line.levels, strict=True))


def _axes(trials: Sequence[Trial]) -> tuple[Axis, ...]:
    """Settings that every trial has and that vary."""
    every = [_levels_of(trial) for trial in trials]
    names = [name for name in (every[0] if every else {}) if all(name in levels for levels in every)]
    levels = {name: sorted({item[name] for item in every}, key=lambda level: in_order((("", level),))) for name in names}
    return tuple(Axis(name, tuple(found)) for name, found in levels.items() if len(found) > 1)


def _levels_of(trial: Trial) -> dict[str, Level]:
    own: dict[str, Level] = {PAGE_SIZE: trial.block_size, CHUNK_BUDGET: trial.max_num_batched_tokens, ARM: trial.arm}
    return {**own, **dict(sorted(trial.factors.items()))}

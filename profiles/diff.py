"""Why is one arm faster: the difference of two sets of profile sessions per category and per scope, with intervals over steps.

Rows are keyed on category and folded scope (`profiles.scopes`): a renamed fusion, another program id or another number of layers does
not show up as one row that is gone and one that is new. Intervals come from resampling each side with replacement (percentile bootstrap,
Efron 1979): its sessions first, where it has several, then their steps (`profiles.sides`).
Because the rows and the two gaps of a step add up to its time, the differences of the rows add up to the difference of the steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiles.classify import CATEGORIES, GAPS, Category
from profiles.errors import ProfileError
from profiles.session_plan import ALL
from profiles.sides import Key, Side
from profiles.summary import Summary
from profiles.svg import number

Json = dict[str, Any]
Floats = NDArray[np.float64]

RESAMPLES = 4000
CONFIDENCE = 0.95
COMPOSITION_WITHIN = 0.10  # batches are alike where tokens, requests and prefill share differ by no more
_SCOPES = 60
_FEW_STEPS = 5


@dataclass(frozen=True)
class Row:
    """One category or scope, mean milliseconds a step. [low_ms, high_ms] is the 95 % interval of the difference; `changed` means that the
    interval stays on one side of zero even when widened for the number of rows (Bonferroni)."""

    category: str
    scope: str | None
    baseline_ms: float
    candidate_ms: float
    difference_ms: float
    low_ms: float
    high_ms: float
    ratio: float | None  # candidate / baseline; None where the baseline has no such time
    changed: bool


@dataclass(frozen=True)
class Measured:
    """Mean step times of the two sides as measured outside any profile, and the 95 % interval of their difference where it is known."""

    baseline_ms: float
    candidate_ms: float
    low_ms: float | None = None
    high_ms: float | None = None

    @property
    def difference_ms(self) -> float:
        return self.candidate_ms - self.baseline_ms

    @property
    def differs(self) -> bool:
        """False where the difference may be chance."""
        return self.difference_ms != 0 and (self.low_ms is None or self.high_ms is None or self.low_ms > 0 or self.high_ms < 0)


@dataclass(frozen=True)
class Explained:
    """How much of a difference the profile explains.

    `named_ms` is the part in named categories, `gaps_ms` in host gap and idle, `unattributed_ms` the rest; together they are the profiled
    difference. `share` is the profiled difference divided by the measured one, with an interval from the profile's steps; None where no
    measured difference was given, or where it may be chance.
    """

    profiled_ms: float
    named_ms: float
    gaps_ms: float
    unattributed_ms: float
    measured_ms: float | None
    measured_low_ms: float | None
    measured_high_ms: float | None
    share: float | None
    share_low: float | None
    share_high: float | None


@dataclass(frozen=True)
class ProfileDiff:
    """Candidate minus baseline. `caveats` say where the two sides are not the same experiment; empty means comparable.

    `captures` (the JSON key keeps this name) is the number of profile sessions of each side. With one session, the intervals hold only the
    spread of its steps, not that from session to session.
    `batches` are the mean batch compositions a step (tokens, requests, prefill share, padding tokens), None where unknown.
    """

    phase: str
    baseline_steps: int
    candidate_steps: int
    baseline_step_ms: float
    candidate_step_ms: float
    step: Row
    categories: tuple[Row, ...]
    scopes: tuple[Row, ...]
    explained: Explained
    caveats: tuple[str, ...]
    rules_version: str
    captures: tuple[int, int]
    batches: tuple[dict[str, float] | None, dict[str, float] | None]

    @property
    def comparable(self) -> bool:
        return not self.caveats

    def to_json(self) -> Json:
        return {"comparable": self.comparable, **asdict(self)}


def diff(
    baseline: Sequence[Summary],
    candidate: Sequence[Summary],
    *,
    phase: str = ALL,
    measured: Measured | None = None,
    allow_different: bool = False,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> ProfileDiff:
    """Compare the pooled steps of two arms.

    Raises ProfileError where the page sizes, platforms or rules differ (unless `allow_different`, then they are caveats) and where a side
    has no step of the phase.
    """
    caveats = _hard_differences(baseline, candidate)
    if caveats and not allow_different:
        raise ProfileError(f"{caveats[0]}: the two sides are different experiments; compare like with like or pass --allow-different")
    sides = [Side(summaries, phase) for summaries in (baseline, candidate)]
    for name, side in zip(("baseline", "candidate"), sides, strict=True):
        if not len(side.period):
            raise ProfileError(f"{name}: no profiled step of phase {phase!r}; profile longer or choose another --phase")
    rng = np.random.default_rng(seed)
    weights = [side.weights(rng, resamples) for side in sides]
    step = _rows([("", None)], [side.period[None, :] for side in sides], weights)[0]
    categories = _rows([(str(category), None) for category in CATEGORIES], [side.categories for side in sides], weights)
    keys = _largest_scopes(sides)
    scopes = _rows(keys, [side.scope_rows(keys) for side in sides], weights)
    return ProfileDiff(
        phase=phase,
        baseline_steps=len(sides[0].period),
        candidate_steps=len(sides[1].period),
        baseline_step_ms=step.baseline_ms,
        candidate_step_ms=step.candidate_ms,
        step=step,
        categories=tuple(categories),
        scopes=tuple(sorted(scopes, key=lambda row: -abs(row.difference_ms))),
        explained=_explained(step, categories, measured),
        caveats=(*caveats, *_soft_differences(baseline, candidate, sides, phase), *_contradiction(step, measured)),
        rules_version=baseline[0].rules_version,
        captures=(sides[0].sessions, sides[1].sessions),
        batches=(sides[0].composition(), sides[1].composition()),
    )


def _rows(keys: Sequence[tuple[str, str | None]], values: Sequence[Floats], weights: Sequence[Floats]) -> list[Row]:
    """`values` are [rows, steps] of the baseline and the candidate."""
    means = [value.mean(axis=1) for value in values]
    spread = weights[1] @ values[1].T - weights[0] @ values[0].T
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(spread, [tail, 1 - tail], axis=0)
    tail /= max(len(keys), 1)
    low_all, high_all = np.quantile(spread, [tail, 1 - tail], axis=0)
    return [
        Row(
            category=category,
            scope=scope,
            baseline_ms=float(means[0][row]),
            candidate_ms=float(means[1][row]),
            difference_ms=float(means[1][row] - means[0][row]),
            low_ms=float(low[row]),
            high_ms=float(high[row]),
            ratio=float(means[1][row] / means[0][row]) if means[0][row] > 0 else None,
            changed=bool(low_all[row] > 0 or high_all[row] < 0),
        )
        for row, (category, scope) in enumerate(keys)
    ]


def _largest_scopes(sides: Sequence[Side]) -> list[Key]:
    largest: dict[tuple[str, str], float] = {}
    for side in sides:
        for key, value in side.scope_means().items():
            largest[key] = max(largest.get(key, 0.0), value)
    return list[Key](sorted(largest, key=lambda key: -largest[key])[:_SCOPES])


def _explained(step: Row, categories: Sequence[Row], measured: Measured | None) -> Explained:
    gaps = sum(row.difference_ms for row in categories if row.category in GAPS)
    unattributed = sum(row.difference_ms for row in categories if row.category == Category.UNATTRIBUTED)
    real = measured.difference_ms if measured is not None and measured.differs else None
    bounds = sorted((step.low_ms / real, step.high_ms / real)) if real else None
    return Explained(
        profiled_ms=step.difference_ms,
        named_ms=step.difference_ms - gaps - unattributed,
        gaps_ms=gaps,
        unattributed_ms=unattributed,
        measured_ms=measured.difference_ms if measured is not None else None,
        measured_low_ms=measured.low_ms if measured is not None else None,
        measured_high_ms=measured.high_ms if measured is not None else None,
        share=step.difference_ms / real if real else None,
        share_low=bounds[0] if bounds else None,
        share_high=bounds[1] if bounds else None,
    )


def _contradiction(step: Row, measured: Measured | None) -> list[str]:
    """Where the profiles show another difference than the windows did: the machine, or the profiler, was then stronger than the setting."""
    if measured is None or measured.low_ms is None or measured.high_ms is None:
        return []
    if step.low_ms <= measured.high_ms and measured.low_ms <= step.high_ms:
        return []
    profiled = f"{step.difference_ms:+,.3f} ms a step [{step.low_ms:+,.3f}, {step.high_ms:+,.3f}]"
    windows = f"{measured.difference_ms:+,.3f} [{measured.low_ms:+,.3f}, {measured.high_ms:+,.3f}]"
    return [f"the profiles differ by {profiled}, the windows by {windows}"]


def _hard_differences(baseline: Sequence[Summary], candidate: Sequence[Summary]) -> list[str]:
    """What makes two profiles different experiments. Raises ProfileError where a side has no profile at all."""
    if not baseline or not candidate:
        raise ProfileError("two profiles are needed to compare: one of the sides has none")
    pairs = (
        ("page size", [each.block_size for each in baseline], [each.block_size for each in candidate]),
        ("platform", [each.capture.get("device_type") for each in baseline], [each.capture.get("device_type") for each in candidate]),
        ("rules version", [each.rules_version for each in baseline], [each.rules_version for each in candidate]),
    )
    found = []
    for what, before, after in pairs:
        values = [str(value) for value in dict.fromkeys([*before, *after]) if value is not None]
        if len(values) > 1:
            found.append(f"{what} differs ({' and '.join(values)})")
    return found


def _soft_differences(baseline: Sequence[Summary], candidate: Sequence[Summary], sides: Sequence[Side], phase: str) -> list[str]:
    """What the reader has to know, but may be the very thing that is compared."""
    found = []
    batches = [side.composition() for side in sides]
    if None in batches:
        found.append("batch composition unknown: steps of different batches may be compared")
    else:
        for name in ("tokens", "requests", "prefill share"):
            before, after = ((batch or {})[name] for batch in batches)
            scale = 1.0 if name == "prefill share" else max(before, after)
            if abs(after - before) > COMPOSITION_WITHIN * scale:
                found.append(f"batch composition differs: {name} {number(before)} against {number(after)} a step")
    left_out = sum(side.hosts_left_out for side in sides)
    found += [f"hosts that profiled another number of steps were left out: {left_out}"] if left_out else []
    few = [name for name, side in zip(("baseline", "candidate"), sides, strict=True) if len(side.period) < _FEW_STEPS]
    found += [f"{name}: fewer than {_FEW_STEPS} steps of phase {phase}" for name in few]
    for name, summaries in (("baseline", baseline), ("candidate", candidate)):
        problems = sorted({problem for summary in summaries for problem in summary.quality.get("problems", [])})
        if problems:
            found.append(f"{name}: doubtful profile ({', '.join(problems)})")
    return found

"""The summary of a profile, a JSON file beside it: times by step, category and phase, its quality, and the version of the rules.

All times are milliseconds; arrays have one entry a step. The times of a step's categories, two of which are gaps, add up to its
`period_ms`.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiles.classify import CATEGORIES, RULES_VERSION, Category
from profiles.errors import ProfileError
from profiles.links import XPLANE_SUFFIX, session_of
from profiles.phased import records_beside
from profiles.quality import assess
from profiles.rates import Rates
from profiles.reader import HostProfile, read_profile
from profiles.session_plan import ALL, PHASES, Join, StepComposition, StepLike, composition, composition_from_marker, join_by_start
from profiles.steps import Steps, find_steps

Json = dict[str, Any]
FORMAT = 1
SUFFIX = ".summary.json"
_KERNEL_PAGE = re.compile(r"-p_(\d{1,7})-bq_")  # the page size in the name of tpu-inference's attention kernel
_BATCH_FIELDS = ("scheduled_tokens", "padded_tokens", "prefill_tokens", "prefill_requests", "decode_requests")
_DIGITS = 6  # of a millisecond: nanoseconds
_MOST_SCOPES = 100
_FUSED_NOTE = "the attention kernel writes the KV cache itself: attention_fused_kv holds both and they cannot be told apart"
_LOOP_NOTE = (
    "loop_control is mostly the tracer's own work: steps that are not traced are shorter by about it; "
    "the tracer lengthens short ops inside loops as well"
)
_NOTES = {Category.ATTENTION_FUSED_KV: _FUSED_NOTE, Category.LOOP_CONTROL: _LOOP_NOTE}


@dataclass(frozen=True)
class Summary:
    """One profile, explained.

    `steps` holds the arrays start_ms, period_ms, span_ms, shape, closed, phase and those of the batch composition (None where unknown);
    `scopes` [{category, scope, ms}] is limited to the largest ones, the rest is one entry each category with scope "(other)".
    """

    program: str
    capture: Json  # the key in stored summaries: file, session, devices, versions
    settings: Json
    steps: dict[str, list[Any]]
    categories_ms: dict[str, list[float]]
    scopes: list[Json]
    phases: dict[str, Json]
    quality: Json
    notes: list[str]
    rules_version: str = RULES_VERSION
    format: int = FORMAT

    def to_json(self) -> Json:
        return asdict(self)

    def brief(self) -> Json:
        """Without the arrays: what a row in SQL holds."""
        return {key: value for key, value in self.to_json().items() if key not in {"steps", "categories_ms", "scopes"}}

    @property
    def block_size(self) -> int | None:
        """Tokens per page: the setting, else what the kernel's name says."""
        value = self.settings.get("block_size", self.capture.get("kernel_block_size"))
        return int(value) if isinstance(value, int) else None

    def mask(self, phase: str) -> NDArray[np.bool_]:
        """[steps]: the closed steps of a phase."""
        closed = np.array(self.steps["closed"], np.bool_)
        return closed if phase == ALL else closed & np.array([each == phase for each in self.steps["phase"]], np.bool_)


def summary_path(profile: Path) -> Path:
    """Where the summary of a profile lies: beside it."""
    return profile.with_name(profile.name.removesuffix(XPLANE_SUFFIX) + SUFFIX)


def summarise(
    path: Path, *, records: Sequence[StepLike] = (), settings: Mapping[str, Any] | None = None, planned_phases: Sequence[str] = ()
) -> Summary:
    """Read a profile and explain it. `records` are the engine's step records of the captured window, [] where the engine gave none: the
    batch composition then comes from tpu-inference's files beside the profile or from the markers in the trace, if there are any. Raises
    ProfileError."""
    profile = read_profile(path)
    steps = find_steps(profile)
    batch, join = _compositions(profile, steps, records or records_beside(path))
    phase = [each.phase if each is not None else None for each in batch]
    quality = assess(profile, steps, batch, join, planned_phases)
    rates = Rates(steps.work, profile.peaks)
    categories = {str(category): _rounded(row) for category, row in zip(CATEGORIES, steps.category_ms, strict=True)}
    summary = Summary(
        program=steps.program,
        capture=_about(profile, steps),
        settings=dict(settings or {}),
        steps=_step_arrays(steps, batch, phase),
        categories_ms=categories,
        scopes=_scopes(steps),
        phases={},
        quality=quality.to_json(),
        notes=[note for category, note in _NOTES.items() if any(categories[category])],
    )
    summary.phases.update({name: numbers for name in (ALL, *PHASES) if (numbers := _phase(summary, batch, name, rates)) is not None})
    return summary


def write_summary(summary: Summary, path: Path) -> Path:
    """Write it beside the profile at `path` as a whole or not at all; returns where. Raises ProfileError where the folder cannot be
    written.
    """
    target = summary_path(path)
    try:
        with tempfile.NamedTemporaryFile("w", dir=target.parent, prefix=".summary-", suffix=".json", delete=False) as file:
            json.dump(summary.to_json(), file, separators=(",", ":"), allow_nan=False)
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).replace(target)
    except OSError as error:
        raise ProfileError(f"{target}: cannot be written ({error.strerror}); choose another --logdir") from None
    return target


def read_summary(path: Path) -> Summary:
    """Raises ProfileError for a file that is no summary of this format."""
    try:
        raw = json.loads(path.read_text())
        if raw["format"] != FORMAT:
            raise ProfileError(
                f"{path}: summary of format {raw['format']}, this program writes {FORMAT}; delete it and read the profile again"
            )
        return _checked(Summary(**raw))
    except OSError as error:
        raise ProfileError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, TypeError, KeyError):
        raise ProfileError(f"{path}: not a profile summary; delete it and read the profile again") from None


def load_or_summarise(path: Path) -> Summary:
    """The summary beside a profile, if the rules have not changed since; else a fresh one, with the batch composition that the old one
    knew.

    Writes nothing. Raises ProfileError.
    """
    old = read_summary(summary_path(path)) if summary_path(path).exists() else None
    if old is not None and old.rules_version == RULES_VERSION:
        return old
    if old is None:
        return summarise(path)
    return summarise(path, records=_records_of(old), settings=old.settings, planned_phases=old.quality.get("missing_phases", []))


def _records_of(summary: Summary) -> list[StepComposition]:
    """The batch compositions that a summary holds, as records; none where it could not join any."""
    rows = zip(*(summary.steps[name] for name in (*_BATCH_FIELDS, "start_ms")), strict=True)
    known = []
    for scheduled, padded, prefill, prefill_requests, decode_requests, start_ms in rows:
        if scheduled is not None:
            known.append(StepComposition(scheduled, padded, prefill, prefill_requests, decode_requests, start_ms / 1e3))
    return known


def _checked(summary: Summary) -> Summary:
    """Raises ValueError where the arrays do not fit together."""
    rows = [*summary.steps.values(), *summary.categories_ms.values(), *(scope["ms"] for scope in summary.scopes)]
    if {"period_ms", "closed", "phase"} - summary.steps.keys() or len({len(row) for row in rows}) != 1:
        raise ValueError("arrays of different lengths")
    np.array([summary.steps["period_ms"], *summary.categories_ms.values()], np.float64)
    return summary


def _compositions(profile: HostProfile, steps: Steps, records: Sequence[StepLike]) -> tuple[list[StepComposition | None], Join]:
    starts = steps.host_start_ms.tolist()
    if records:
        known = [composition(record) for record in records]
        join = join_by_start(starts, [record.start_s * 1e3 for record in records])
    else:
        markers = [marker for marker in profile.host.markers if marker.tokens > 0]
        known = [composition_from_marker(marker.requests, marker.tokens) for marker in markers]
        join = join_by_start(starts, [marker.start_ps / 1e9 for marker in markers])
    return [known[index] if index >= 0 else None for index in join.record], join


def _about(profile: HostProfile, steps: Steps) -> Json:
    pages = {int(match[1]) for kind in profile.op_types for match in [_KERNEL_PAGE.search(f"{kind.name} {kind.scope}")] if match}
    return {
        "file": profile.path.name,
        "session": session_of(profile.path),
        "size_bytes": profile.size_bytes,
        "platform": profile.platform,
        "device_type": profile.device_type,
        "devices": steps.devices,
        "clock": steps.clock,
        "peaks": asdict(profile.peaks),
        "versions": profile.versions,
        "profiler_notes": list(profile.notes),
        "programs_by_name": list(profile.programs_by_name),
        "programs_without_hlo": list(profile.programs_without_hlo),
        "kernel_block_size": pages.pop() if len(pages) == 1 else None,
    }


def _step_arrays(steps: Steps, batch: Sequence[StepComposition | None], phase: list[str | None]) -> dict[str, list[Any]]:
    return {
        "start_ms": _rounded(steps.start_ms - steps.start_ms[0]),
        "period_ms": _rounded(steps.period_ms),
        "span_ms": _rounded(steps.span_ms),
        "shape": steps.shape.tolist(),
        "closed": steps.closed.tolist(),
        "phase": list(phase),
        **{name: [getattr(each, name) if each is not None else None for each in batch] for name in _BATCH_FIELDS},
    }


def _scopes(steps: Steps) -> list[Json]:
    order = np.argsort(-steps.scope_ms.sum(axis=1), kind="stable")
    order = order[steps.scope_ms[order].sum(axis=1) > 0]
    shown = [
        {"category": str(steps.scopes[row].category), "scope": steps.scopes[row].scope, "ms": _rounded(steps.scope_ms[row])}
        for row in order[:_MOST_SCOPES]
    ]
    rest = order[_MOST_SCOPES:]
    for category in CATEGORIES:
        rows = [row for row in rest if steps.scopes[row].category is category]
        if rows:
            shown.append({"category": str(category), "scope": "(other)", "ms": _rounded(steps.scope_ms[rows].sum(axis=0))})
    return shown


def _phase(summary: Summary, batch: Sequence[StepComposition | None], name: str, rates: Rates) -> Json | None:
    """Means over the closed steps of a phase, or None where there is no such step."""
    mask = summary.mask(name)
    if not mask.any():
        return None
    period = np.array(summary.steps["period_ms"])[mask]
    mean = {category: float(np.array(row)[mask].mean()) for category, row in summary.categories_ms.items()}
    total = float(period.mean())
    p50, p90, p99 = np.percentile(period, [50, 90, 99]).tolist()
    return {
        "steps": int(mask.sum()),
        "step_ms": {"mean": total, "std": float(period.std()), "p50": p50, "p90": p90, "p99": p99},
        "categories_ms": mean,
        "share": {category: value / total if total else 0.0 for category, value in mean.items()},
        "rates": rates.of(mask, mean),
        "batch": mean_batch(each for each, used in zip(batch, mask.tolist(), strict=True) if used and each is not None),
    }


def mean_batch(steps: Iterable[StepComposition]) -> Json | None:
    """Mean batch composition of some steps; None where nothing is known."""
    known = list(steps)
    if not known:
        return None
    scheduled = sum(step.scheduled_tokens for step in known)
    return {
        "steps": len(known),
        "scheduled_tokens": scheduled / len(known),
        "padded_tokens": sum(step.padded_tokens for step in known) / len(known),
        "prefill_share": sum(step.prefill_tokens for step in known) / scheduled if scheduled else 0.0,
        "requests": sum(step.prefill_requests + step.decode_requests for step in known) / len(known),
    }


def _rounded(row: NDArray[np.float64]) -> list[float]:
    result: list[float] = np.round(row, _DIGITS).tolist()
    return result

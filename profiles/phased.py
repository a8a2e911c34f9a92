"""Batch compositions that tpu-inference's phased profiler leaves beside its profiles (environment variable PHASED_PROFILING_DIR).

It writes `<phase>/plugins/profile/<session>/<host>.xplane.pb`, and `<phase>/dp_rank_<N>/batch_composition_stats_<time>.json` for the step
at which it starts and for every one up to the step at which it stops, which it no longer traces (`runner/utils.py`, `PhasedBasedProfiler`).
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from profiles.links import session_of
from profiles.session_plan import StepComposition

_PREFIX, _TIME = "batch_composition_stats_", "%Y_%m_%d_%H_%M_%S_%f"
_MOST = 10_000


def records_beside(profile: Path) -> list[StepComposition]:
    """The traced steps of a phased profile, in order; [] where there are none, where several ranks wrote some, or one cannot be read."""
    if session_of(profile) is None:
        return []
    ranks = sorted(profile.absolute().parents[3].glob("dp_rank_*"))
    files = sorted(ranks[0].glob(f"{_PREFIX}*.json"))[:_MOST] if len(ranks) == 1 else []
    try:
        return [_record(file) for file in files][:-1]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _record(file: Path) -> StepComposition:
    stats = json.loads(file.read_text())
    decoding = int(stats["num_decode_tokens"])  # one token each: the profiler counts drafts here, too, which we do not support
    return StepComposition(
        scheduled_tokens=int(stats["total_num_scheduled_tokens"]),
        padded_tokens=int(stats["padded_total_num_scheduled_tokens"]),
        prefill_tokens=int(stats["num_prefill_tokens"]),
        prefill_requests=max(int(stats["num_reqs"]) - decoding, 0),
        decode_requests=decoding,
        start_s=datetime.strptime(file.stem.removeprefix(_PREFIX), _TIME).replace(tzinfo=UTC).timestamp(),
    )

"""Which hosts measure something else than their peers, and what follows: they claim nothing until somebody releases them."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import median

from storage.base import Conflict, Storage
from storage.queue_records import HostWindow, Quarantine
from tuner.stats.hosts import HostFinding, Reading, Standing, judge_hosts

_BY_HAND = "put there by hand"  # the reason where none is given
LOOKED_BACK_S = 14 * 86_400.0
METRICS = ("total_token_throughput", "output_token_throughput", "request_throughput")  # the first that a window has
NOT_THIS_HOST = frozenset({"table", "simulate", "ray"})  # launchers that measure nothing, or on another node than the worker's


def quarantine_by_hand(storage: Storage, host: str, *, by: str, reason: str) -> Quarantine:
    """Raises storage.base.Conflict where it is there already."""
    stored = storage.quarantine_host(Quarantine(host, reason or _BY_HAND, by))
    if stored is None:
        raise Conflict(f"host {host!r} is in quarantine already")
    return stored


def findings(storage: Storage) -> dict[str, HostFinding]:
    """Of the hosts that measured something within two weeks, those in quarantine left out. What a host measured before it was released
    last counts no more: whoever released it has seen it."""
    now = storage.database_now()
    known = storage.list_quarantines(released=True)
    held = {item.host for item in known if item.released_at is None}
    released: dict[str, float] = {}
    for item in known:
        released[item.host] = max(item.released_at or 0.0, released.get(item.host, 0.0))
    windows = storage.host_windows(after=now - LOOKED_BACK_S)
    return judge_hosts(readings(item for item in windows if item.host not in held and item.started_at > released.get(item.host, 0.0)))


def readings(windows: Iterable[HostWindow]) -> list[Reading]:
    """One for each engine start and question."""
    found: dict[tuple[str, str, int, int], list[float]] = defaultdict(list)
    for item in windows:
        metric = next((name for name in METRICS if isinstance(item.metrics.get(name), int | float) and item.metrics[name] > 0), None)
        if metric is not None and item.engine_start is not None and item.launcher not in NOT_THIS_HOST:
            found[item.host, _question(item, metric), item.study_id, item.engine_start].append(float(item.metrics[metric]))
    return [Reading(host, question, median(values)) for (host, question, _, _), values in found.items()]


def _question(item: HostWindow, metric: str) -> str:
    """What two windows have to have in common: model, workload, versions and machine type, launcher, all settings."""
    content = [item.model, item.workload_hash, item.environment, item.launcher, item.requested, metric]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def quarantine_drifting(storage: Storage, by: str) -> list[Quarantine]:
    """Those that are put into quarantine now. Of several that drift the one that is furthest off goes first, and the others are judged
    without it. Raises StorageFault."""
    found: list[Quarantine] = []
    while True:
        drifting = [item for item in findings(storage).values() if item.standing is Standing.DRIFTS]
        if not drifting:
            return found
        worst = max(drifting, key=lambda item: max(item.ratio or 1.0, 1 / (item.ratio or 1.0)))
        details = {"ratio": worst.ratio, "low": worst.low, "high": worst.high, "starts": worst.starts, "peers": worst.peers}
        stored = storage.quarantine_host(Quarantine(worst.host, f"its default arm measures {worst.reason}", by, details=details))
        if stored is None:  # another worker was faster
            return found
        found.append(stored)


def held_host(storage: Storage, host: str) -> Quarantine | None:
    """Raises StorageFault."""
    return next(iter(storage.list_quarantines(host=host, limit=1)), None)


def quarantine_words(items: Sequence[Quarantine]) -> str:
    return "; ".join(f"{item.host}: {item.reason}" for item in items)

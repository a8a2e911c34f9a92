"""`tuner doctor --fleet`: is there somebody for every study in the queue, are the workers alike, and what do Ray's nodes have?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing

from storage.base import StorageFault
from storage.queue_records import FleetWorker, Quarantine, Submission, SubmissionState
from storage.upgrade import open_storage
from tuner.cli.checks import Check
from tuner.core.errors import BadInput
from tuner.fleet.quarantine import findings
from tuner.stats.hosts import HostFinding, Standing

SEEN_S = 120.0  # a worker that was not seen for so long is gone
_RUNNING = frozenset({SubmissionState.RUNNING, SubmissionState.CANCELLING})
_MOST_NAMED = 10


def check_fleet(url: str) -> list[Check]:
    """Of a database that answers."""
    try:
        with closing(open_storage(url, create=False, read_only=True)) as storage:
            alive, known = storage.list_workers(seen_within_s=SEEN_S), storage.list_workers()
            counts = storage.count_submissions()
            running = storage.list_submissions(states=_RUNNING)
            held, hosts = storage.list_quarantines(), findings(storage)
    except StorageFault as error:
        return [Check("queue", False, error.reason, error.fix or "", needed=True)]
    return [_queue(counts, alive), _held(running, alive), _workers(alive, known), _versions(alive), _hosts(held, hosts)]


def _queue(counts: dict[SubmissionState, int], alive: Sequence[FleetWorker]) -> Check:
    found = ", ".join(f"{count} {state.value}" for state, count in counts.items() if count) or "empty"
    ok = bool(alive) or not counts[SubmissionState.QUEUED]
    return Check("queue", ok, found, "start tuner worker on a machine with the chips: nobody takes what is queued", needed=True)


def _held(running: Sequence[Submission], alive: Sequence[FleetWorker]) -> Check:
    """Whether those who run a study are alive."""
    names = {worker.name for worker in alive}
    lost = [f"{item.study} ({item.claimed_by})" for item in running if item.claimed_by not in names]
    found = f"no worker was seen of late for {_named(lost)}" if lost else f"{len(running)} with a worker that is alive"
    return Check("running", not lost, found, "the next worker takes a study up once its lease has run out")


def _workers(alive: Sequence[FleetWorker], known: Sequence[FleetWorker]) -> Check:
    said = [f"{worker.name}: {worker.state}, {worker.chips} x {worker.accelerator} on {worker.host}" for worker in alive]
    names = {worker.name for worker in alive}
    gone = [worker.name for worker in known if worker.name not in names]
    if gone:
        said.append(f"not seen for {SEEN_S:g} s: {_named(gone)}")
    return Check("workers", bool(alive) and not gone, "; ".join(said) or "none", "start tuner worker; look at the log of one that is gone")


def _versions(alive: Sequence[FleetWorker]) -> Check:
    """One study on unlike workers is no comparison: its pairs stay in one engine, its cells would not."""
    held: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for worker in alive:
        for package, version in worker.versions.items():
            held[package][str(version)].append(worker.name)
    apart = [
        f"{package} {', '.join(f'{version} ({_named(names)})' for version, names in sorted(by_version.items()))}"
        for package, by_version in sorted(held.items())
        if len(by_version) > 1
    ]
    found = "; ".join(apart) or f"the same on {len(alive)} worker{'' if len(alive) == 1 else 's'}"
    return Check("versions", not apart, found, "install the same, or name versions in a study's requirements")


def _hosts(held: Sequence[Quarantine], hosts: Mapping[str, HostFinding]) -> Check:
    """Whether they measure the same; undecided is said, and no fault."""
    said = [f"{item.host}: in quarantine, {item.reason}" for item in held]
    said += [f"{item.host}: {item.standing}, {item.reason}" for item in hosts.values()]
    drifting = any(item.standing is Standing.DRIFTS for item in hosts.values())
    fix = "look for another load, heat or a slower chip there, then `tuner queue release HOST`"
    return Check("hosts", not held and not drifting, _most(said) or "nothing was measured of late", fix)


def check_ray(address: str) -> Check:
    """Nodes that are alive and what they have."""
    from tuner.launchers.ray_cluster import RayPlace, alive_nodes, connect, shown

    try:
        connect(RayPlace(address))
    except BadInput as error:
        return Check("ray", False, error.complaint, error.fix or "", needed=True)
    nodes = alive_nodes()
    said = [f"{node.address} ({node.node_id[:8]}) has {shown(node.resources)}" for node in nodes]
    fix = "start a node where chips are: ray start --address HOST:6379"
    return Check("ray", any("TPU" in node.resources for node in nodes), "; ".join(said) or "no nodes", fix)


def _most(lines: Sequence[str]) -> str:
    further = len(lines) - _MOST_NAMED
    return "; ".join(lines[:_MOST_NAMED]) + (f"; and {further} more" if further > 0 else "")


def _named(names: Sequence[str]) -> str:
    further = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {further} more" if further > 0 else "")

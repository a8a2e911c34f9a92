"""Prometheus metrics of the queue and its workers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric

from storage.base import Storage
from storage.queue_records import SubmissionState

WORKER_SEEN_S = 60.0  # who was not seen for so long is not alive
_MOST = 1000  # submissions in one state that are looked at
_HELD = frozenset({SubmissionState.RUNNING, SubmissionState.CANCELLING})


def queue_metrics(storage: Storage) -> Iterator[Metric]:
    """Raises StorageFault."""
    states = GaugeMetricFamily("tuner_submissions", "Submissions by state.", labels=["state"])
    for state, count in storage.count_submissions().items():
        states.add_metric([state.value], count)
    yield states
    workers = storage.list_workers(seen_within_s=WORKER_SEEN_S)
    accelerators = {worker.submission_id: worker.accelerator for worker in workers if worker.submission_id is not None}
    held = storage.list_submissions(states=_HELD, limit=_MOST)
    running = GaugeMetricFamily("tuner_submissions_running", "Submissions that a worker has.", labels=["accelerator"])
    for name, count in sorted(Counter(accelerators.get(item.id, "worker not alive") for item in held).items()):
        running.add_metric([name], count)
    yield running
    waiting = storage.list_submissions(states=frozenset({SubmissionState.QUEUED}), limit=_MOST)
    oldest = GaugeMetricFamily("tuner_submissions_oldest_waiting_seconds", "Age of the submission that has waited the longest; 0 without.")
    oldest.add_metric([], max(0.0, storage.database_now() - min(item.submitted_at for item in waiting)) if waiting else 0.0)
    yield oldest
    again = GaugeMetricFamily("tuner_submissions_taken_over", "Claims on waiting and running submissions whose worker died.")
    again.add_metric([], sum(_lost(item.attempts, held=item.state in _HELD) for item in (*held, *waiting)))
    yield again
    alive = GaugeMetricFamily("tuner_workers", "Workers seen within a minute.", labels=["accelerator", "state"])
    for labels, count in sorted(Counter((worker.accelerator, worker.state) for worker in workers).items()):
        alive.add_metric(labels, count)
    yield alive
    apart = GaugeMetricFamily("tuner_hosts_in_quarantine", "Hosts that claim nothing until they are released.", labels=["host"])
    for item in storage.list_quarantines(limit=_MOST):
        apart.add_metric([item.host], 1)
    yield apart


def _lost(attempts: int, *, held: bool) -> int:
    """Of the claims that are not given back one may be alive."""
    return max(0, attempts - 1) if held else attempts

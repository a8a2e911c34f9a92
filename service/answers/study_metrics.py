"""Prometheus metrics of the studies and the queue in a database, read when they are asked for: each of its services says the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import structlog
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.answers.queue_metrics import queue_metrics
from storage.base import Storage, StorageFault
from storage.records import Study, StudyContext, StudyState
from tuner.search.life import life_of

MOST_STUDIES = 50  # the newest, and those that run: one label each
_NOT_ON_A_CHIP = frozenset({"wall", "other"})  # of what a study's cost is made of
log = structlog.get_logger("tuner.service")


class StudyCollector(Collector):
    """Where the database is away, only `tuner_database_up` is said."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def describe(self) -> list[Metric]:
        """Nothing is read when the collector is registered."""
        return []

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("tuner_database_up", "Whether the database answers.")
        try:
            found = [*self._studies(), *queue_metrics(self._storage)]
        except StorageFault as error:
            log.warning("metrics_without_a_database", reason=str(error))
            found = []
            up.add_metric([], 0)
        else:
            up.add_metric([], 1)
        yield up
        yield from found

    def _studies(self) -> Iterator[Metric]:
        states = GaugeMetricFamily("tuner_studies", "Studies by state, archived ones left out.", labels=["state"])
        for state in StudyState:
            states.add_metric([state.value], self._storage.count_studies(state=state, archived=False))
        yield states
        running = self._storage.list_studies(state=StudyState.RUNNING, limit=MOST_STUDIES)
        shown = {study.id: study for study in (*running, *self._storage.list_studies(archived=False, limit=MOST_STUDIES))}
        contexts = self._storage.contexts_of(list(shown))
        yield from self._running(running, {study.id: _accelerator(contexts[study.id]) for study in running})
        starts = GaugeMetricFamily("tuner_study_engine_starts", "Engines that a study has started.", labels=["study"])
        seconds = GaugeMetricFamily(
            "tuner_study_chip_seconds",
            "Seconds that a study's engines held their devices, times the devices.",
            labels=["study", "accelerator"],
        )
        for study in shown.values():
            starts.add_metric([study.name], study.engine_starts)
            if (held := chip_seconds(study, contexts[study.id])) is not None:
                seconds.add_metric([study.name, _accelerator(contexts[study.id])], held)
        yield starts
        yield seconds

    def _running(self, running: Sequence[Study], accelerators: Mapping[int, str]) -> Iterator[Metric]:
        alive = GaugeMetricFamily("tuner_studies_running", "Studies that somebody runs.", labels=["accelerator"])
        stale = GaugeMetricFamily("tuner_studies_stale", "Studies whose state is RUNNING and that nobody runs.")
        counts: Counter[str] = Counter()
        dead = 0
        for study in running:
            life = life_of(self._storage, study)
            if life is not None and life.note:
                dead += 1
            elif life is not None:
                counts[accelerators[study.id]] += 1
        for accelerator, count in sorted(counts.items()):
            alive.add_metric([accelerator], count)
        stale.add_metric([], dead)
        yield alive
        yield stale


def chip_seconds(study: Study, contexts: Sequence[StudyContext]) -> float | None:
    """None before an engine has started. A study that went on elsewhere is counted with the devices that most of its trials ran on."""
    devices = next((context.device_count for context in contexts if context.device_count), None)
    if devices is None:
        return None
    return float(devices * sum(float(value) for name, value in study.cost.items() if name not in _NOT_ON_A_CHIP))


def _accelerator(contexts: Sequence[StudyContext]) -> str:
    return next((context.accelerator for context in contexts if context.accelerator), "none yet")

"""What Prometheus is told to watch, the alerts and the Grafana dashboard: they ask for metrics and labels that the service has."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from service.answers.study_metrics import StudyCollector
from service.web.metrics import Metrics
from storage.base import Storage
from storage.queue_records import FleetWorker
from tests.docker.files import DOCKER, manifests
from tests.service.builders import fill
from tests.storage.builders import a_lease

GRAFANA = DOCKER / "grafana"
BOARD: dict[str, Any] = json.loads((GRAFANA / "dashboard.json").read_text())
ALERTS = yaml.safe_load((GRAFANA / "alerts.yaml").read_text())
_FUNCTIONS = {"sum", "max", "min", "rate", "topk", "histogram_quantile", "by", "label_values"}
_WORD = re.compile(r"[a-z_]+")


def queries() -> Iterator[str]:
    for panel in BOARD["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    for group in ALERTS["groups"]:
        yield from (rule["expr"] for rule in group["rules"])


@pytest.fixture
def there(storage: Storage) -> dict[str, set[str]]:
    """Series of a service in which everything has happened once -> their labels."""
    study = fill(storage).study.id
    storage.update_study(study, engine_starts=3, cost={"measure": 5.5})
    storage.swap_lease(study, None, a_lease(study, heartbeat=time.time() + 60))
    storage.put_worker(FleetWorker("host-1", "host", "TPU v6e-4", 4, {}))
    metrics = Metrics()
    metrics.register(StudyCollector(storage))
    metrics.request("GET", "/v1/studies", 200, 0.1)
    metrics.answer("recommended", "exact", stale=False)
    metrics.cached("hit")
    metrics.renewed(done=True)
    return series(metrics.exposition().decode())


def series(exposition: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def test_every_query_asks_for_what_the_service_says(there: dict[str, set[str]]) -> None:
    asked = 0
    for query in queries():
        names = re.findall(r"\btuner_\w+", query)
        assert names, query
        labels = {"job", "le", *(label for name in names for label in there.get(name, ()))}
        assert [name for name in names if name not in there] == [], query
        inside = re.sub(r'"[^"]*"', "", query)
        words = {word for word in _WORD.findall(re.sub(r"\btuner_\w+|\[\w+\]", "", inside)) if len(word) > 1}
        assert words - _FUNCTIONS <= labels, query
        asked += len(names)
    assert asked >= 15


def test_a_legend_names_labels_that_its_query_keeps() -> None:
    for panel in BOARD["panels"]:
        for target in panel["targets"]:
            kept = {label.strip() for part in re.findall(r"by \(([^)]*)\)", target["expr"])[:1] for label in part.split(",")}
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= kept, panel["title"]


def test_panels_do_not_overlap_and_have_their_own_number() -> None:
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_prometheus_scrapes_the_service_of_kubernetes_with_its_secret() -> None:
    document = yaml.safe_load((GRAFANA / "prometheus.yaml").read_text())
    [job] = document["scrape_configs"]
    service = manifests()["Service"]
    name, port = service["metadata"], service["spec"]["ports"][0]["port"]
    assert job["static_configs"] == [{"targets": [f"{name['name']}.{name['namespace']}.svc:{port}"]}]
    mounted = manifests()["Deployment"]["spec"]["template"]["spec"]["containers"][0]["env"]
    assert job["authorization"]["credentials_file"] in {variable["value"] for variable in mounted}
    assert [(GRAFANA / file).is_file() for file in document["rule_files"]] == [True]

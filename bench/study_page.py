"""Server time of the study page with many trials beside it: `python -m bench.study_page`.

A study of 1,000 trials among others, 100,000 trials in 500 studies in all, in SQLite; the rows are written in bulk. Cold: the study's
trials are read for the first time; warm: they are kept, as they cannot change any more. The network does not count.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
from pathlib import Path

import structlog
from fastapi.testclient import TestClient
from sqlalchemy import create_engine, insert, select, update

from service.app import create_app
from service.pages.facts import FactsReader
from service.web.settings import ServiceSettings
from storage.records import StudyState
from storage.sql.models import comparisons, recommendations, studies, trials
from storage.upgrade import open_storage
from storage.url import parse_url
from tests.storage.builders import FINGERPRINT, a_comparison, a_recommendation, a_trial, stored_study

LARGE = 1000
NAME = "large"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=500)
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=20)
    asked = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))  # a line a request would bury the table
    with tempfile.TemporaryDirectory(prefix="study-page-") as folder:
        url = f"sqlite:///{Path(folder) / 'tuner.db'}"
        fill(url, asked.studies, asked.trials)
        app = create_app(ServiceSettings(storage_url=url, logdir=Path(folder), rate_limit=""))
        with TestClient(app, base_url="http://127.0.0.1:8000", client=("127.0.0.1", 50000)) as client:
            print(f"{asked.trials} trials in {asked.studies} studies; the page of a study of {LARGE} trials, {asked.repeats} times, ms")
            print(f"{'page':<20}{'median':>8}{'p95':>8}{'max':>8}{'processor, median':>20}")
            for name, address, cold in (
                ("study, cold", f"/studies/{NAME}", True),
                ("study, warm", f"/studies/{NAME}", False),
                ("trials, best first", f"/studies/{NAME}?order=best&number=20", False),
                ("list of studies", "/studies", False),
                ("found by workload", "/studies?q=chat", False),  # every trial has it
                ("found by name", "/studies?q=study-77", False),
                ("form and answer", "/?model=tiny-qwen3", False),
            ):
                times = [timed(client, address, cold) for _ in range(asked.repeats + 1)][1:]  # the first one compiles the templates
                wall, processor = [one for one, _ in times], statistics.median(one for _, one in times)
                p95 = statistics.quantiles(wall, n=20)[-1]
                print(f"{name:<20}{statistics.median(wall):>8.0f}{p95:>8.0f}{max(wall):>8.0f}{processor:>20.0f}")


def timed(client: TestClient, address: str, cold: bool) -> tuple[float, float]:
    """(wall, processor) in milliseconds; on a busy machine the second one is the page's own."""
    if cold:
        client.app.state.facts = FactsReader()  # type: ignore[attr-defined]
    begun, processor = time.perf_counter(), time.process_time()
    answer = client.get(address)
    taken = 1e3 * (time.perf_counter() - begun), 1e3 * (time.process_time() - processor)
    assert answer.status_code == 200
    return taken


def fill(url: str, study_count: int, trial_count: int) -> None:
    """`study_count` studies that share `trial_count` trials; one of them has LARGE."""
    storage = open_storage(url)
    ids = [stored_study(storage, name=NAME if index == 0 else f"study-{index}", objective="throughput").id for index in range(study_count)]
    storage.close()
    each = (trial_count - LARGE) // max(1, study_count - 1)
    engine = create_engine(parse_url(url).url)
    names = [column.key for column in trials.columns if column.key != "id"]
    with engine.begin() as connection:
        for index, study_id in enumerate(ids):
            rows = [_row(study_id, number, names) for number in range(LARGE if index == 0 else each)]
            connection.execute(insert(trials), rows)
        connection.execute(update(studies).values(state=StudyState.COMPLETE))
        first = connection.execute(select(trials.c.id).where(trials.c.study_id == ids[0]).limit(1)).scalar_one()
        cells = [
            vars(
                a_comparison(
                    ids[0], metric="total_token_throughput", block_size=16 * (1 + cell // 20), max_num_batched_tokens=128 * (1 + cell % 20)
                )
            )
            for cell in range(LARGE // 2)
        ]
        connection.execute(insert(comparisons), [{name: value for name, value in cell.items() if name != "id"} for cell in cells])
        settings = {"arm": "page_aligned", "block_size": 16, "max_num_batched_tokens": 128}
        found = vars(a_recommendation(ids[0], body={"settings": settings, "evidence": {"trial_ids": [first]}}))
        connection.execute(insert(recommendations), {name: value for name, value in found.items() if name != "id"})
    engine.dispose()


def _row(study_id: int, number: int, names: list[str]) -> dict[str, object]:
    """A completed trial; settings as large as real ones."""
    cell, arm = number // 2, ("default", "page_aligned")[number % 2]
    requested = {f"setting_{index}": "some value" for index in range(24)}
    record = a_trial(
        study_id,
        number,
        arm=arm,
        block_size=16 * (1 + cell // 20),
        max_num_batched_tokens=128 * (1 + cell % 20),
        requested=requested,
        effective=requested,
        environment=FINGERPRINT,
        state="COMPLETE",
        values={"throughput": 1000.0 + number},
        created_at=1.0,
        started_at=1.0,
        finished_at=2.0 + number,
    )
    return {name: getattr(record, name) for name in names}


if __name__ == "__main__":
    main()

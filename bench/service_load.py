"""How fast the service answers from a large database, beside a bare FastAPI route on the same machine in the same run.

    python -m bench.service_load [--storage sqlite:////tmp/load.db] [--studies 500] [--trials 200] [--seconds 20] [--rounds 3]

Makes 500 studies of 200 trials (once: a database that has them is used again), starts two real servers (uvicorn as `tuner serve` runs it),
asks every question once, and then asks both servers in turns, so that what else the machine does hits both alike. Answers are renewed 60 to
120 s after they were made: with 20 s for each server that happens in every round but the first. Exit code 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from service.app import create_app
from service.web.logs import configure_logs
from service.web.settings import ServiceSettings
from storage.base import Storage
from storage.records import StudyState
from storage.upgrade import open_storage
from tests.storage.builders import a_recommendation, a_study, a_workload, an_environment
from tests.storage.raw import raw_connection
from tuner.access.addresses import listen

CONNECTIONS = 8
QUESTIONS = 200
MOST_P99 = 2.5  # times the bare route's
LEAST_THROUGHPUT = 0.4  # of the bare route's


@dataclass(frozen=True)
class Times:
    latencies_ms: list[float]
    seconds: float

    @property
    def throughput(self) -> float:
        return len(self.latencies_ms) / self.seconds

    def quantile(self, percent: int) -> float:
        return statistics.quantiles(self.latencies_ms, n=100)[percent - 1]


def fill(storage: Storage, url: str, studies: int, trials: int) -> None:
    """Write studies through the storage, trials and measurements in bulk. The trials are there because a look-up must not read them."""
    if storage.count_studies() >= studies:
        return
    storage.put_workload(a_workload())
    storage.put_environment(an_environment())
    for place in range(storage.count_studies(), studies):
        study = storage.create_study(
            a_study(name=f"load-{place}", model=f"org/model-{place % QUESTIONS}", objective="throughput", state=StudyState.COMPLETE)
        )
        body = {**_BODY, "scope": {**_BODY["scope"], "model": study.model}, "evidence": {"study": study.name, "trial_ids": [1]}}
        storage.add_recommendation(a_recommendation(study.id, model=study.model, objective="throughput", body=body))
    with raw_connection(url) as connection:
        driver: Any = connection.connection.driver_connection  # SQLAlchemy would have psycopg take % for a placeholder
        numbers = " UNION ALL ".join(f"SELECT {number} AS number" for number in range(trials))
        driver.execute(
            "INSERT INTO tuner_trials (study_id, number, arm, block_size, max_num_batched_tokens, requested, workload_hash, stage, state,"
            " effective, environment, objective_values, created_at, finished_at, notes)"
            " SELECT id, number, CASE WHEN number % 2 = 0 THEN 'default' ELSE 'page_aligned' END, 16 * (1 + number / 2 % 4),"
            f" 128 * (1 + number / 8 % 25), '{_REQUESTED}', '{'a' * 64}', 'search', 'COMPLETE', '{_REQUESTED}', '{'e' * 64}',"
            f" '{{\"throughput\": 100.5}}', 1, 2, '{{}}' FROM tuner_studies CROSS JOIN ({numbers}) AS numbers ORDER BY id, number"
        )
        rounds = " UNION ALL ".join(f"SELECT {number} AS place" for number in range(3))
        driver.execute(
            "INSERT INTO tuner_measurements (trial_id, round, position, started_at, duration_s, metrics, valid, details)"
            f" SELECT id, place, 0, 1, 1, '{_METRICS}', (1 = 1), '{{}}' FROM tuner_trials"
            f" CROSS JOIN ({rounds}) AS rounds ORDER BY id, place"
        )
        driver.execute("ANALYZE")


_REQUESTED = json.dumps({"block_size": 16, "max_num_seqs": 16, "max_model_len": 512, "model": "m", "model_path": "m"})
_METRICS = json.dumps({"total_token_throughput": 100.5, **{f"metric_{place}_ms": place / 7 for place in range(30)}})
_BODY: dict[str, Any] = {
    "status": "recommended",
    "reason": "the best of 24",
    "slos": [],
    "config": {"block_size": 64, "max_num_batched_tokens": 1024},
    "vllm_args": ["--block-size", "64", "--max-num-batched-tokens", "1024"],
    "env": {},
    "expected": {f"metric_{place}": {"value": 1.5, "low": 1.0, "high": 2.0, "unit": "ms", "measurements": 6} for place in range(8)},
    "scope": {"accelerator": "cpu x86_64", "device_count": 1, "workload": {"name": "chat"}, "versions": {"jax": "0.11.2"}},
}


def _bare() -> FastAPI:
    app = FastAPI()

    @app.get("/")
    async def root() -> dict[str, str]:
        return {"status": "ok"}

    return app


def _serve(make: Callable[[], FastAPI], port: int) -> None:
    configure_logs("info")
    uvicorn.run(make(), host="127.0.0.1", port=port, access_log=False, log_config=None)


def _tuner(url: str) -> FastAPI:
    return create_app(ServiceSettings(storage_url=url, rate_limit="100000000/minute"))


async def _ask(base: str, asked_by: list[Iterator[str]]) -> Times:
    """One connection for each of `asked_by`, which asks its targets as soon as it has the answer before. Plain sockets: an HTTP library
    would be slower than either server."""
    host, port = base.removeprefix("http://").split(":")
    latencies: list[float] = []

    async def one(targets: Iterator[str]) -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        for target in targets:
            begun = time.perf_counter()
            writer.write(f"GET {target} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"{target}: {head[:200]!r}")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
            await reader.readexactly(length)
            latencies.append(1000 * (time.perf_counter() - begun))
        writer.close()

    begun = time.perf_counter()
    await asyncio.gather(*map(one, asked_by))
    return Times(latencies, time.perf_counter() - begun)


def _for(seconds: float, targets: list[str], connections: int) -> list[Iterator[str]]:
    """Round and round from different places, until the time is over."""
    end = time.perf_counter() + seconds

    def one(offset: int) -> Iterator[str]:
        places = itertools.count(offset)
        while time.perf_counter() < end:
            yield targets[next(places) % len(targets)]

    return [one(7 * number) for number in range(connections)]


def _once(targets: list[str], connections: int) -> list[Iterator[str]]:
    """Each target once, dealt out to the connections."""
    return [iter(targets[number::connections]) for number in range(connections)]


def _start(make: Callable[[], FastAPI]) -> tuple[multiprocessing.process.BaseProcess, str]:
    with listen("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    process = multiprocessing.get_context("fork").Process(target=_serve, args=(make, port), daemon=True)
    process.start()
    base = f"http://127.0.0.1:{port}"
    for _ in range(600):
        try:
            httpx.get(base + "/healthz")
            return process, base
        except httpx.TransportError:
            time.sleep(0.1)
    raise RuntimeError("the server did not start")


def measure(url: str, seconds: float, rounds: int) -> bool:
    """Whether every round meets both bars."""
    (bare_process, bare), (tuner_process, tuner) = _start(_bare), _start(lambda: _tuner(url))
    try:
        questions = [f"/v1/recommendations?model=org/model-{place}&accelerator=cpu%20x86_64&workload=chat" for place in range(QUESTIONS)]
        httpx.get(tuner + questions[0] + "&objective=throughput").raise_for_status()  # what only the first request of all waits for
        first = asyncio.run(_ask(tuner, _once(questions, CONNECTIONS)))
        print(f"first answer to each of {QUESTIONS} questions: p50 {first.quantile(50):.1f} ms, p99 {first.quantile(99):.1f} ms\n")
        met = _compare(bare, tuner, questions, seconds, rounds)
        _pages(tuner, seconds / 4)
    finally:
        for process in (bare_process, tuner_process):
            process.terminate()
            process.join()
    p99, throughput = sum(fast for fast, _ in met), sum(enough for _, enough in met)
    print(f"\np99 <= {MOST_P99:g}x in {p99} of {rounds} rounds; throughput >= {LEAST_THROUGHPUT:.0%} in {throughput} of {rounds} rounds")
    return p99 == throughput == rounds


def _compare(bare: str, tuner: str, questions: list[str], seconds: float, rounds: int) -> list[tuple[bool, bool]]:
    """For each round: whether the bar of the p99 and that of the throughput is met."""
    columns = f"{'p99 ms':>9}{'req/s':>8}"
    print(f"{'round':<7}{'bare p50':>10}{columns}{'recommendation p50':>20}{columns}{'p99 x':>8}{'req/s x':>9}{'renewed':>9}")
    met, renewed = [], _renewals(tuner)
    for number in range(rounds):
        base = asyncio.run(_ask(bare, _for(seconds, ["/"], CONNECTIONS)))
        asked = asyncio.run(_ask(tuner, _for(seconds, questions, CONNECTIONS)))
        before, renewed = renewed, _renewals(tuner)
        slower, ratio = asked.quantile(99) / base.quantile(99), asked.throughput / base.throughput
        met.append((slower <= MOST_P99, ratio >= LEAST_THROUGHPUT))
        print(
            f"{number:<7}{base.quantile(50):>10.2f}{base.quantile(99):>9.2f}{base.throughput:>8.0f}"
            f"{asked.quantile(50):>20.2f}{asked.quantile(99):>9.2f}{asked.throughput:>8.0f}"
            f"{slower:>8.2f}{ratio:>9.2f}{renewed - before:>9}",
            flush=True,
        )
    return met


def _renewals(tuner: str) -> int:
    lines = httpx.get(f"{tuner}/metrics").text.splitlines()
    return sum(int(float(line.split()[-1])) for line in lines if line.startswith("tuner_cache_renewals_total{"))


def _pages(tuner: str, seconds: float) -> None:
    pages = {
        "studies, page of 50": "/v1/studies",
        "one study": "/v1/studies/load-250",
        "its trials, page of 200": "/v1/studies/load-250/trials?limit=200",
        "its comparison": "/v1/studies/load-250/comparison",
        "one trial": "/v1/trials/50000",
    }
    print(f"\n{'one client':<28}{'p50 ms':>9}{'p99 ms':>9}")
    for name, target in pages.items():
        found = asyncio.run(_ask(tuner, _for(seconds, [target], 1)))
        print(f"{name:<28}{found.quantile(50):>9.1f}{found.quantile(99):>9.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storage", help="default: a SQLite file that is deleted afterwards")
    parser.add_argument("--studies", type=int, default=500)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each server in each round")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = given.storage or f"sqlite:///{Path(folder) / 'load.db'}"
        storage = open_storage(url)
        fill(storage, url, given.studies, given.trials)
        storage.close()
        sys.exit(0 if measure(url, given.seconds, given.rounds) else 1)


if __name__ == "__main__":
    main()

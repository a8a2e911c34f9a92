"""The look-ups of the contract use indexes: the very statements that the storage sends, explained on a filled database."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.pool import Pool

from storage.base import Storage
from storage.records import Stage, TrialState
from tests.storage.builders import a_study, stored_study
from tests.storage.raw import raw_connection, url_of

STUDIES, TRIALS, MEASUREMENTS = 40, 40, 10
METRICS = json.dumps({f"some_metric_of_thirty_{place}_ms": place / 7 for place in range(30)})


@contextmanager
def _statements() -> Iterator[list[tuple[str, Any]]]:
    """What is sent to any database meanwhile: SQL and parameters."""
    sent: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        sent.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def _fill(storage: Storage) -> int:
    """Thousands of rows; returns the id of a study in their midst."""
    others = [a_study(name=f"s{place}", model=f"m{place}") for place in range(1, STUDIES)]
    ids = [stored_study(storage).id, *(storage.create_study(study).id for study in others)]
    with raw_connection(url_of(storage)) as connection:
        trial = text(
            "INSERT INTO tuner_trials (study_id, number, arm, block_size, max_num_batched_tokens, requested, workload_hash, stage, state,"
            " effective, created_at, notes)"
            " VALUES (:study, :number, 'default', 16, 128, '{}', :workload, 'search', 'WAITING', '{}', 1, '{}')"
        )
        workload = "a" * 64
        connection.execute(trial, [{"study": study, "number": number, "workload": workload} for study in ids for number in range(TRIALS)])
        # Trial after trial, as they are measured: scattered rows would make a scan the cheaper plan.
        places = " UNION ALL ".join(f"SELECT {position} AS place" for position in range(MEASUREMENTS))
        connection.execute(
            text(
                "INSERT INTO tuner_measurements (trial_id, round, position, started_at, duration_s, metrics, valid, details)"
                f" SELECT id, 0, place, 1, 1, '{METRICS}', (1 = 1), '{{}}'"
                f" FROM tuner_trials CROSS JOIN ({places}) AS places ORDER BY id, place"
            )
        )
        recommendation = text(
            "INSERT INTO tuner_recommendations (study_id, status, model, accelerator, device_count, workload_hash, objective, body,"
            " created_at) VALUES (:study, 'recommended', :model, :accelerator, 1, :workload, 'throughput', :body, :at)"
        )
        rows = [(study, place, number) for place, study in enumerate(ids) for number in range(TRIALS)]
        connection.execute(
            recommendation,
            [
                {"study": s, "model": f"m{p}", "accelerator": f"a{p}", "workload": workload, "body": METRICS, "at": p + n / 100}
                for s, p, n in rows
            ],
        )
        more = text("INSERT INTO tuner_workloads VALUES (:hash, 'chat', '{}', '{}')")
        connection.execute(more, [{"hash": f"w{place}"} for place in range(500)])
        machine = text("INSERT INTO tuner_environments VALUES (:hash, 'tpu', 'TPU v6e-4', 4, '{}', '{}')")
        connection.execute(machine, [{"hash": f"e{place}"} for place in range(500)])
        entry = text(
            "INSERT INTO tuner_audit (at, actor, action, kind, subject, reason, detail)"
            " VALUES (1, 'anna', 'publish', :kind, :subject, '', '')"
        )
        connection.execute(entry, [{"kind": "recommendation", "subject": str(s * TRIALS + n)} for s, _, n in rows])
        connection.execute(text("ANALYZE"))
    return ids[STUDIES // 2]


LOOK_UPS: dict[str, Callable[[Storage, int], object]] = {
    "trials of a study": lambda storage, study: storage.list_trials(study),
    "trials by state": lambda storage, study: storage.list_trials(study, state=TrialState.WAITING, stage=Stage.SEARCH),
    "trial counts": lambda storage, study: storage.count_trials(study),
    "trial counts of a page of studies": lambda storage, study: storage.count_trials_of([study, study + 1]),
    "measurements of a study": lambda storage, study: storage.list_measurements(study_id=study),
    "measurements of a trial": lambda storage, study: storage.list_measurements(trial_id=study),
    "a study by name": lambda storage, study: storage.get_study("s7"),
    "recommendations for a model": lambda storage, study: storage.list_recommendation_keys(model="m7", accelerators=["a7", "TPU v6e-4"]),
    "recommendations for a machine": lambda storage, study: storage.list_recommendation_keys(accelerators=["a7", "b7"], device_count=1),
    "recommendations by id": lambda storage, study: storage.get_recommendations([study, study + 1, study + 700]),
    "audit of a token": lambda storage, study: storage.list_audit(kind="token", subject="ci"),
    "audit of one subject": lambda storage, study: storage.list_audit(kind="recommendation", subject="7"),
    "audit of a study": lambda storage, study: storage.list_audit(kind="study", subject="7"),
    "what a page of studies ran on": lambda storage, study: storage.contexts_of([study, study + 1]),
    "studies of a model": lambda storage, study: storage.list_studies(model="m7"),
}


@pytest.fixture
def filled(each_storage: Storage) -> tuple[Storage, int]:
    return each_storage, _fill(each_storage)


@pytest.mark.slow
def test_look_ups_use_indexes(filled: tuple[Storage, int]) -> None:
    storage, study = filled
    sqlite = storage.check()["dialect"] == "sqlite"
    for name, look_up in LOOK_UPS.items():
        with _statements() as sent:
            look_up(storage, study)
        [(statement, parameters)] = [entry for entry in sent if entry[0].startswith("SELECT")]
        with raw_connection(url_of(storage)) as connection:
            prefix = "EXPLAIN QUERY PLAN " if sqlite else "EXPLAIN "
            plan = "\n".join(str(tuple(row)) for row in connection.exec_driver_sql(prefix + statement, parameters))
        if sqlite:
            assert "SCAN tuner_" not in plan, f"{name}: {plan}"
            assert "INDEX" in plan or "INTEGER PRIMARY KEY" in plan, f"{name}: {plan}"
        else:
            assert "Seq Scan on tuner_trials" not in plan, f"{name}: {plan}"
            assert "Seq Scan on tuner_measurements" not in plan, f"{name}: {plan}"
            assert "Seq Scan on tuner_recommendations" not in plan, f"{name}: {plan}"
            assert "Seq Scan on tuner_audit" not in plan, f"{name}: {plan}"


@pytest.mark.slow
def test_a_missing_index_would_show(storage: Storage) -> None:
    """The check above is not blind: without the index on measurements, the plan does scan the table."""
    study = _fill(storage)
    with raw_connection(url_of(storage)) as connection:
        connection.execute(text("DROP INDEX ix_tuner_measurements_trial_id_round_position"))
    with _statements() as sent:
        storage.list_measurements(study_id=study)
    [(statement, parameters)] = [entry for entry in sent if entry[0].startswith("SELECT")]
    with raw_connection(url_of(storage)) as connection:
        plan = "\n".join(str(tuple(row)) for row in connection.exec_driver_sql("EXPLAIN QUERY PLAN " + statement, parameters))
    assert "SCAN tuner_measurements" in plan


@pytest.mark.slow
def test_a_look_up_reads_no_more_among_many_studies(storage: Storage) -> None:
    """SQLite counts the steps of its virtual machine: the same for one model among forty as for one among eight hundred."""
    _fill(storage)
    before = _steps(storage)
    with raw_connection(url_of(storage)) as connection:
        for copy in range(19):
            connection.execute(
                text(
                    "INSERT INTO tuner_recommendations"
                    " (study_id, status, model, accelerator, device_count, workload_hash, objective, body, created_at)"
                    f" SELECT study_id, status, model || '-{copy}', accelerator || '-{copy}', 1, workload_hash, objective, body, created_at"
                    f" FROM tuner_recommendations WHERE model NOT LIKE '%-%'"
                )
            )
        connection.execute(text("ANALYZE"))
    after = _steps(storage)
    assert before > 0
    assert after <= 1.2 * before


def _steps(storage: Storage) -> int:
    """Steps of SQLite's virtual machine, in hundreds, for the look-ups of a model and of a machine."""
    count = 0

    def step() -> int:
        nonlocal count
        count += 1
        return 0

    def watch(connection: Any, _record: Any, _proxy: Any) -> None:
        connection.set_progress_handler(step, 100)

    event.listen(Pool, "checkout", watch)
    try:
        assert len(storage.list_recommendation_keys(model="m7", accelerators=["a7"])) == TRIALS
        assert len(storage.list_recommendation_keys(accelerators=["a7"], device_count=1)) == TRIALS
    finally:
        event.remove(Pool, "checkout", watch)
    return count

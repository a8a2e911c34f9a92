"""Migrations and models say the same, both ways, and databases of old revisions live on."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, text

from storage.base import StorageFault
from storage.queue_records import SubmissionState
from storage.records import StudyState, TrialState
from storage.sql import schema
from storage.sql.engine import make_engine
from storage.sql.models import TABLE_PREFIX, metadata
from storage.upgrade import check, open_storage, upgrade
from storage.url import optuna_storage_arguments, parse_url
from tests.storage.builders import ANNA, a_comparison, a_lease, a_trial
from tests.storage.raw import raw_connection

ASSETS = sorted((Path(__file__).parents[1] / "assets").glob("*.sqlite.sql"))


@contextmanager
def _migration(url: str) -> Iterator[Connection]:
    parsed = parse_url(url)
    engine = make_engine(parsed, create=True, read_only=False, foreign_keys=False)
    with schema.migration(engine, parsed) as connection:
        yield connection
    engine.dispose()


def _shape(url: str) -> dict[str, Any]:
    """Everything that the two ways of making the tables must agree on, CHECK constraints included."""
    shape: dict[str, Any] = {}
    with raw_connection(url) as connection:
        inspector = inspect(connection)
        for table in inspector.get_table_names():
            if table.startswith(TABLE_PREFIX) and table != schema.VERSION_TABLE:
                shape[table] = {
                    "columns": [(c["name"], str(c["type"]), c["nullable"], c["default"] is None) for c in inspector.get_columns(table)],
                    "primary key": inspector.get_pk_constraint(table),
                    "foreign keys": sorted(map(str, inspector.get_foreign_keys(table))),
                    "unique": sorted(map(str, inspector.get_unique_constraints(table))),
                    "checks": sorted((c["name"], re.sub(r"\s+", " ", c["sqltext"])) for c in inspector.get_check_constraints(table)),
                    "indexes": sorted(str({**found, "dialect_options": _spelled(found)}) for found in inspector.get_indexes(table)),
                }
    return shape


def _spelled(index: Any) -> dict[str, str]:
    """Dialect options, the condition of a partial index among them, as text."""
    return {name: str(value) for name, value in index.get("dialect_options", {}).items()}


def _differences(url: str) -> list[Any]:
    with _migration(url) as connection:
        names = {"include_name": lambda name, kind, _: kind != "table" or str(name).startswith(TABLE_PREFIX)}
        options = {"version_table": schema.VERSION_TABLE, "compare_type": True, "compare_server_default": True} | names
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))


@pytest.mark.slow
def test_upgrading_makes_exactly_the_models(each_url: str, tmp_path: Path) -> None:
    upgrade(each_url)
    migrated = _shape(each_url)
    assert _differences(each_url) == []
    with _migration(each_url) as connection:
        command.downgrade(schema.alembic_config(connection), "base")
        metadata.create_all(connection)
    assert migrated == _shape(each_url)
    assert set(migrated) == {table.name for table in metadata.sorted_tables}
    assert all(len(shape["checks"]) > 0 for name, shape in migrated.items())


@pytest.mark.slow
def test_autogenerate_writes_an_empty_revision_beside_optuna(each_url: str, tmp_path: Path) -> None:
    """Through our own env.py: were Optuna's tables seen, the revision would drop them."""
    upgrade(each_url)
    optuna.storages.RDBStorage(**optuna_storage_arguments(each_url))
    with _migration(each_url) as connection:
        config = schema.alembic_config(connection)
        command.check(config)
        connection.execute(text("CREATE TABLE tuner_stray (id INTEGER PRIMARY KEY)"))
        with pytest.raises(Exception, match="tuner_stray"):
            command.check(config)


@pytest.mark.slow
def test_down_and_up_again_leaves_optuna_alone(each_url: str) -> None:
    upgrade(each_url)
    optuna.create_study(study_name="first", storage=optuna.storages.RDBStorage(**optuna_storage_arguments(each_url)))
    with raw_connection(each_url) as connection:
        optunas = {name for name in inspect(connection).get_table_names() if not name.startswith(TABLE_PREFIX)}
    assert {"studies", "trials", "alembic_version"} <= optunas
    with _migration(each_url) as connection:
        command.downgrade(schema.alembic_config(connection), "base")
    with raw_connection(each_url) as connection:
        assert set(inspect(connection).get_table_names()) == optunas | {schema.VERSION_TABLE}
    assert check(each_url)["revision"] is None
    assert upgrade(each_url)["ok"] is True
    assert _differences(each_url) == []
    assert optuna.get_all_study_names(optuna.storages.RDBStorage(**optuna_storage_arguments(each_url))) == ["first"]


def test_each_revision_has_its_dump() -> None:
    revisions = {path.name[:4] for path in (schema.MIGRATIONS / "versions").glob("[0-9]*.py")}
    assert {path.name.split(".")[0] for path in ASSETS} == revisions


@pytest.mark.slow
@pytest.mark.parametrize("asset", ASSETS, ids=lambda path: path.name)
def test_an_old_database_is_upgraded_and_resumed(asset: Path, sqlite_url: str, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "tuner.db")) as connection:
        connection.executescript(asset.read_text())
    assert upgrade(sqlite_url)["ok"] is True
    storage = open_storage(sqlite_url)
    study = storage.get_study("first")
    complete, failed, running = storage.list_trials(study.id)
    assert (complete.values, failed.error_class) == ({"output_token_throughput": 123.5}, "out_of_memory")
    first, second = storage.list_measurements(study_id=study.id)
    assert (first.metrics, second.invalid_reason) == ({"ttft_p99_ms": 12.5}, "recompiled")
    assert storage.count_measurements_of([study.id]) == {study.id: 2}
    lease = storage.get_lease(study.id)
    assert (lease is not None) == (asset.name >= "0003")
    assert storage.swap_lease(study.id, lease.token if lease is not None else None, a_lease(study.id)), "it can be run again"
    assert storage.list_profiles(study_id=study.id)[0].size_bytes == 5 * 2**30
    (comparison,) = storage.list_comparisons(study.id)
    assert comparison.ratio == a_comparison(study.id).ratio
    assert complete.factors == comparison.factors == ({"max_num_seqs": 16} if asset.name >= "0007" else {}) and running.factors == {}
    assert storage.list_recommendations()[0].published_at is not None
    assert (study.tags, study.archived_at) == (["chat"] if asset.name >= "0004" else None, None)
    foreseen = storage.list_foresight(kind="configuration", model="tiny-qwen3")
    assert [item.answer for item in foreseen] == ([{"block_size": 32}] if asset.name >= "0005" else [])
    capacities = [(run.edge, len(storage.list_capacity_windows(run.id))) for run in storage.list_capacity_runs()]
    assert capacities == ([(4.0, 1)] if asset.name >= "0006" else [])
    queue = [(item.study, item.state, len(storage.list_events(submission_id=item.id))) for item in storage.list_submissions()]
    assert queue == ([("first", SubmissionState.COMPLETE, 1)] if asset.name >= "0008" else [])
    assert storage.rename_study(study.id, "renamed", by=ANNA).id == study.id
    assert storage.rename_study(study.id, "first", by=ANNA) == study
    trail = [(entry.action, entry.detail) for entry in storage.list_audit(kind="study", limit=2)]
    assert trail == [("rename", "renamed -> first"), ("rename", "first -> renamed")]
    assert storage.finish_trial(running.id, TrialState.FAIL, error_class="internal").id == running.id
    assert storage.create_trial(a_trial(study.id, 3)).id > running.id
    assert storage.count_trials(study.id)[TrialState.FAIL] == 2
    assert storage.update_study(study.id, state=StudyState.COMPLETE).state is StudyState.COMPLETE
    storage.close()
    optunas = optuna.load_study(study_name="first", storage=optuna.storages.RDBStorage(**optuna_storage_arguments(sqlite_url)))
    assert len(optunas.trials) == 2


@pytest.mark.slow
def test_rows_of_revision_0001_are_found_by_the_new_index(each_url: str) -> None:
    """On both dialects, where the dumps above are SQLite's."""
    with _migration(each_url) as connection:
        command.upgrade(schema.alembic_config(connection), "0001")
        connection.execute(
            text(
                "INSERT INTO tuner_studies (name, model, config, objective, state, model_features,"
                " created_at, updated_at, engine_starts, cost)"
                " VALUES ('first', 'm', '{}', 'throughput', 'COMPLETE', '{\"layers\": 2}', 1, 1, 0, '{}')"
            )
        )
        connection.execute(text("INSERT INTO tuner_workloads VALUES ('w', 'chat', '{}', '{}')"))
        connection.execute(
            text(
                "INSERT INTO tuner_recommendations (study_id, status, model, accelerator, device_count, workload_hash, objective, body,"
                " created_at, published_at) SELECT id, 'recommended', 'm', 'cpu', 1, 'w', 'throughput', '{}', 2, 3 FROM tuner_studies"
            )
        )
    assert upgrade(each_url)["ok"] is True
    storage = open_storage(each_url)
    [key] = storage.list_recommendation_keys(accelerators=["cpu"], device_count=1)
    assert (key.study, key.model_features, key.workload_name, key.published_at) == ("first", {"layers": 2}, "chat", 3.0)
    storage.mark_recommendation(key.id, published=False, by=ANNA)
    assert [entry.action for entry in storage.list_audit()] == ["withdraw"]
    storage.close()
    with _migration(each_url) as connection:
        command.downgrade(schema.alembic_config(connection), "0001")
    assert check(each_url)["revision"] == "0001"


def test_the_alembic_command_alone_is_refused() -> None:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    config.set_main_option("path_separator", "os")
    with pytest.raises(StorageFault, match="tuner db upgrade"):
        command.upgrade(config, "head")

"""Rows and files that somebody else spoilt: one does not hide all others, and nothing is written where it would be lost."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from storage.base import DamagedRecord, SchemaOutdated, Storage, StorageUnavailable
from storage.records import Recommendation
from storage.upgrade import open_storage
from tests.storage.builders import ANNA, a_measurement, a_recommendation, a_study, a_token, stored_trial
from tests.storage.raw import raw_connection, url_of

SPOILT: list[tuple[str, str, Any]] = [
    ("tuner_studies", "config", "{not json"),
    ("tuner_studies", "model_features", "null"),
    ("tuner_studies", "state", "SLEEPING"),
    ("tuner_studies", "created_at", "yesterday"),
    ("tuner_studies", "engine_starts", "many"),
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Of `storage`."""
    return tmp_path / "tuner.db"


def spoil(storage: Storage, table: str, column: str, value: Any, row: int) -> None:
    with raw_connection(url_of(storage)) as connection:
        connection.execute(text("PRAGMA ignore_check_constraints = 1"))
        connection.execute(text(f"UPDATE {table} SET {column} = :value WHERE id = :row"), {"value": value, "row": row})
        connection.commit()


@pytest.mark.parametrize(("table", "column", "value"), SPOILT)
def test_one_damaged_study_does_not_hide_the_others(storage: Storage, table: str, column: str, value: Any) -> None:
    studies = [storage.create_study(a_study(name=name, created_at=float(number))) for number, name in enumerate(("old", "bad", "new"), 1)]
    spoil(storage, table, column, value, studies[1].id)
    assert [study.name for study in storage.list_studies()] == ["new", "old"]
    assert [study.name for study in storage.list_studies(limit=2)] == ["new", "old"], "another one takes its place"
    with pytest.raises(DamagedRecord, match=r"study 'bad'.*damaged|study 2: what is stored as its .* is damaged"):
        storage.get_study("bad")


@pytest.mark.parametrize(("column", "value"), [("body", "{"), ("body", "[]"), ("device_count", "x"), ("created_at", "never")])
def test_one_damaged_recommendation_does_not_hide_the_others(storage: Storage, column: str, value: Any) -> None:
    trial = stored_trial(storage)
    first, bad = (storage.add_recommendation(a_recommendation(trial.study_id)) for _ in range(2))
    spoil(storage, "tuner_recommendations", column, value, bad.id)
    assert [item.id for item in storage.list_recommendations()] == [first.id]
    assert [item.id for item in storage.get_recommendations([first.id, bad.id])] == [first.id]
    assert first.id in [key.id for key in storage.list_recommendation_keys(model=first.model)]
    with pytest.raises(DamagedRecord):
        storage.get_recommendation(bad.id)


def test_a_damaged_token_is_no_token(storage: Storage) -> None:
    storage.add_token(a_token(name="good", key="k1"), by=ANNA)
    bad = storage.add_token(a_token(name="bad", key="k2"), by=ANNA)
    spoil(storage, "tuner_api_tokens", "scopes", '{"all": true}', bad.id)
    assert [token.name for token in storage.list_tokens()] == ["good"]


def test_damaged_evidence_is_not_left_out(storage: Storage) -> None:
    """A comparison without one of its windows says something else."""
    trial = stored_trial(storage)
    bad = [storage.add_measurement(a_measurement(trial.id)) for _ in range(2)][1]
    spoil(storage, "tuner_measurements", "metrics", "{", bad.id)
    with pytest.raises(DamagedRecord, match="measurements"):
        storage.list_measurements(trial_id=trial.id)
    spoil(storage, "tuner_trials", "state", "DONE", trial.id)
    with pytest.raises(DamagedRecord, match="trials of study"):
        storage.list_trials(trial.study_id)
    assert sum(storage.count_trials(trial.study_id).values()) == 0


def _recommended(storage: Storage) -> Recommendation:
    return storage.add_recommendation(a_recommendation(stored_trial(storage).study_id))


@pytest.mark.slow
def test_a_file_put_in_its_place_is_the_database_from_then_on(storage: Storage, file: Path, tmp_path: Path) -> None:
    other_url = f"sqlite:///{tmp_path / 'other.db'}"
    other = open_storage(other_url)
    _recommended(other)
    other.create_study(a_study(name="of-the-other", created_at=2e9))
    other.close()
    found = _recommended(storage)
    before = storage.recommendations_version()
    (tmp_path / "other.db").replace(file)
    assert storage.list_studies()[0].name == "of-the-other"
    assert storage.recommendations_version() != before  # although the ids are the same
    assert storage.mark_recommendation(found.id, published=True, by=ANNA).published_at is not None
    again = open_storage(f"sqlite:///{file}", create=False)
    assert again.get_recommendation(found.id).published_at is not None, "it is not lost"
    again.close()


def test_a_deleted_file_is_away_and_nothing_is_written_into_it(storage: Storage, file: Path, tmp_path: Path) -> None:
    found = _recommended(storage)
    kept = tmp_path / "kept.db"
    shutil.move(file, kept)
    for ask in (
        storage.list_studies,
        storage.check,
        lambda: storage.mark_recommendation(found.id, published=True, by=ANNA),
    ):
        with pytest.raises(StorageUnavailable):
            ask()
    assert not file.exists(), "no empty one is made"
    shutil.move(kept, file)
    assert storage.get_recommendation(found.id).published_at is None


def test_a_file_without_our_tables_in_its_place_is_refused(storage: Storage, file: Path) -> None:
    _recommended(storage)
    file.unlink()
    file.touch()
    for ask in (storage.list_studies, storage.recommendations_version, lambda: storage.create_study(a_study(name="x"))):
        with pytest.raises((StorageUnavailable, SchemaOutdated)):
            ask()


@pytest.mark.parametrize("where", [0, 4096, 5 * 4096])
def test_a_corrupted_file_is_found(storage: Storage, file: Path, where: int) -> None:
    trial = stored_trial(storage)
    for number in range(50):
        storage.add_measurement(a_measurement(trial.id, round=number))
    with raw_connection(url_of(storage)) as connection:
        connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
    assert storage.damage() is None
    storage.close()
    with file.open("r+b") as opened:
        opened.seek(where)
        opened.write(b"\xa5" * 2000)
    with suppress(StorageUnavailable):  # nothing of it can be read
        assert storage.damage() is not None


def test_a_newer_schema_is_not_written_to(each_storage: Storage) -> None:
    found = _recommended(each_storage)
    with raw_connection(url_of(each_storage)) as connection:
        before = connection.execute(text("SELECT version_num FROM tuner_alembic_version")).scalar_one()
        connection.execute(text("UPDATE tuner_alembic_version SET version_num = '9999'"))
        connection.commit()
    for write in (
        lambda: each_storage.mark_recommendation(found.id, published=True, by=ANNA),
        lambda: each_storage.create_study(a_study(name="second")),
        lambda: each_storage.add_token(a_token(), by=ANNA),
        lambda: each_storage.delete_study(found.study_id, by=ANNA),
    ):
        with pytest.raises(SchemaOutdated, match="newer tuner"):
            write()
    with pytest.raises(SchemaOutdated):
        each_storage.recommendations_version()
    with raw_connection(url_of(each_storage)) as connection:
        connection.execute(text("UPDATE tuner_alembic_version SET version_num = :before"), {"before": before})
        connection.commit()
    assert each_storage.get_recommendation(found.id).published_at is None

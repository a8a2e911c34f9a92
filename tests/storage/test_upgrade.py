"""Opening, creating, upgrading and checking: who may create what, and what is said about a schema that does not fit."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import inspect, text

from storage.base import SchemaOutdated, StorageUnavailable
from storage.sql import schema
from storage.upgrade import check, open_storage, require_file, upgrade
from tests.storage.builders import ANNA, a_study, stored_trial
from tests.storage.raw import raw_connection
from tests.waiting import PATIENCE_S

HEAD = schema.head_revision()
NEXT = f"{int(HEAD) + 1:04}"
NEXT_REVISION = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "NEXT", "HEAD"


def upgrade():
    with op.batch_alter_table("tuner_studies", table_kwargs={"sqlite_autoincrement": True}) as batch:
        batch.add_column(sa.Column("owner", sa.Text(), nullable=False, server_default="nobody"))
        batch.create_check_constraint("owner_given", "owner <> ''")


def downgrade():
    with op.batch_alter_table("tuner_studies") as batch:
        batch.drop_column("owner")
""".replace("NEXT", NEXT).replace("HEAD", HEAD)


@pytest.fixture
def next_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """From here on this code needs one revision more, which on SQLite copies and drops the table of studies."""
    folder = tmp_path / "migrations"
    shutil.copytree(schema.MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "versions" / f"{NEXT}_owner.py").write_text(NEXT_REVISION)
    monkeypatch.setattr(schema, "MIGRATIONS", folder)
    return NEXT


@pytest.mark.slow
def test_an_empty_database_is_created_and_found_again(each_url: str) -> None:
    first = open_storage(each_url)
    study = first.create_study(a_study())
    first.close()
    for read_only in (False, True):
        again = open_storage(each_url, create=False, read_only=read_only)
        assert again.get_study("first") == study
        again.close()


def _open_and_store(url: str, name: str) -> int:
    opened = open_storage(url)
    try:
        return opened.create_study(a_study(name=name)).id
    finally:
        opened.close()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_several_openers_of_an_empty_database(each_url: str, kind: str) -> None:
    executor: Executor = ThreadPoolExecutor(6)
    if kind == "processes":
        executor = ProcessPoolExecutor(6, mp_context=multiprocessing.get_context("fork"))
    with executor as pool:
        ids = set(pool.map(_open_and_store, [each_url] * 6, [f"s{place}" for place in range(6)]))
    assert len(ids) == 6
    assert check(each_url)["ok"] is True


@pytest.mark.slow
def test_two_databases_are_created_at_once(tmp_path: Path) -> None:
    urls = [f"sqlite:///{tmp_path}/{place}.db" for place in range(6)]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(_open_and_store, urls, ["first"] * 6)) == [1] * 6


def test_a_look_up_creates_nothing(sqlite_url: str, tmp_path: Path) -> None:
    for look_up in (
        lambda: open_storage(sqlite_url, create=False),
        lambda: open_storage(sqlite_url, read_only=True),
        lambda: check(sqlite_url),
    ):
        with pytest.raises(StorageUnavailable, match=r"^--storage \(or TUNER_STORAGE\): there is no database at .*tuner\.db; run"):
            look_up()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_database_without_our_tables(each_url: str) -> None:
    with raw_connection(each_url) as connection:
        connection.execute(text("CREATE TABLE guests (id INTEGER)"))
    assert check(each_url) | {"url": ""} == {
        "url": "",
        "dialect": check(each_url)["dialect"],
        "revision": None,
        "head": HEAD,
        "ok": False,
    }
    with pytest.raises(StorageUnavailable, match=r"holds no tuner tables; run `tuner db upgrade`"):
        open_storage(each_url, create=False)
    with raw_connection(each_url) as connection:
        assert inspect(connection).get_table_names() == ["guests"]
    open_storage(each_url).close()
    assert check(each_url)["ok"] is True


@pytest.mark.slow
def test_a_read_only_storage_refuses_to_write(each_url: str) -> None:
    open_storage(each_url).close()
    opened = open_storage(each_url, read_only=True)
    with pytest.raises(StorageUnavailable, match=r"(?i)read-?only"):
        opened.create_study(a_study())
    assert opened.count_studies() == 0
    opened.close()


@pytest.mark.slow
def test_nothing_is_left_beside_a_closed_sqlite_file(sqlite_url: str, tmp_path: Path) -> None:
    writer = open_storage(sqlite_url)
    writer.create_study(a_study())
    reader = open_storage(sqlite_url, read_only=True)
    writer.close()
    assert reader.count_studies() == 1
    reader.close()
    assert [path.name for path in tmp_path.iterdir()] == ["tuner.db"]


@pytest.mark.slow
def test_a_database_that_is_not_ours_to_write() -> None:
    """It is read while its owner has it open; every refusal says why. Not below tmp_path, which other users cannot enter."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/tuner.db"
        Path(folder).chmod(0o755)
        owner = open_storage(url)
        owner.create_study(a_study())
        assert _as_somebody_else(lambda: open_storage(url, read_only=True).count_studies()) == "1"
        assert "tuner.db cannot be written; make it" in _as_somebody_else(lambda: open_storage(url))
        assert "new.db cannot be written; make it" in _as_somebody_else(lambda: open_storage(f"sqlite:///{folder}/new.db"))
        owner.close()
        assert "needs a writable folder" in _as_somebody_else(lambda: open_storage(url, read_only=True))
        assert "needs a writable folder" in _as_somebody_else(lambda: check(url))
        assert [path.name for path in Path(folder).iterdir()] == ["tuner.db"]


def _as_somebody_else(call: Callable[[], object]) -> str:
    """What the call answers, or its error's message, in a process that may not write to the folder."""
    receiver, sender = multiprocessing.Pipe(duplex=False)

    def run() -> None:
        os.setgid(65534)
        os.setuid(65534)
        try:
            sender.send(str(call()))
        except StorageUnavailable as error:
            sender.send(str(error))

    if os.geteuid() != 0:
        pytest.skip("needs root, to become another user")
    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join(timeout=PATIENCE_S)
    assert process.exitcode == 0
    return str(receiver.recv())


@pytest.mark.parametrize(
    ("place", "reason"),
    [("missing/tuner.db", "does not exist"), ("folder", "is a folder"), ("/proc/tuner.db", "cannot"), ("text.db", "not a database")],
)
def test_a_place_that_cannot_hold_a_database(tmp_path: Path, place: str, reason: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.db").write_text("Dear diary, this file is longer than a header and is no database at all. " * 9)
    before = sorted(path.name for path in tmp_path.iterdir())
    for action in (open_storage, upgrade):
        with pytest.raises(StorageUnavailable, match=reason) as raised:
            action(f"sqlite:///{tmp_path / place}")
        assert str(raised.value).startswith("--storage (or TUNER_STORAGE): ")
        assert "\n" not in str(raised.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.postgres
def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable) as raised:
        open_storage(f"postgresql://user:s3cret@/db?host={tmp_path}")
    assert str(raised.value).startswith("--storage (or TUNER_STORAGE): ")
    assert "\n" not in str(raised.value)
    assert "s3cret" not in str(raised.value)


@pytest.mark.slow
def test_an_older_schema_names_the_command(each_url: str, next_revision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", Path(schema.__file__).with_name("migrations"))
        old = open_storage(each_url)
        trial = stored_trial(old)
        old.close()
    for options in ({}, {"create": False}, {"read_only": True}):
        with pytest.raises(SchemaOutdated, match=rf"has schema {HEAD}, this tuner needs {NEXT}; run `tuner db upgrade`$"):
            open_storage(each_url, **options)
    assert check(each_url)["ok"] is False
    assert upgrade(each_url) == check(each_url)
    assert check(each_url)["revision"] == next_revision
    new = open_storage(each_url)
    assert new.get_trial(trial.id) == trial  # the studies' table was dropped on the way; nothing followed it
    new.delete_study(trial.study_id, by=ANNA)
    assert not new.list_trials(trial.study_id)  # and its keys are the same as before
    assert new.create_study(a_study()).id > trial.study_id
    new.close()


@pytest.mark.slow
def test_a_newer_schema_is_refused(each_url: str) -> None:
    open_storage(each_url).close()
    with raw_connection(each_url) as connection:
        connection.execute(text("UPDATE tuner_alembic_version SET version_num = '9999'"))
    for action in (open_storage, upgrade):
        with pytest.raises(SchemaOutdated, match=rf"made by a newer tuner \(schema 9999, not {HEAD}\); upgrade vllm-tpu-tuner$"):
            action(each_url)
    assert check(each_url)["revision"] == "9999"


@pytest.mark.slow
def test_a_failed_upgrade_changes_nothing(each_url: str, tmp_path: Path, next_revision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", Path(schema.__file__).with_name("migrations"))
        open_storage(each_url).close()
    broken = tmp_path / "migrations" / "versions" / f"{NEXT}_owner.py"
    broken.write_text(NEXT_REVISION.replace("\n\ndef downgrade", '\n    op.execute("INSERT INTO nowhere VALUES (1)")\n\ndef downgrade'))
    with pytest.raises(StorageUnavailable, match="nowhere"):
        upgrade(each_url)
    assert check(each_url)["revision"] == HEAD
    with raw_connection(each_url) as connection:
        assert "owner" not in {column["name"] for column in inspect(connection).get_columns("tuner_studies")}


@pytest.mark.slow
def test_only_the_expected_file_may_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    default, other = "sqlite:///tuner.db", f"sqlite:///{tmp_path / 'other.db'}"
    require_file(default, unless=default)
    require_file(f"sqlite:///{tmp_path / 'tuner.db'}", unless=default)  # the same file, spelt in full
    with pytest.raises(StorageUnavailable, match=r"there is no database at .*other\.db; name another, or .* tuner db upgrade --storage"):
        require_file(other, unless=default)
    assert list(tmp_path.iterdir()) == []
    upgrade(other)
    require_file(other, unless=default)
    require_file("postgresql://user@host/not-looked-at", unless=default)

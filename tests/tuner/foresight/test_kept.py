"""Answers on disk: whole or not at all, and never a reason to stop."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.base import Storage
from storage.upgrade import open_storage
from tests.tuner.foresight.questions import COMPILED, PREPARED
from tuner.core.errors import BadInput
from tuner.foresight.kept import KeptAnswers, Subject
from tuner.foresight.messages import Compiled, Prepared
from tuner.foresight.question import key_of

KEY = {"versions": {"libtpu": "1"}, "program": None}
ENGINE = Subject("engine", "Qwen/Qwen3-8B", "TPU v6e", 4)


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file of this process can grow."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_was_kept_is_found_under_its_key_only(tmp_path: Path) -> None:
    kept = KeptAnswers(tmp_path / "a" / "b")
    assert kept.keep(KEY, PREPARED) is None
    assert kept.keep({**KEY, "program": "x"}, COMPILED) is None
    assert KeptAnswers(tmp_path / "a" / "b").find(Prepared, KEY) == PREPARED
    assert kept.find(Compiled, {**KEY, "program": "x"}) == COMPILED
    assert kept.find(Prepared, {**KEY, "program": "y"}) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"answer": {}}', '{"answer": null}', '{"answer": {"device_kind": 1}}', "\udcff"])
def test_a_damaged_file_is_asked_for_again(tmp_path: Path, content: str) -> None:
    kept = KeptAnswers(tmp_path)
    kept.keep(KEY, PREPARED)
    (file,) = tmp_path.iterdir()
    file.write_text(content, errors="surrogateescape")
    assert kept.find(Prepared, KEY) is None
    assert kept.keep(KEY, PREPARED) is None
    assert kept.find(Prepared, KEY) == PREPARED


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_is_said_and_leaves_nothing_behind(tmp_path: Path) -> None:
    kept = KeptAnswers(tmp_path)
    problem = kept.keep(KEY, PREPARED)
    assert problem == f"{tmp_path}: File too large"
    assert list(tmp_path.iterdir()) == []
    assert kept.find(Prepared, KEY) is None


def test_a_cache_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=r"the cache folder .*file/foresight cannot be written: .*; set TUNER_CACHE to another"):
        KeptAnswers(tmp_path / "file" / "foresight")


def test_what_one_machine_compiled_another_finds_in_the_database(tmp_path: Path, storage: Storage) -> None:
    assert KeptAnswers(tmp_path / "first", storage).keep(KEY, PREPARED, ENGINE) is None
    second = KeptAnswers(tmp_path / "second", storage)
    assert second.find(Prepared, KEY, ENGINE) == PREPARED
    assert second.find(Prepared, {**KEY, "program": "x"}, ENGINE) is None
    assert list((tmp_path / "second").iterdir()) == []
    (row,) = storage.list_foresight(kind="engine", model="Qwen/Qwen3-8B", accelerators=["TPU v6e"], device_count=4)
    assert (row.key, row.question) == (key_of(KEY), KEY)


def test_what_only_a_file_had_is_put_into_the_database(tmp_path: Path, storage: Storage) -> None:
    KeptAnswers(tmp_path).keep(KEY, PREPARED, ENGINE)
    assert storage.find_foresight([key_of(KEY)]) == {}
    assert KeptAnswers(tmp_path, storage).find(Prepared, KEY, ENGINE) == PREPARED
    assert list(storage.find_foresight([key_of(KEY)])) == [key_of(KEY)]


def test_another_answer_under_the_key_is_asked_for_again(tmp_path: Path, storage: Storage) -> None:
    KeptAnswers(tmp_path / "first", storage).keep(KEY, COMPILED, ENGINE)
    assert KeptAnswers(tmp_path / "second", storage).find(Prepared, KEY, ENGINE) is None


@pytest.mark.slow
def test_a_database_that_fails_is_said_and_the_files_do(tmp_path: Path, sqlite_url: str) -> None:
    open_storage(sqlite_url).close()
    reader = open_storage(sqlite_url, read_only=True)
    kept = KeptAnswers(tmp_path / "kept", reader)
    assert "read" in str(kept.keep(KEY, PREPARED, ENGINE))
    assert kept.find(Prepared, KEY, ENGINE) == PREPARED
    reader.close()

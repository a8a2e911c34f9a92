"""The file of windows that wait for their database: nothing is lost of it, and nothing in it is believed that was not written whole."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from storage.base import InvalidRecord, Storage, StorageUnavailable
from storage.queue_records import Fence
from storage.records import Measurement, Trial
from tests.storage.builders import a_measurement, stored_trial
from tuner.search.spooled import store_what_was_kept
from tuner.trials.spool import Spool, held, read_spool, spool_files, told


@pytest.fixture
def trial(storage: Storage) -> Trial:
    return stored_trial(storage)


@pytest.fixture
def spool(storage: Storage, trial: Trial, tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool", storage.get_study_by_id(trial.study_id))


def window(number: int, **changes: object) -> Measurement:
    return a_measurement(1, round=number, started_at=1000.0 + number / 7, **changes)


def rounds(spool: Spool) -> list[int]:
    return [item.measurement.round for item in read_spool(spool.path).windows]


def test_what_was_kept_is_stored_as_it_was_measured(spool: Spool, trial: Trial, storage: Storage, tmp_path: Path) -> None:
    kept = [spool.append(window(number, details={"origin": ["fake", number]}), trial) for number in range(3)]
    assert [item.id for item in kept] == [-1, -2, -3]
    again = Spool(tmp_path / "spool", storage.get_study_by_id(1))  # another process
    stored = [now for _, now in again.flush(storage)]
    assert storage.list_measurements(trial_id=1) == stored
    assert [(item.round, item.started_at, item.details) for item in stored if item] == [
        (number, 1000.0 + number / 7, {"origin": ["fake", number]}) for number in range(3)
    ]
    assert spool.empty and spool_files(tmp_path / "spool") == []
    assert again.flush(storage) == []


def test_a_process_killed_between_storing_and_forgetting_stores_nothing_twice(spool: Spool, trial: Trial, storage: Storage) -> None:
    spool.append(window(0), trial)
    before = spool.path.read_bytes()
    spool.flush(storage)
    spool.path.write_bytes(before)
    spool.flush(storage)
    assert len(storage.list_measurements(trial_id=1)) == 1


@pytest.mark.parametrize("cut", [1, 20, 200])
def test_a_line_that_was_cut_short_spoils_no_other(spool: Spool, trial: Trial, storage: Storage, cut: int) -> None:
    """The machine was lost while it was written; the next run goes on behind it."""
    for number in range(2):
        spool.append(window(number), trial)
    spool.path.write_bytes(spool.path.read_bytes()[:-cut])
    spool.append(window(2), trial)
    kept = read_spool(spool.path)
    assert rounds(spool) == ([0, 1, 2] if cut == 1 else [0, 2])
    assert len(kept.damaged) == (0 if cut == 1 else 1)
    spool.flush(storage)
    assert spool.path.with_suffix(".damaged").exists() == (cut > 1), "for a person to look at"


def test_a_changed_digit_is_not_believed(spool: Spool, trial: Trial, storage: Storage) -> None:
    spool.append(window(0, metrics={"total_token_throughput": 141.5}), trial)
    spool.path.write_bytes(spool.path.read_bytes().replace(b"141.5", b"941.5"))
    spool.flush(storage)
    assert storage.list_measurements(trial_id=1) == []


def test_a_full_disk_keeps_the_lines_before_whole(spool: Spool, trial: Trial) -> None:
    spool.append(window(0), trial)
    before = spool.path.read_bytes()
    with largest_file(len(before) + 50), pytest.raises(StorageUnavailable, match=r"cannot be kept in .*\.windows either: File too large"):
        spool.append(window(1), trial)
    assert spool.path.read_bytes() == before
    spool.append(window(1), trial)
    assert rounds(spool) == [0, 1]


def test_it_has_a_limit(spool: Spool, trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    spool.append(window(0), trial)
    monkeypatch.setattr("tuner.trials.spool.MOST_BYTES", spool.path.stat().st_size + 10)
    with pytest.raises(StorageUnavailable, match="either"):
        spool.append(window(1), trial)
    assert len(read_spool(spool.path).windows) == 1


def test_what_no_database_takes_is_refused_at_once(spool: Spool, trial: Trial) -> None:
    with pytest.raises(InvalidRecord):
        spool.append(window(0, metrics={"total_token_throughput": float("nan")}), trial)
    assert spool.empty


def test_a_database_that_is_away_during_the_flush_loses_nothing(
    spool: Spool, trial: Trial, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        spool.append(window(number), trial)
    real = storage.restore_measurement

    def gone(measurement: Measurement, created_at: float) -> Measurement | None:
        if measurement.round == 2:
            raise StorageUnavailable("gone again")
        return real(measurement, created_at)

    with monkeypatch.context() as away:
        away.setattr(storage, "restore_measurement", gone)
        with pytest.raises(StorageUnavailable):
            spool.flush(storage)
    assert len(read_spool(spool.path).windows) == 3
    spool.flush(storage)
    assert [item.round for item in storage.list_measurements(trial_id=1)] == [0, 1, 2]


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """In bytes, of this process."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def shared(storage: Storage, trial: Trial, tmp_path: Path) -> Spool:
    """Of the worker w1 with the token "ours", which measures the engine "page 16" and whose lease has run out."""
    storage.claim_group(trial.study_id, "page 16", worker="w1", token="ours", lease_s=-1.0)
    claim = Fence(trial.study_id, "page 16", "ours")
    return Spool(tmp_path / "spool", storage.get_study_by_id(trial.study_id), worker="w1", claim=lambda: claim)


@pytest.mark.parametrize("taken", [False, True])
def test_of_a_shared_study_it_is_stored_only_while_nobody_has_taken_the_claim(
    shared: Spool, trial: Trial, storage: Storage, taken: bool
) -> None:
    shared.append(window(0), trial)
    if taken:
        assert storage.claim_group(trial.study_id, "page 16", worker="w2", token="theirs", lease_s=60.0)
    ((_, stored),) = shared.flush(storage)
    assert (stored is None) is taken and len(storage.list_measurements(trial_id=1)) == (0 if taken else 1)
    assert shared.empty
    assert told([stored]).endswith("others measure them again") is taken


def test_a_file_of_a_worker_that_lives_is_left_to_it(shared: Spool, spool: Spool, trial: Trial, storage: Storage) -> None:
    said: list[str] = []
    shared.append(window(0), trial)
    assert shared.path != spool.path, "each worker has its own"
    store_what_was_kept(storage, shared.path.parent, said.append)
    assert not said
    assert shared.path.exists()
    shared.let_go()
    store_what_was_kept(storage, shared.path.parent, said.append)
    assert said == ["study 'first': 1 windows that were kept on this machine are in the database"]
    assert shared.empty and len(storage.list_measurements(trial_id=1)) == 1


def test_a_file_that_its_worker_has_removed_meanwhile_is_nobodys(shared: Spool, trial: Trial, storage: Storage) -> None:
    shared.append(window(0), trial)
    path = shared.path
    shared.flush(storage)
    with held(path) as ours:
        assert not ours

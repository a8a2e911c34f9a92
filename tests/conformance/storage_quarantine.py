"""The storage contract as tests: hosts in quarantine, and what hosts measured."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from storage.base import InvalidRecord, NotFound, Storage
from storage.queue_records import Quarantine
from tests.storage.builders import a_measurement, stored_trial

FOUND = Quarantine("tpu-7", "12 % slower", "w1", details={"ratio": 0.88})
AT = {"launcher": "local", "engine_start": 3, "host": "tpu-7"}


class QuarantineContract:
    def test_a_host_is_in_quarantine_until_it_is_released(self, storage: Storage) -> None:
        stored = storage.quarantine_host(FOUND)
        assert stored is not None and stored == replace(FOUND, id=stored.id, since=stored.since)
        assert abs(stored.since - storage.database_now()) < 60
        assert storage.list_quarantines() == storage.list_quarantines(host="tpu-7") == [stored]
        assert storage.list_quarantines(host="tpu-8") == []
        over = storage.release_host("tpu-7", by="ada", reason="new fan")
        assert (over.released_by, over.release_reason) == ("ada", "new fan")
        assert over.released_at is not None and over.released_at >= stored.since
        assert storage.list_quarantines() == [] and storage.list_quarantines(released=True) == [over]
        again = storage.quarantine_host(FOUND)
        assert again is not None and storage.list_quarantines(released=True) == [again, over], "the trail stays"

    def test_each_of_its_events_is_told_once_and_pages_follow_each_other(self, storage: Storage) -> None:
        stored = storage.quarantine_host(FOUND)
        assert stored is not None
        with ThreadPoolExecutor(4) as threads:
            taken = list(threads.map(lambda _nth: storage.take_quarantine_notice(stored.id, "quarantined"), range(8)))
        assert sorted(taken) == [False] * 7 + [True]
        assert storage.take_quarantine_notice(stored.id, "released") and not storage.take_quarantine_notice(stored.id + 1, "released")
        (held,) = storage.list_quarantines()
        assert held.details == FOUND.details | {"told": ["quarantined", "released"]}
        storage.quarantine_host(replace(FOUND, host="tpu-8"))
        assert [item.host for item in storage.list_quarantines(limit=1, offset=1)] == ["tpu-7"]

    def test_of_many_at_once_one_puts_it_there(self, storage: Storage) -> None:
        with ThreadPoolExecutor(4) as threads:
            stored = list(threads.map(lambda nth: storage.quarantine_host(replace(FOUND, by=f"w{nth}")), range(8)))
        assert sum(item is not None for item in stored) == 1 == len(storage.list_quarantines())

    def test_only_what_is_held_is_released(self, storage: Storage) -> None:
        with pytest.raises(NotFound, match="'tpu-7' is not in quarantine"):
            storage.release_host("tpu-7", by="ada")

    @pytest.mark.parametrize("wrong", [{"host": ""}, {"by": ""}, {"details": {"ratio": float("nan")}}])
    def test_a_quarantine_has_names_and_numbers(self, storage: Storage, wrong: dict[str, Any]) -> None:
        with pytest.raises(InvalidRecord):
            storage.quarantine_host(replace(FOUND, **wrong))

    def test_windows_of_hosts_are_valid_ones_of_default_arms_newest_first(self, storage: Storage) -> None:
        """Those of an older version do not say their host."""
        plain = stored_trial(storage)
        aligned = storage.create_trial(replace(plain, id=0, number=1, arm="page_aligned"))
        given = [(plain, AT, True), (plain, {}, True), (plain, AT, False), (aligned, AT, True), (plain, AT, True)]
        for nth, (trial, details, valid) in enumerate(given):
            why = None if valid else "busy"
            window = a_measurement(trial.id, round=nth, started_at=100.0 + nth, details=details, valid=valid, invalid_reason=why)
            storage.add_measurement(window)
        found = storage.host_windows()
        assert [item.started_at for item in found] == [104.0, 100.0]
        assert [item.started_at for item in storage.host_windows(after=100.0)] == [104.0]
        assert [item.started_at for item in storage.host_windows(limit=2)] == [104.0]
        newest = found[0]
        assert (newest.host, newest.launcher, newest.engine_start, newest.study_id) == ("tpu-7", "local", 3, plain.study_id)
        assert (newest.workload_hash, newest.requested) == (plain.workload_hash, plain.requested)

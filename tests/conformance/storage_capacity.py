"""The storage contract as tests: searches for the highest load within SLOs."""

from __future__ import annotations

import math
from typing import Any

import pytest

from storage.base import Conflict, InvalidRecord, NotFound, Storage
from storage.records import CapacityRun, CapacityState
from tests.storage.builders import (
    FINGERPRINT,
    WORKLOAD_HASH,
    a_capacity_run,
    a_capacity_window,
    a_workload,
    an_environment,
)

MISSING = 999_999
FOUND: Any = {"edge": 4.0, "low": 3.5, "high": 4.5}


def _stored(storage: Storage, **changes: Any) -> CapacityRun:
    storage.put_workload(a_workload())
    storage.put_environment(an_environment())
    return storage.create_capacity_run(a_capacity_run(**changes))


class CapacityContract:
    def test_a_search_and_its_windows_come_back_as_they_were(self, storage: Storage) -> None:
        run = _stored(storage)
        assert storage.get_capacity_run(run.id) == run
        assert (run.state, run.slos, run.edge) == (CapacityState.RUNNING, ["ttft_p99_ms<=500"], None)
        windows = [storage.add_capacity_window(a_capacity_window(run.id, number=number)) for number in (1, 0)]
        assert list(storage.list_capacity_windows(run.id)) == windows[::-1]
        assert storage.list_capacity_windows(MISSING) == []

    def test_what_was_found_has_an_interval(self, storage: Storage) -> None:
        run = _stored(storage)
        done = storage.update_capacity_run(run.id, state=CapacityState.FOUND, finished_at=9.0, environment=FINGERPRINT, **FOUND)
        assert (done.state, done.edge, done.low, done.high, done.environment) == (CapacityState.FOUND, 4.0, 3.5, 4.5, FINGERPRINT)
        assert storage.get_capacity_run(run.id) == done

    @pytest.mark.parametrize("changes", [{}, {"edge": 4.0}, FOUND | {"high": None}, FOUND | {"edge": math.nan}, FOUND | {"high": math.inf}])
    def test_an_edge_without_an_interval_is_not_found(self, storage: Storage, changes: dict[str, Any]) -> None:
        run = _stored(storage)
        with pytest.raises(InvalidRecord):
            storage.update_capacity_run(run.id, state=CapacityState.FOUND, **changes)
        assert storage.get_capacity_run(run.id).state is CapacityState.RUNNING

    @pytest.mark.parametrize("state", [CapacityState.NONE, CapacityState.INTERRUPTED, CapacityState.FAIL])
    def test_no_edge_is_an_end_too(self, storage: Storage, state: CapacityState) -> None:
        run = _stored(storage)
        assert storage.update_capacity_run(run.id, state=state, reason="why").reason == "why"

    def test_a_window_that_does_not_count_has_not_held(self, storage: Storage) -> None:
        run = _stored(storage)
        with pytest.raises(InvalidRecord):
            storage.add_capacity_window(a_capacity_window(run.id, held=True, invalid_reason="recompiled"))

    def test_two_windows_have_two_numbers(self, storage: Storage) -> None:
        run = _stored(storage)
        storage.add_capacity_window(a_capacity_window(run.id))
        with pytest.raises(Conflict):
            storage.add_capacity_window(a_capacity_window(run.id))

    def test_what_is_not_there_is_not_found(self, storage: Storage) -> None:
        with pytest.raises(NotFound):
            storage.get_capacity_run(MISSING)
        with pytest.raises(NotFound):
            storage.update_capacity_run(MISSING, state=CapacityState.FAIL)
        with pytest.raises(NotFound):
            storage.add_capacity_window(a_capacity_window(MISSING))
        with pytest.raises(NotFound):
            storage.create_capacity_run(a_capacity_run(workload_hash="c" * 64))

    def test_searches_are_listed_by_model_accelerator_and_workload(self, storage: Storage) -> None:
        first = _stored(storage)
        second = _stored(storage, model="other")
        second = storage.update_capacity_run(second.id, state=CapacityState.RUNNING, environment=FINGERPRINT)
        assert list(storage.list_capacity_runs()) == [second, first]
        assert list(storage.list_capacity_runs(model="other")) == [second]
        assert list(storage.list_capacity_runs(accelerator="cpu x86_64")) == [second]
        assert (
            list(storage.list_capacity_runs(workload="chat")) == list(storage.list_capacity_runs(workload=WORKLOAD_HASH)) == [second, first]
        )
        assert storage.list_capacity_runs(workload="docs") == []
        assert list(storage.list_capacity_runs(limit=1, offset=1)) == [first]

    def test_searches_by_rate_and_by_requests_at_once_are_told_apart(self, storage: Storage) -> None:
        old = _stored(storage, question={"trial_timeout": 600.0})  # before there was anything else than rates
        by_rate = _stored(storage, question={"by": "rate"})
        at_once = _stored(storage, question={"by": "concurrency"})
        assert list(storage.list_capacity_runs(by="rate")) == [by_rate, old]
        assert list(storage.list_capacity_runs(by="concurrency")) == [at_once]
        assert list(storage.list_capacity_runs(by="rate", limit=1, offset=1)) == [old]

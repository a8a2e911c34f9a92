"""A search that writes and clients that read, at once on one database: nobody meets a lock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

from storage.base import Storage
from storage.records import TrialState
from tests.service.builders import Filled
from tests.service.conftest import TOKEN
from tests.storage.builders import a_measurement, a_trial

SECONDS = 3.0
READS = ("/v1/studies", "/v1/studies/first", "/v1/studies/first/trials", "/v1/recommendations?model=tiny-qwen3")


@pytest.mark.slow
def test_readers_and_a_writing_search_do_not_lock_each_other(each_client: TestClient, each_storage: Storage, filled: Filled) -> None:
    end = time.monotonic() + SECONDS
    failed: list[object] = []
    answered: list[int] = []
    written: list[int] = []

    def search() -> None:
        number = 100
        while time.monotonic() < end:
            trial = each_storage.create_trial(a_trial(filled.study.id, number))
            each_storage.start_trial(trial.id)
            each_storage.add_measurement(a_measurement(trial.id))
            written.append(each_storage.finish_trial(trial.id, TrialState.COMPLETE, values={"output_token_throughput": 1.0}).id)
            number += 1

    def read() -> None:
        while time.monotonic() < end:
            for target in (*READS, f"/v1/trials/{filled.default.id}"):
                answer = each_client.get(target)
                answered.append(answer.status_code)
            mark = each_client.post(f"/v1/recommendations/{filled.recommended.id}/publish", headers={"authorization": f"Bearer {TOKEN}"})
            answered.append(mark.status_code)

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001  # whatever it is, the test names it
            failed.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in (search, read, read, read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert set(answered) <= {200, 429}, set(answered)  # 429: more publications a minute than one client may
    assert answered.count(200) > 20
    assert len(written) > 5
    assert each_storage.count_trials(filled.study.id)[TrialState.COMPLETE] == 2 + len(written)

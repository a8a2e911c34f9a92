"""A run waits for its database as long as it was told to, and no longer; its threads do not wait at all."""

from __future__ import annotations

import threading

import pytest

from storage.base import StorageUnavailable
from tuner.core.errors import Interrupted
from tuner.trials.patience import Patience

AWAY = StorageUnavailable("connection refused")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """[now]; a pause moves it."""
    now = [0.0]
    monkeypatch.setattr("tuner.trials.patience.time.monotonic", lambda: now[0])
    monkeypatch.setattr("tuner.trials.patience.time.sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    return now


def test_it_ends(clock: list[float]) -> None:
    said: list[str] = []
    patience = Patience(60.0, say=said.append)
    tries = 0
    while patience.again(AWAY):
        tries += 1
    assert clock[0] == pytest.approx(60.0)
    assert tries < 15, "it asks ever more rarely"
    assert said == ["waiting for the database: connection refused"]
    assert not patience.again(AWAY), "what is done to end the run does not wait once more"
    patience.answered()
    assert patience.again(AWAY), "another absence is another matter"


def test_whoever_stops_the_run_does_not_wait_either(clock: list[float]) -> None:
    def stop() -> None:
        raise Interrupted("the worker was told to stop")

    patience = Patience(60.0, may_go_on=stop)
    with pytest.raises(Interrupted):
        patience.again(AWAY)
    assert not patience.again(AWAY)
    assert clock[0] == 0.0


def test_a_heartbeat_does_not_wait(clock: list[float]) -> None:
    patience, found = Patience(60.0), []
    beat = threading.Thread(target=lambda: found.append(patience.again(AWAY)))
    beat.start()
    beat.join()
    assert found == [False]
    assert patience.again(AWAY)


def test_none_at_all(clock: list[float]) -> None:
    assert not Patience(0.0).again(AWAY)

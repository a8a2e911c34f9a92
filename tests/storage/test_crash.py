"""kill -9 of a writing process: whatever it was told is stored, is stored, and the database is usable at once."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import text

from storage.base import Storage
from storage.records import TrialState
from storage.upgrade import open_storage
from tests.storage.builders import stored_study
from tests.storage.raw import raw_connection, url_of
from tests.storage.writer import write_trial

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_killed_writer_loses_nothing_that_was_returned(each_storage: Storage) -> None:
    study = stored_study(each_storage)
    command = [sys.executable, "-m", "tests.storage.writer", url_of(each_storage), "0", "100000"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        told = [writer.stdout.readline() for _ in range(9)]
        writer.send_signal(signal.SIGKILL)
        told += [line for line in writer.stdout.readlines() if line.endswith("\n")]
    assert writer.returncode == -signal.SIGKILL
    began = time.monotonic()
    after = open_storage(url_of(each_storage), create=False)
    for line in told:
        trial_id, measurement_id = map(int, line.split())
        trial = after.get_trial(trial_id)
        assert trial.state is TrialState.COMPLETE
        assert trial.values == {"throughput": trial.number}
        assert [measurement.id for measurement in after.list_measurements(trial_id=trial_id)] == [measurement_id]
    # At most the one trial that was under way is unfinished.
    assert sum(trial.state is TrialState.RUNNING for trial in after.list_trials(study.id)) <= 1
    write_trial(after, study.id, 200_000)
    assert time.monotonic() - began < 25.0  # no lock of the dead is left: it would be waited for for 30
    after.close()
    if "sqlite" in url_of(each_storage):
        with raw_connection(url_of(each_storage)) as connection:
            assert connection.execute(text("PRAGMA integrity_check")).scalar_one() == "ok"
            assert connection.execute(text("PRAGMA foreign_key_check")).all() == []

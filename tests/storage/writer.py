"""A process that stores trials of a study and says on standard output what it has been told is stored.

Run as `python -m tests.storage.writer URL FIRST COUNT [STUDY]`: trials FIRST, FIRST+1, ... of STUDY ("first"); each is finished, with one
measurement and its number as throughput. A line is the trial's id and the measurement's id; it is written when all calls have returned.
"""

from __future__ import annotations

import sys

from storage.base import Storage
from storage.records import TrialState
from storage.upgrade import open_storage
from tests.storage.builders import a_measurement, a_trial


def write_trial(storage: Storage, study_id: int, number: int) -> tuple[int, int]:
    """Store one finished trial with a measurement; returns their ids."""
    trial = storage.create_trial(a_trial(study_id, number, state=TrialState.RUNNING))
    measurement = storage.add_measurement(a_measurement(trial.id))
    storage.finish_trial(trial.id, TrialState.COMPLETE, values={"throughput": number})
    return trial.id, measurement.id


def main(url: str, first: int, count: int, study: str = "first") -> None:
    storage = open_storage(url)
    study_id = storage.get_study(study).id
    for number in range(first, first + count):
        sys.stdout.write("{} {}\n".format(*write_trial(storage, study_id, number)))
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])

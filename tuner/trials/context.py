"""What every part of a run is given."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass, field

from storage.base import Storage
from tuner.setup.study_setup import StudySetup
from tuner.trials.budget import CostClock, CostModel
from tuner.trials.progress import Progress
from tuner.trials.retry import FIRST_WAIT_S
from tuner.trials.spool import Spool
from tuner.trials.watchdog import FACTOR


def _nobody_else() -> None:
    """For a run that holds no lease."""


@dataclass(frozen=True)
class Retries:
    """How what failed is tried again (tuner.trials.retry). `most`: of one trial; 0: nothing is. `wait_s`: before the first attempt after
    something was in use. `host`: this one. `elsewhere`: whether another host works on the study, or may be waited for after so many
    seconds."""

    most: int = 0
    wait_s: float = FIRST_WAIT_S
    host: str = field(default_factory=socket.gethostname)
    elsewhere: Callable[[float], bool] = lambda _waited_s: False


@dataclass(frozen=True)
class RunContext:
    """Where a run stores, what it was asked to do, its clock, what things cost, and whom it tells how far it is.

    `still_ours` raises StudyTaken once another process runs the study; it is asked before each window. `storage` may wait for a database
    that is away, `at_once` does not: windows that it cannot take go into `spool`, where there is one.
    """

    storage: Storage
    setup: StudySetup
    clock: CostClock = field(default_factory=CostClock)
    costs: CostModel = field(default_factory=CostModel)
    progress: Progress = field(default_factory=Progress)
    still_ours: Callable[[], None] = _nobody_else
    hang_factor: float = FACTOR  # tuner.trials.watchdog
    retries: Retries = field(default_factory=Retries)
    at_once: Storage | None = None
    spool: Spool | None = None

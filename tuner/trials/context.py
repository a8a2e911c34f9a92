"""What every part of a run is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from storage.base import Storage
from tuner.setup.study_setup import StudySetup
from tuner.trials.budget import CostClock, CostModel
from tuner.trials.progress import Progress
from tuner.trials.spool import Spool
from tuner.trials.watchdog import FACTOR


def _nobody_else() -> None:
    """For a run that holds no lease."""


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
    at_once: Storage | None = None
    spool: Spool | None = None

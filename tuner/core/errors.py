"""One tree of typed errors. Every message is one line that names the setting and the mend; there are no HTTP codes here."""

from __future__ import annotations

from enum import StrEnum


class FailureClass(StrEnum):
    """Why a trial failed. Members are never removed: stored rows refer to them."""

    OUT_OF_MEMORY = "out_of_memory"
    TIMEOUT = "timeout"
    ENGINE_CRASH = "engine_crash"
    STARTUP = "startup"
    INVALID_CONFIG = "invalid_config"
    REQUEST_FAILED = "request_failed"
    INVALID_MEASUREMENT = "invalid_measurement"
    INTERNAL = "internal"


class TunerError(Exception):
    """Base of every error that we raise on purpose."""


class BadInput(TunerError):
    """The user asked for something impossible: one line, exit code 2, nothing written."""


class StorageError(TunerError):
    """The database cannot be read or written any more, in the middle of a run."""


class StudyTaken(TunerError):
    """Another process runs this study now; this one must not write to it any more."""


class Interrupted(TunerError):
    """The user stopped the run: exit code 130; every finished measurement is kept."""


class TrialFailed(TunerError):
    """One trial did not yield a measurement. It is stored as FAIL and never gets a value."""

    def __init__(self, failure: FailureClass, message: str, log_excerpt: str = "") -> None:
        super().__init__(message)
        self.failure = failure
        self.log_excerpt = log_excerpt


class EngineLost(TrialFailed):
    """The engine process is gone or no longer answers: every later call on its session fails; start a new one."""

"""One tree of typed errors. Every message is one line that names the setting and the fix; there are no HTTP codes here."""

from __future__ import annotations

import errno
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
    WRONG_OUTPUT = "wrong_output"
    NO_SPACE = "no_space"
    COMPILE_ERROR = "compile_error"
    IN_USE = "in_use"  # a port or a device is held by another process
    INTERNAL = "internal"


def is_no_space(error: BaseException) -> bool:
    """Whether a disk is full, or this process may write no more to it."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def is_in_use(error: BaseException) -> bool:
    """Whether a port or a device is held by another process."""
    return isinstance(error, OSError) and error.errno in (errno.EADDRINUSE, errno.EBUSY)


class TunerError(Exception):
    """Base of every error that we raise on purpose."""


class BadInput(TunerError):
    """The user asked for something impossible: one line, exit code 2, nothing written.

    The line is built from the parts, so that nobody has to take it apart again: "WHERE: SETTING: REASON; FIX", or, with a value,
    "WHERE: SETTING VALUE REASON; FIX" (end the value with a colon where the reason is a sentence of its own). A `reason` alone is the line.
    """

    def __init__(
        self, reason: str = "", *, setting: str | None = None, value: object = None, fix: str | None = None, where: object = None
    ) -> None:
        self.setting = setting
        self.value = value
        self.reason = reason
        self.fix = fix
        self.where = where
        super().__init__(self.complaint if fix is None else f"{self.complaint}; {fix}" if reason else f"{self.complaint}: {fix}")

    @property
    def complaint(self) -> str:
        """The line without the fix."""
        head = () if self.where is None else (f"{self.where}:",)
        setting = () if self.setting is None else (f"{self.setting}:",) if self.value is None else (self.setting, str(self.value))
        return " ".join(part for part in (*head, *setting, self.reason) if part)

    def about(self, setting: str) -> BadInput:
        """The same complaint about what stands in `setting`, made where only the value was known."""
        return self if self.setting == setting else BadInput(self.complaint, setting=setting, fix=self.fix)

    def found_in(self, where: object) -> BadInput:
        """The same complaint about what stands in `where`, for instance a file."""
        return BadInput(self.reason, setting=self.setting, value=self.value, fix=self.fix, where=where)


class StudyBusy(BadInput):
    """A living process runs the study."""


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

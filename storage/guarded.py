"""The part of the storage contract (storage.base.Storage) that a run needs which must not lose or spoil anything: to wait for a database
that is away, and to write nothing once another process has the study."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from storage.base import StorageUnavailable


class Patience(Protocol):
    """Whoever waits for the database."""

    def again(self, error: StorageUnavailable) -> bool:
        """It cannot be reached: wait and return True to try again, or return False. May raise what stops the caller."""

    def answered(self) -> None:
        """It is there."""


class GuardedStorage(ABC):
    @abstractmethod
    def patient(self, patience: Patience) -> Self:
        """The same storage, whose calls wait for a database that cannot be reached. Nothing was sent then, so nothing is done twice."""

    @abstractmethod
    def leased(self, study_id: int, token: str) -> Self:
        """The same storage, which writes only while the study's lease has this token; else LeaseLost is raised and nothing written."""

"""Hosts in quarantine, and what hosts measured: a part of the storage contract (storage.base.Storage).

Rows are only added, and completed when a host is released: the table is the trail of what happened as well.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from storage.queue_records import HostWindow, Quarantine


class QuarantineStorage(ABC):
    @abstractmethod
    def quarantine_host(self, quarantine: Quarantine) -> Quarantine | None:
        """Since now, by the database's clock. None where the host is in quarantine already: of any number at once one is stored."""

    @abstractmethod
    def release_host(self, host: str, *, by: str, reason: str = "") -> Quarantine:
        """Raises NotFound where the host is not in quarantine."""

    @abstractmethod
    def list_quarantines(
        self, *, host: str | None = None, released: bool = False, limit: int = 1000, offset: int = 0
    ) -> Sequence[Quarantine]:
        """Newest first; with `released` also those that are over."""

    @abstractmethod
    def take_quarantine_notice(self, quarantine_id: int, what: str) -> bool:
        """Whether whoever asks is to tell others of this event of it ("quarantined", "released"): True once for each, whoever asks."""

    @abstractmethod
    def host_windows(self, *, after: float = 0.0, limit: int = 20_000) -> Sequence[HostWindow]:
        """Valid windows of default arms that began after this moment (Unix seconds by the clock of whoever measured them) and whose host is
        known, of the newest `limit` measurements of any kind, newest first."""

"""How large things are, and what may go: this part of the storage contract (storage.base.Storage) frees space and changes no verdict.

Rows of evidence are never deleted here. What goes is what nothing is judged by, and the caller names what that is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass

PRUNED = "files_removed_at"  # in the quality of a profile whose files are gone


@dataclass(frozen=True)
class TableSize:
    """`bytes`: on disk with its indexes; None where the database does not say (SQLite without dbstat)."""

    name: str
    rows: int
    bytes: int | None


@dataclass(frozen=True)
class StudySize:
    """Of one study. `bytes`: of the texts of its windows, before the database compresses them; `profile_bytes`: of files that are there."""

    study_id: int
    name: str
    trials: int
    windows: int
    bytes: int
    profiles: int
    profile_bytes: int


@dataclass(frozen=True)
class Freed:
    """`rows` that became smaller, by so many `bytes` of text."""

    rows: int = 0
    bytes: int = 0

    def __add__(self, other: Freed) -> Freed:
        return Freed(self.rows + other.rows, self.bytes + other.bytes)


NOTHING = Freed()


class RetentionStorage(ABC):
    @abstractmethod
    def database_bytes(self) -> int:
        """All of it, Optuna's tables too."""

    @abstractmethod
    def table_sizes(self) -> Sequence[TableSize]:
        """Of our tables, by name. Counts every row: seconds for a large database."""

    @abstractmethod
    def study_sizes(self, limit: int = 100) -> Sequence[StudySize]:
        """The largest first. Reads every window: seconds for a large database."""

    @abstractmethod
    def drop_details(self, study_id: int, *, keep: Collection[str], dry_run: bool = False) -> Freed:
        """Of the windows' details all but the keys `keep`. Raises DamagedRecord."""

    @abstractmethod
    def drop_logs(self, study_id: int, *, dry_run: bool = False) -> Freed:
        """The log excerpts of trials that ended; class and message of an error stay."""

    @abstractmethod
    def note_profile(self, profile_id: int, note: dict[str, object]) -> None:
        """Add to a profile's `quality`. Raises NotFound."""

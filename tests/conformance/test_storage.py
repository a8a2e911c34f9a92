"""The storage contract over every implementation."""

from __future__ import annotations

import pytest

from storage.base import Storage
from tests.conformance.storage_capacity import CapacityContract
from tests.conformance.storage_foresight import ForesightContract
from tests.conformance.storage_guarded import GuardedContract
from tests.conformance.storage_keeping import KeepingContract
from tests.conformance.storage_quarantine import QuarantineContract
from tests.conformance.storage_queue import QueueContract
from tests.conformance.storage_results import StorageContract
from tests.conformance.storage_retention import RetentionContract
from tests.conformance.storage_sharing import SharingContract


class Contracts(
    StorageContract,
    KeepingContract,
    ForesightContract,
    CapacityContract,
    QueueContract,
    QuarantineContract,
    SharingContract,
    RetentionContract,
    GuardedContract,
):
    """All of them."""


class TestSqlite(Contracts):
    """`storage` is the plugin's SQLite storage."""


@pytest.mark.postgres
class TestPostgresql(Contracts):
    @pytest.fixture
    def storage(self, postgres_storage: Storage) -> Storage:
        return postgres_storage

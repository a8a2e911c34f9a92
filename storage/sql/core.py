"""What the parts of the SQL storage share: transactions, and the way between records and rows."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from copy import copy
from dataclasses import fields
from enum import Enum
from functools import cache
from types import NoneType
from typing import Any, Self

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Connection,
    Engine,
    Float,
    Insert,
    Integer,
    Result,
    Row,
    Select,
    Table,
    Update,
    bindparam,
    insert,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from storage.base import ClaimLost, DamagedRecord, InvalidRecord, LeaseLost, NotFound, Storage
from storage.guarded import Patience
from storage.queue_records import Fence, FleetWorker, GroupClaim, Quarantine, Submission, SubmissionEvent
from storage.records import (
    Actor,
    ApiToken,
    AuditEntry,
    CapacityRun,
    CapacityWindow,
    Comparison,
    Environment,
    ForesightAnswer,
    Lease,
    Measurement,
    Profile,
    Recommendation,
    Study,
    Trial,
    Workload,
)
from storage.renamed import with_current_names
from storage.secrets import redacted
from storage.sql import models
from storage.sql.engine import transaction
from storage.sql.schema import require_current
from storage.url import DatabaseUrl
from storage.values import plain

log = logging.getLogger("tuner.storage")

type Record = (
    Study
    | Lease
    | Trial
    | Measurement
    | Profile
    | Comparison
    | Recommendation
    | Environment
    | Workload
    | ForesightAnswer
    | CapacityRun
    | CapacityWindow
    | ApiToken
    | AuditEntry
    | Submission
    | SubmissionEvent
    | FleetWorker
    | Quarantine
    | GroupClaim
)

TABLE_OF: Mapping[type[Any], Table] = {
    Environment: models.environments,
    Workload: models.workloads,
    Study: models.studies,
    Lease: models.leases,
    Trial: models.trials,
    Measurement: models.measurements,
    Profile: models.profiles,
    Comparison: models.comparisons,
    Recommendation: models.recommendations,
    ForesightAnswer: models.foresight,
    CapacityRun: models.capacity_runs,
    CapacityWindow: models.capacity_windows,
    ApiToken: models.api_tokens,
    AuditEntry: models.audit,
    Submission: models.submissions,
    SubmissionEvent: models.submission_events,
    FleetWorker: models.fleet_workers,
    Quarantine: models.quarantines,
    GroupClaim: models.group_claims,
}

_LISTS = ("scopes", "tags", "slos")  # columns; other JSON is an object
_FACTORS = "factors"  # a column that earlier versions did not have: NULL is no factor
_WITH_SETTINGS = (Study, Trial, Recommendation, Submission)  # what users set stands in these


def now_s() -> float:
    """Unix seconds, UTC."""
    return time.time()


def columns_of(record: Record, what: str) -> dict[str, Any]:
    """The record's fields as column values, without the id, which the database gives. Raises InvalidRecord."""
    return plain_columns({field.name: getattr(record, field.name) for field in fields(record) if field.name != "id"}, what)


def plain_columns(values: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Column values made plain, without secrets; enum members stay, their columns know them. Raises InvalidRecord."""
    columns = {name: value if isinstance(value, Enum) else redacted(plain(value, f"{what}: {name}")) for name, value in values.items()}
    for name, value in columns.items():
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise InvalidRecord(f"{what}: {name}: {value} is too large")
    return columns


def value_types(column: Column[Any]) -> tuple[type[Any], ...]:
    """Of its values. SQLite keeps any value in any column."""
    kind: tuple[type[Any], ...] = (str,)
    if column is models.studies.c.config:
        return (object,)  # whoever reads it refuses it by name (tuner.setup.stored_study), and the study's measurements stay readable
    if isinstance(column.type, JSON):
        kind = (list,) if column.name in _LISTS else (dict,)
    elif isinstance(column.type, Boolean):
        kind = (bool,)
    elif isinstance(column.type, Integer):
        kind = (int,)
    elif isinstance(column.type, Float):
        kind = (float, int)
    return (*kind, NoneType) if column.nullable else kind


# A statement is put together once: a search makes hundreds, and building one takes longer than SQLite needs to carry it out.
_GIVEN = "given_"  # the value that a row is found by; no column has this name
_COLUMNS: Mapping[type[Any], tuple[tuple[str, Column[Any], tuple[type[Any], ...]], ...]] = {
    kind: tuple((field.name, table.columns[field.name], value_types(table.columns[field.name])) for field in fields(kind))
    for kind, table in TABLE_OF.items()
}


@cache
def _inserting(table: Table) -> Insert:
    return insert(table).returning(*table.columns)


@cache
def _updating(table: Table) -> Update:
    return update(table).where(table.columns["id"] == bindparam(_GIVEN)).returning(*table.columns)


@cache
def _finding(table: Table, column: str, lock: bool) -> Select[Any]:
    statement = select(table).where(table.columns[column] == bindparam(_GIVEN))
    return statement.with_for_update() if lock else statement  # nothing on SQLite, where a writing transaction is alone anyway


def record_of[R: Record](kind: type[R], row: Row[Any]) -> R:
    """The record that a row of its table holds, under today's names and without the secrets that earlier versions stored. Raises
    DamagedRecord."""
    mapping = row._mapping
    return _made(kind, [mapping[column] for _, column, _ in _COLUMNS[kind]])


def _made[R: Record](kind: type[R], found: Sequence[Any]) -> R:
    """`found`: values of the columns, in the order of the record's fields."""
    values: dict[str, Any] = {}
    for (name, _, types), value in zip(_COLUMNS[kind], found, strict=True):
        if not isinstance(value, types):
            raise DamagedRecord(f"{kind.__name__.lower()} {_id_in(kind, found)}: what is stored as its {name} is damaged")
        values[name] = value
    if values.get(_FACTORS, {}) is None:
        values[_FACTORS] = {}
    if kind in _WITH_SETTINGS:
        values = {name: value if isinstance(value, Enum) else redacted(value) for name, value in values.items()}
    return kind(**with_current_names(kind, values))


def _id_in[R: Record](kind: type[R], found: Sequence[Any]) -> object:
    return next((value for (name, _, _), value in zip(_COLUMNS[kind], found, strict=True) if name == "id"), "")


@contextmanager
def readable(what: str) -> Iterator[None]:
    """A value of a row that its column's type cannot read raises DamagedRecord."""
    try:
        yield
    except (LookupError, ValueError, TypeError) as error:  # an unknown word of an Enum; text that is no JSON; a value of another type
        raise DamagedRecord(f"{what}: what is stored is damaged: {' '.join(str(error).split())[:100]}") from error


class SqlCore(Storage):
    """Holds the engine; the subclasses hold one group of methods each."""

    def __init__(self, engine: Engine, url: DatabaseUrl) -> None:
        self._engine = engine
        self._url = url
        self._patience: Patience | None = None
        self._lease: tuple[int, str] | None = None  # study, token
        self._fence: Callable[[], Fence | None] = lambda: None

    def patient(self, patience: Patience) -> Self:
        other = copy(self)
        other._patience = patience
        return other

    def leased(self, study_id: int, token: str) -> Self:
        other = copy(self)
        other._lease = (study_id, token)
        return other

    def fenced(self, fence: Callable[[], Fence | None]) -> Self:
        other = copy(self)
        other._fence = fence
        return other

    def _reading(self, what: str) -> AbstractContextManager[Connection]:
        return transaction(self._engine, self._url, what, write=False, patience=self._patience)

    @contextmanager
    def _writing(self, what: str) -> Iterator[Connection]:
        """Also raises SchemaOutdated, LeaseLost and ClaimLost."""
        with transaction(self._engine, self._url, what, write=True, patience=self._patience) as connection:
            require_current(connection, self._url)
            if self._lease is not None:
                _require_held(connection, *self._lease)
            if (fence := self._fence()) is not None:
                _require_claim(connection, fence, what)
            yield connection


def _require_held(connection: Connection, study_id: int, token: str) -> None:
    """Raises LeaseLost. The lease stays as it is until the transaction ends, so who takes the study over next sees what is written now."""
    held = select(models.leases.c.token).where(models.leases.c.study_id == study_id).with_for_update(read=True)
    if connection.execute(held).scalar_one_or_none() != token:
        raise LeaseLost(f"study {study_id} was taken over by another process; what was stored until then is kept there")


def _require_claim(connection: Connection, fence: Fence, what: str) -> None:
    """Nobody takes the claim until the transaction ends. Raises ClaimLost."""
    claims = models.group_claims
    own = (claims.c.study_id == fence.study_id) & (claims.c.group_key == fence.group_key) & (claims.c.claim_token == fence.token)
    if connection.execute(select(claims.c.id).where(own).with_for_update(read=True)).first() is None:
        raise ClaimLost(f"{what}: another worker has taken group {fence.group_key} over")


def inserting(url: DatabaseUrl, table: Table) -> Any:
    """The dialect's own INSERT, which knows ON CONFLICT."""
    return sqlite.insert(table) if url.dialect == "sqlite" else postgresql.insert(table)


def insert_record[R: Record](connection: Connection, kind: type[R], values: Mapping[str, Any]) -> R:
    """Insert a row and return it as the database holds it."""
    return record_of(kind, connection.execute(_inserting(TABLE_OF[kind]), dict(values)).one())


def update_record[R: Record](connection: Connection, kind: type[R], record_id: int, changes: Mapping[str, Any], what: str) -> R:
    """Replace the named columns. Raises NotFound."""
    row = connection.execute(_updating(TABLE_OF[kind]), {**changes, _GIVEN: record_id}).one_or_none()
    if row is None:
        raise NotFound(f"{what}: no such {kind.__name__.lower()}")
    return record_of(kind, row)


def find_record[R: Record](connection: Connection, kind: type[R], column: str, value: Any, what: str, *, lock: bool = False) -> R:
    """The row whose unique column has this value; `lock` keeps others from changing it until the transaction ends. Raises NotFound."""
    with readable(what):
        row = connection.execute(_finding(TABLE_OF[kind], column, lock), {_GIVEN: value}).one_or_none()
    if row is None:
        raise NotFound(f"{what}: no such {kind.__name__.lower()}")
    return record_of(kind, row)


def write_audit(connection: Connection, action: str, kind: str, subject: str, by: Actor, at: float, *, detail: str = "") -> None:
    """In the transaction of the change itself: neither is stored without the other."""
    entry = AuditEntry(by.name, action, kind, subject, by.reason, by.request_id, at=at, detail=detail)
    connection.execute(insert(models.audit).values(columns_of(entry, f"audit of {kind} {subject}")))


def require_page(limit: int | None, offset: int) -> None:
    """Raises InvalidRecord for a negative limit or offset, which the dialects treat differently."""
    if offset < 0 or (limit is not None and limit < 0):
        raise InvalidRecord(f"limit={limit}, offset={offset}: neither may be negative")


def require_one_id(trial_id: int | None, study_id: int | None) -> None:
    """Raises ValueError unless exactly one of the two is given."""
    if (trial_id is None) == (study_id is None):
        raise ValueError("give exactly one of trial_id and study_id")


def records_of[R: Record](kind: type[R], result: Result[Any], what: str) -> list[R]:
    """All of them: one that is damaged raises DamagedRecord, because evidence with a hole in it says something else."""
    names = tuple(result.keys())
    with readable(what):
        rows = result.all()
    if names != tuple(column.name for column in TABLE_OF[kind].columns):
        return [record_of(kind, row) for row in rows]
    # The table's own columns in their order, as nearly always: by their places, which takes half the time of asking for each by its column.
    places = [names.index(column.name) for _, column, _ in _COLUMNS[kind]]
    return [_made(kind, [row[place] for place in places]) for row in rows]


def sound_records[R: Record](
    connection: Connection, kind: type[R], statement: Select[Any], limit: int | None = None, offset: int = 0
) -> list[R]:
    """`limit` records from `offset` on, without damaged ones; further ones take their places."""
    if limit is None:
        return [record for record in _sound(kind, connection.execute(statement)) if record is not None]
    found: list[R] = []
    while len(found) < limit:
        wanted = limit - len(found)
        read = list(_sound(kind, connection.execute(statement.limit(wanted).offset(offset))))
        found += [record for record in read if record is not None]
        if len(read) < wanted:
            break
        offset += wanted
    return found


def sound_rows(result: Result[Any], what: str) -> Iterator[Row[Any]]:
    """Those whose values their columns can read."""
    while True:
        try:
            with readable(what):
                row = result.fetchone()
        except DamagedRecord as error:
            log.warning("left out: %s", error)
            continue
        if row is None:
            return
        yield row


def _sound[R: Record](kind: type[R], result: Result[Any]) -> Iterator[R | None]:
    """None for a damaged one."""
    while True:
        try:
            with readable(kind.__name__.lower()):
                row = result.fetchone()
            if row is None:
                return
            yield record_of(kind, row)
        except DamagedRecord as error:
            log.warning("left out of a list: %s", error)
            yield None

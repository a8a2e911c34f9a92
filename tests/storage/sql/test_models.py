"""The constraints hold without our code: the same rules, against plain SQL."""

from __future__ import annotations

import pytest
from sqlalchemy import UniqueConstraint, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from storage.base import Storage
from storage.records import TrialState
from storage.sql.models import metadata
from tests.storage.builders import a_measurement, stored_trial
from tests.storage.raw import raw_connection, url_of

WAITING, COMPLETE, FAIL = "state = 'WAITING'", "state = 'COMPLETE', finished_at = 1", "state = 'FAIL', finished_at = 1"
VALUES = """objective_values = '{"x": 1}'"""


def _update(storage: Storage, table: str, change: str) -> None:
    with raw_connection(url_of(storage)) as connection:
        assert connection.execute(text(f"UPDATE tuner_{table} SET {change}")).rowcount == 1


@pytest.mark.parametrize(
    "change",
    [
        COMPLETE,
        f"{COMPLETE}, objective_values = '{{}}'",
        f"{COMPLETE}, {VALUES}, error_class = 'timeout'",
        f"state = 'COMPLETE', {VALUES}",
        FAIL,
        f"{FAIL}, error_class = ''",
        f"{FAIL}, error_class = 'timeout', {VALUES}",
        "state = 'FAIL', error_class = 'timeout'",
        f"{WAITING}, finished_at = 1",
        f"{WAITING}, {VALUES}",
        "state = 'RUNNING', error_class = 'timeout'",
        "state = 'DONE'",
        "stage = 'final'",
        "arm = 'other'",
        "block_size = 0",
        "number = -1",
    ],
)
def test_the_state_gate_in_sql(each_storage: Storage, change: str) -> None:
    trial = stored_trial(each_storage)
    with pytest.raises(IntegrityError):
        _update(each_storage, "trials", change)
    assert each_storage.get_trial(trial.id) == trial


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_a_value_that_is_no_number_does_not_enter_as_json(each_storage: Storage, number: str) -> None:
    stored_trial(each_storage)
    with pytest.raises(DBAPIError):
        _update(each_storage, "trials", f"""{COMPLETE}, objective_values = '{{"x"\\: {number}}}'""")


@pytest.mark.parametrize(
    ("change", "state"),
    [(f"{COMPLETE}, {VALUES}".replace(": 1", "\\: 1"), TrialState.COMPLETE), (f"{FAIL}, error_class = 'timeout'", TrialState.FAIL)],
)
def test_what_the_gate_lets_through(each_storage: Storage, change: str, state: TrialState) -> None:
    """The refusals above are the constraints' and not a typing error's."""
    trial = stored_trial(each_storage)
    _update(each_storage, "trials", change)
    assert each_storage.get_trial(trial.id).state is state


@pytest.mark.parametrize("change", ["valid = (1 = 0)", "invalid_reason = 'drifted'", "duration_s = -1", "duration_s = 1e308", "round = -1"])
def test_measurements_in_sql(each_storage: Storage, change: str) -> None:
    each_storage.add_measurement(a_measurement(stored_trial(each_storage).id))
    with pytest.raises(IntegrityError):
        _update(each_storage, "measurements", change)


def test_every_foreign_key_starts_an_index() -> None:
    """Else a delete of the parent reads the whole child table."""
    for table in metadata.sorted_tables:
        leading = {next(iter(index.columns)).name for index in table.indexes} | {next(iter(table.primary_key)).name}
        leading |= {next(iter(unique.columns)).name for unique in table.constraints if isinstance(unique, UniqueConstraint)}
        for key in table.foreign_keys:
            assert key.parent.name in leading, f"{table.name}.{key.parent.name}"

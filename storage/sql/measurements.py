"""What trials yield: measured windows, their per-request distributions, XLA profiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import select

from storage.base import InvalidRecord
from storage.records import Json, Measurement, Profile, RequestsSummary
from storage.sql.core import (
    SqlCore,
    columns_of,
    find_record,
    insert_record,
    now_s,
    plain_columns,
    records_of,
    require_one_id,
    update_record,
)
from storage.sql.models import measurements, profiles, requests_summary, trials


class SqlMeasurements(SqlCore):
    """See storage.base.Storage."""

    def add_measurement(self, measurement: Measurement, summaries: Sequence[RequestsSummary] = ()) -> Measurement:
        what = f"measurement of trial {measurement.trial_id}"
        values = columns_of(measurement, what)
        with self._writing(what) as connection:
            stored = insert_record(connection, Measurement, values)
            for summary in summaries:
                owned = replace(summary, measurement_id=stored.id)
                insert_record(connection, RequestsSummary, columns_of(owned, f"{what}: {summary.metric}"))
        return stored

    def invalidate_measurement(self, measurement_id: int, reason: str) -> Measurement:
        what = f"measurement {measurement_id}"
        if not reason:
            raise InvalidRecord(f"{what}: an invalid measurement needs a reason")
        changes = plain_columns({"valid": False, "invalid_reason": reason}, what)
        with self._writing(what) as connection:
            return update_record(connection, Measurement, measurement_id, changes, what)

    def list_measurements(self, *, trial_id: int | None = None, study_id: int | None = None) -> Sequence[Measurement]:
        """Also raises ValueError unless exactly one id is given."""
        require_one_id(trial_id, study_id)
        order = (measurements.c.round, measurements.c.position, measurements.c.id)
        if trial_id is not None:
            statement = select(measurements).where(measurements.c.trial_id == trial_id).order_by(*order)
        else:
            joined = select(measurements).join(trials, trials.c.id == measurements.c.trial_id)
            statement = joined.where(trials.c.study_id == study_id).order_by(trials.c.number, *order)
        with self._reading("measurements") as connection:
            return records_of(Measurement, connection.execute(statement).all())

    def list_requests_summaries(self, measurement_id: int) -> Sequence[RequestsSummary]:
        """In alphabetical order of the metric."""
        table = requests_summary
        statement = select(table).where(table.c.measurement_id == measurement_id).order_by(table.c.metric)
        with self._reading(f"measurement {measurement_id}") as connection:
            return records_of(RequestsSummary, connection.execute(statement).all())

    def add_profile(self, profile: Profile) -> Profile:
        """Raises Conflict where the trial has this logdir, run, session, host and phase already; see update_profile."""
        what = f"profile {profile.run}/{profile.session} of trial {profile.trial_id}"
        values = columns_of(profile, what)
        values["created_at"] = values["created_at"] or now_s()
        with self._writing(what) as connection:
            return insert_record(connection, Profile, values)

    def update_profile(
        self, profile_id: int, *, status: str | None = None, quality: Json | None = None, summary: Json | None = None
    ) -> Profile:
        what = f"profile {profile_id}"
        given = {"status": status, "quality": quality, "summary": summary}
        changes = plain_columns({name: value for name, value in given.items() if value is not None}, what)
        with self._writing(what) as connection:
            if not changes:
                return find_record(connection, Profile, "id", profile_id, what)
            return update_record(connection, Profile, profile_id, changes, what)

    def list_profiles(self, *, trial_id: int | None = None, study_id: int | None = None) -> Sequence[Profile]:
        """By trial number, then in the order they were added. Also raises ValueError unless exactly one id is given."""
        require_one_id(trial_id, study_id)
        if trial_id is not None:
            statement = select(profiles).where(profiles.c.trial_id == trial_id).order_by(profiles.c.id)
        else:
            joined = select(profiles).join(trials, trials.c.id == profiles.c.trial_id)
            statement = joined.where(trials.c.study_id == study_id).order_by(trials.c.number, profiles.c.id)
        with self._reading("profiles") as connection:
            return records_of(Profile, connection.execute(statement).all())

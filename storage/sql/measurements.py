"""What trials yield: measured windows, their per-request distributions, XLA profiles."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select

from storage.base import InvalidRecord
from storage.records import Measurement, Profile
from storage.sql.core import (
    SqlCore,
    columns_of,
    insert_record,
    now_s,
    plain_columns,
    records_of,
    require_one_id,
    update_record,
)
from storage.sql.models import measurements, profiles, trials


class SqlMeasurements(SqlCore):
    """See storage.base.Storage."""

    def add_measurement(self, measurement: Measurement) -> Measurement:
        what = f"measurement of trial {measurement.trial_id}"
        values = columns_of(measurement, what)
        with self._writing(what) as connection:
            return insert_record(connection, Measurement, values)

    def restore_measurement(self, measurement: Measurement, trial_created_at: float) -> Measurement | None:
        what = f"measurement of trial {measurement.trial_id}"
        values = columns_of(measurement, what)
        of_its_round = (measurements.c.trial_id == measurement.trial_id) & (measurements.c.round == measurement.round)
        with self._writing(what) as connection:
            trial = select(trials.c.created_at).where(trials.c.id == measurement.trial_id).with_for_update()
            if connection.execute(trial).scalar_one_or_none() != trial_created_at:
                return None
            there = records_of(Measurement, connection.execute(select(measurements).where(of_its_round)), what)
            same = [item for item in there if _moment(item) == _moment(measurement)]
            if same or any(item.valid for item in there):
                return same[0] if same else None
            return insert_record(connection, Measurement, values)

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
            return records_of(Measurement, connection.execute(statement), "measurements")

    def count_measurements_of(self, study_ids: Sequence[int]) -> dict[int, int]:
        joined = select(trials.c.study_id, func.count()).join(measurements, measurements.c.trial_id == trials.c.id)
        statement = joined.where(trials.c.study_id.in_(study_ids)).group_by(trials.c.study_id)
        with self._reading("measurements") as connection:
            found = {int(study_id): int(count) for study_id, count in connection.execute(statement).all()}
        return {study_id: found.get(study_id, 0) for study_id in study_ids}

    def measured_by_trial(self, study_id: int) -> dict[int, tuple[int, float]]:
        counted = select(measurements.c.trial_id, func.count(), func.sum(measurements.c.duration_s))
        joined = counted.join(trials, measurements.c.trial_id == trials.c.id).where(trials.c.study_id == study_id)
        with self._reading("measurements") as connection:
            found = connection.execute(joined.group_by(measurements.c.trial_id)).all()
        return {int(trial_id): (int(windows), float(seconds)) for trial_id, windows, seconds in found}

    def add_profile(self, profile: Profile) -> Profile:
        """Raises Conflict where the trial has this logdir, run, session, host and phase already."""
        what = f"profile {profile.run}/{profile.session} of trial {profile.trial_id}"
        values = columns_of(profile, what)
        values["created_at"] = values["created_at"] or now_s()
        with self._writing(what) as connection:
            return insert_record(connection, Profile, values)

    def list_profiles(self, *, trial_id: int | None = None, study_id: int | None = None) -> Sequence[Profile]:
        """By trial number, then in the order they were added. Also raises ValueError unless exactly one id is given."""
        require_one_id(trial_id, study_id)
        if trial_id is not None:
            statement = select(profiles).where(profiles.c.trial_id == trial_id).order_by(profiles.c.id)
        else:
            joined = select(profiles).join(trials, trials.c.id == profiles.c.trial_id)
            statement = joined.where(trials.c.study_id == study_id).order_by(trials.c.number, profiles.c.id)
        with self._reading("profiles") as connection:
            return records_of(Profile, connection.execute(statement), "profiles")


def _moment(measurement: Measurement) -> tuple[int, float, float]:
    """What no two windows of a trial share."""
    return measurement.position, measurement.started_at, measurement.duration_s

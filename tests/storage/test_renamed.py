"""Rows that were written before a metric got its present name are read under that name, on both dialects, and stay as they are."""

from __future__ import annotations

from sqlalchemy import text

from storage.base import Storage
from tests.storage.builders import a_comparison, a_measurement, a_recommendation, a_study, a_trial, a_workload
from tests.storage.raw import raw_connection, url_of

OLD, NEW = "cached_token_share", "prefix_cache_hit_rate"


def test_rows_of_before_are_read_under_todays_names(each_storage: Storage) -> None:
    study = each_storage.create_study(a_study())
    each_storage.put_workload(a_workload())
    trial = each_storage.create_trial(a_trial(study.id))
    window = each_storage.add_measurement(a_measurement(trial.id, metrics={OLD: 0.25, "ttft_p99_ms": 3.0}))
    each_storage.replace_comparisons(study.id, [a_comparison(study.id, metric=OLD)])
    answer = each_storage.add_recommendation(a_recommendation(study.id, body={"expected": {OLD: {"value": 0.25}}, "note": OLD}))
    assert window.metrics == {NEW: 0.25, "ttft_p99_ms": 3.0}
    assert [item.metrics for item in each_storage.list_measurements(study_id=study.id)] == [window.metrics]
    assert [item.metric for item in each_storage.list_comparisons(study.id)] == [NEW]
    assert each_storage.get_recommendation(answer.id).body == {"expected": {NEW: {"value": 0.25}}, "note": OLD}
    with raw_connection(url_of(each_storage)) as connection:
        assert OLD in str(connection.execute(text("SELECT metrics FROM tuner_measurements")).scalar())

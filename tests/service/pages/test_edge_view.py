"""The goodput curve of a study whose windows are searches for the highest rate."""

from __future__ import annotations

from typing import Any

import pytest

from service.pages.charts.goodput import goodput
from service.pages.edge_view import edge_curve
from storage.records import Json, Measurement
from tests.storage.builders import a_measurement, a_recommendation
from tests.tuner.report.charts.drawings import texts
from tuner.report.charts.render import Renderer
from tuner.report.charts.theme import Look
from tuner.verdict.answer import answer_of


def window(*points: tuple[float, bool, float | None], **changes: Any) -> Measurement:
    curve: list[Json] = [{"rate": rate, "held": held, "goodput": got, "invalid_reason": None} for rate, held, got in points]
    return a_measurement(1, **{"details": {"curve": curve}, **changes})


@pytest.mark.slow
def test_rates_of_all_searches_are_one_curve() -> None:
    answer = answer_of(a_recommendation(1, body={"expected": {"max_request_rate": {"value": 15.0, "low": 14.0, "high": 16.0}}}))
    failed: Json = {"rate": 99.0, "held": False, "goodput": None, "invalid_reason": "recompiled"}
    found = edge_curve(
        [
            window((20.0, False, 9.0), (10.0, True, 10.0)),
            window((10.1, True, 9.0), (5.0, True, None)),
            a_measurement(1, details={"curve": [failed]}),
            window((77.0, True, 77.0), valid=False),
        ],
        answer,
    )
    assert found is not None and (found.edge, found.low, found.high) == (15.0, 14.0, 16.0)
    assert [(point.rate, point.windows, point.held, point.goodput) for point in found.points] == [
        (5.0, 1, 1, None),
        (10.05, 2, 2, 9.5),
        (20.0, 1, 0, 9.0),
    ]
    words = texts(Renderer().picture(goodput(found.points, found, Look()), "title", "description"))
    assert {"requests/s that arrive", "held", "did not hold"} <= set(words)


def test_other_windows_have_no_curve() -> None:
    assert edge_curve([a_measurement(1)], None) is None and edge_curve([], None) is None

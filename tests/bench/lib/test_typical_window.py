from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.lib.typical_window import decisions, typical_window
from tuner.core.contract import RequestRecord, StepRecord, WindowResult

BETWEEN = 0.001


def window(*took: float) -> WindowResult:
    """Two requests of a closed loop of one: each a prefill and then a decode, one step after the other."""
    ends = np.cumsum(np.array(took) + BETWEEN)
    steps = tuple(
        StepRecord(float(end - seconds), seconds, *((40, 64, 40, 1, 0) if index % 2 == 0 else (1, 16, 0, 0, 1)))
        for index, (end, seconds) in enumerate(zip(ends, took, strict=True))
    )
    seen = (ends + 1e-5).tolist()  # the driver looks at its clock after the step
    requests = (
        RequestRecord("a", 40, 0.0, 1e-5, (seen[0], seen[1]), seen[1]),
        RequestRecord("b", 40, 0.0, seen[1] + 2e-5, (seen[2], seen[3]), seen[3]),
    )
    return WindowResult(requests, steps, 0.0, seen[3])


def test_a_burst_in_another_step_of_each_round_leaves_nothing_behind() -> None:
    quiet = (0.02, 0.004, 0.03, 0.005)
    bursts = [tuple(9 * seconds if index == hit else seconds for index, seconds in enumerate(quiet)) for hit in range(4)]
    found = typical_window([window(*took) for took in bursts])
    assert found is not None
    assert [step.duration_s for step in found.steps] == pytest.approx(list(quiet))
    assert found.duration_s == pytest.approx(sum(quiet) + 4 * BETWEEN)
    first, second = found.requests
    assert first.token_times_s[0] - first.sent_s == pytest.approx(0.02 + BETWEEN)
    assert second.token_times_s[0] - second.sent_s == pytest.approx(0.03 + BETWEEN)
    assert second.finished_s == pytest.approx(found.duration_s)


def test_one_window_is_its_own_typical_one() -> None:
    one = window(0.02, 0.004, 0.03, 0.005)
    found = typical_window([one])
    assert found is not None and decisions(found) == decisions(one)
    assert found.duration_s == pytest.approx(one.duration_s, rel=1e-3)


def test_windows_that_did_not_do_the_same_have_none() -> None:
    one = window(0.02, 0.004, 0.03, 0.005)
    fuller = replace(one, steps=(*one.steps[:3], replace(one.steps[3], padded_tokens=32)))
    shorter = replace(one, steps=one.steps[:3])
    open_loop = replace(one, latency_from_arrival=True)  # who is sent when does not follow from the steps
    for others in ([], [one, fuller], [one, shorter], [open_loop, open_loop]):
        assert typical_window(others) is None

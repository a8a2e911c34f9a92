"""One window made of many of the same closed loop, in which each step takes what it takes in the median. Pure.

In a closed loop the scheduler decides the same in every window, whatever the clock says: the n-th step has the same requests and tokens.
So steps, not only windows, can be compared over rounds, and what disturbs single steps (somebody else's burst of work) goes without taking
the rest of its window along.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tuner.core.contract import RequestRecord, StepRecord, WindowResult
from tuner.foresight.curve import Floats

type Decision = tuple[int, int, int, int, int]


def decisions(window: WindowResult) -> list[Decision]:
    """What each step had to do."""
    return [
        (step.scheduled_tokens, step.padded_tokens, step.prefill_tokens, step.prefill_requests, step.decode_requests)
        for step in window.steps
    ]


def typical_window(windows: Sequence[WindowResult]) -> WindowResult | None:
    """None in an open loop, where the windows did not do the same, step by step, or where there is none. Requests are sent when the step
    before ended, and get their tokens when a step ends."""
    if not windows or windows[0].latency_from_arrival or any(decisions(window) != decisions(windows[0]) for window in windows[1:]):
        return None
    took = np.median([[step.duration_s for step in window.steps] for window in windows], axis=0)
    waited = np.median([_waits(window) for window in windows], axis=0)
    ends = np.cumsum(waited + took)
    steps = tuple(
        replace(step, start_s=end - seconds, duration_s=seconds)
        for step, end, seconds in zip(windows[0].steps, ends.tolist(), took.tolist(), strict=True)
    )
    requests = tuple(_moved(request, windows[0].steps, ends) for request in windows[0].requests)
    return replace(windows[0], requests=requests, steps=steps, duration_s=float(ends[-1]))


def _waits(window: WindowResult) -> Floats:
    """[steps]: seconds from the end of the step before, or the window's start, to each step."""
    starts = np.array([step.start_s for step in window.steps])
    ends = starts + np.array([step.duration_s for step in window.steps])
    return np.asarray(starts - np.concatenate([[0.0], ends[:-1]]), dtype=np.float64)


def _moved(request: RequestRecord, steps: Sequence[StepRecord], ends: Floats) -> RequestRecord:
    """The same request where step n ends at `ends[n]`."""
    starts = np.array([step.start_s for step in steps])
    tokens = np.searchsorted(starts, request.token_times_s) - 1  # the last step that had begun
    before = int(np.searchsorted(starts, request.sent_s)) - 1
    times = tuple(ends[tokens].tolist())
    sent_s = float(ends[before]) if before >= 0 else 0.0
    return replace(request, sent_s=sent_s, token_times_s=times, finished_s=times[-1] if request.finished_s is not None and times else None)

"""A load in virtual time: requests arrive, the real scheduler decides each step, and a clock says how long it took. As
tuner.workload.client.drive does it in real time: a request is sent at the first step boundary at or after its arrival."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from tuner.core.contract import RequestRecord
from tuner.core.numbers import number
from tuner.engine.real_schedule import Coming, Prompt, RealSchedule, Scheduled
from tuner.engine.step_costs import StepClock
from tuner.workload.client import WindowTimeout

type Stop = Callable[[Sequence[RequestRecord], float], str | None]


@dataclass(frozen=True)
class Load:
    """`arrivals_s`: [prompts], ascending; `max_concurrency` None: an open loop."""

    prompts: tuple[Prompt, ...]
    arrivals_s: tuple[float, ...]
    max_concurrency: int | None


class Content(NamedTuple):
    """What was in a step (tuner.core.contract.StepRecord)."""

    scheduled_tokens: int
    padded_tokens: int
    prefill_tokens: int
    prefill_requests: int
    decode_requests: int


@dataclass(frozen=True)
class Steps:
    """When each step began and how long it took. `contents`: (what was in it, for how many steps one after the other)."""

    start_s: list[float] = field(default_factory=list)
    duration_s: list[float] = field(default_factory=list)
    contents: list[tuple[Content, int]] = field(default_factory=list)

    def columns(self) -> dict[str, list[int]]:
        """By the names of `Content`, one entry a step."""
        counts = [times for _, times in self.contents]
        parts = zip(*(content for content, _ in self.contents), strict=True) if self.contents else ((),) * len(Content._fields)
        return {name: np.repeat(np.array(part, dtype=np.int64), counts).tolist() for name, part in zip(Content._fields, parts, strict=True)}


@dataclass
class Sent:
    """One request. `runs`: (step, count), steps one after the other each of which ended with a token of it."""

    prompt: Prompt
    planned_s: float
    sent_s: float
    runs: list[tuple[int, int]] = field(default_factory=list)
    cached_tokens: int = 0
    preemptions: int = 0
    finished_s: float | None = None


@dataclass(frozen=True)
class Replayed:
    """`sent`: in the order of the load, without those never sent. `asked`: how often the scheduler was asked; the other steps repeat.
    `held_back`: Scheduled.held_back of all steps."""

    sent: list[Sent]
    steps: Steps
    duration_s: float
    stopped: str | None
    asked: int
    held_back: int


class Replay:
    """One window."""

    def __init__(self, schedule: RealSchedule, clock: StepClock, *, parks: bool = True, repeats: bool = True) -> None:
        """`parks` False: the scheduler is shown every request in every step, told of every token, and names every page; `repeats` False:
        it is asked for each step."""
        self._schedule = schedule
        self._parks = parks
        self._clock = clock
        self._repeats = repeats
        self._now = 0.0
        self._steps = Steps()
        self._sent: dict[str, Sent] = {}
        self._asked = self._held_back = 0

    def run(self, load: Load, timeout_s: float, stop: Stop | None = None, stop_every: int = 1) -> Replayed:
        """Raises WindowTimeout where the window would last longer than `timeout_s` of its own time, or nothing can be scheduled any
        more."""
        self._schedule.reset(load.prompts if self._parks else ())
        self._schedule.parking.enabled = self._parks
        try:
            stopped = self._run(load, timeout_s, stop, stop_every)
        finally:
            self._schedule.abort_all()
        self._book_rested()
        return Replayed(list(self._sent.values()), self._steps, self._now, stopped, self._asked, self._held_back)

    def _run(self, load: Load, timeout_s: float, stop: Stop | None, stop_every: int) -> str | None:
        count, following, unfinished = len(load.prompts), 0, 0
        limit = load.max_concurrency if load.max_concurrency is not None else count
        next_check = stop_every
        while following < count or unfinished:
            while following < count and unfinished < limit and load.arrivals_s[following] <= self._now:
                self._send(load.prompts[following], load.arrivals_s[following])
                following += 1
                unfinished += 1
            until_s = load.arrivals_s[following] if following < count and unfinished < limit else float("inf")
            finished = self._steps_until(until_s) if unfinished else None
            if finished is not None:
                unfinished -= finished
            elif until_s < float("inf"):
                self._now = max(self._now, until_s)
            else:
                raise WindowTimeout(f"nothing is scheduled any more, and {unfinished} requests are unfinished")
            if self._now > timeout_s:
                raise WindowTimeout(f"{unfinished} requests unfinished and {count - following} unsent after {number(timeout_s)} s")
            done = following - unfinished
            if stop is not None and load.max_concurrency is None and done >= next_check and (following < count or unfinished):
                next_check = done + stop_every
                if (reason := stop(self._so_far(), self._now)) is not None:
                    return reason
        return None

    def _send(self, prompt: Prompt, planned_s: float) -> None:
        self._sent[prompt.request_id] = Sent(prompt, planned_s, self._now)
        self._schedule.add(prompt)

    def _steps_until(self, until_s: float) -> int | None:
        """The next step, or several that the scheduler need not be asked for, as far as they begin before `until_s`. How many requests that
        finished; None where nothing can be scheduled."""
        coming = self._schedule.coming
        if self._repeats and coming is not None:
            return len(self._repeat(coming, until_s))
        step = self._schedule.step()
        self._asked += 1
        if step is None:
            return None
        self._step(step)
        return len(step.finished)

    def _step(self, step: Scheduled) -> None:
        padded = self._padded(step.scheduled_tokens)
        seconds = self._clock.step(padded, step.prefills, step.decodes, step.context)
        run = len(self._steps.start_s), 1
        self._book([seconds], Content(step.scheduled_tokens, padded, step.prefill_tokens, len(step.prefills), step.decodes))
        self._held_back += step.held_back
        self._book_rested()
        for name, cached in step.begun.items():
            self._sent[name].cached_tokens = max(self._sent[name].cached_tokens, cached)
        for name in step.tokens_for:
            self._sent[name].runs.append(run)
        self._finish(step.finished)

    def _finish(self, finished: Mapping[str, int]) -> None:
        for name, preemptions in finished.items():
            self._sent[name].finished_s, self._sent[name].preemptions = self._now, preemptions

    def _book_rested(self) -> None:
        for name, first, count in self._schedule.parking.take_rested():
            self._sent[name].runs.append((first, count))

    def _repeat(self, coming: Coming, until_s: float) -> Mapping[str, int]:
        """Who is finished by it."""
        decodes = coming.decodes
        padded = self._padded(decodes)
        seconds = self._clock.repeated(padded, decodes, coming.context, coming.steps, until_s - self._now)
        finished = self._schedule.repeat(len(seconds))
        self._held_back += coming.held_back * len(seconds)
        self._book(seconds, Content(decodes, padded, 0, 0, decodes))
        if finished:
            self._book_rested()
            self._finish(finished)
        return finished

    def _padded(self, tokens: int) -> int:
        buckets = self._schedule.buckets
        place = bisect_left(buckets, tokens)
        return buckets[place] if place < len(buckets) else tokens

    def _book(self, seconds: Sequence[float], content: Content) -> None:
        """Steps that all have `content` in them; they are then past."""
        bounds = list(accumulate(seconds, initial=self._now))
        self._now = bounds.pop()
        self._steps.start_s.extend(bounds)
        self._steps.duration_s.extend(seconds)
        self._steps.contents.append((content, len(seconds)))

    def _so_far(self) -> list[RequestRecord]:
        """What the test for saturation looks at: arrivals, first tokens, ends."""
        return [
            RequestRecord(
                request_id=item.prompt.request_id,
                prompt_tokens=item.prompt.tokens,
                planned_s=item.planned_s,
                sent_s=item.sent_s,
                token_times_s=(self._end_of(item.runs[0][0]),) if item.runs else (),
                finished_s=item.finished_s,
            )
            for item in self._sent.values()
        ]

    def _end_of(self, step: int) -> float:
        return self._steps.start_s[step] + self._steps.duration_s[step]

"""Step costs of an engine that was measured, from its single steps. Pure.

A step's record says to how many tokens it was padded and what was in it, the requests' records whose tokens they were. So its seconds are
fitted as a(padded tokens) and the terms of tuner.engine.step_costs for prefill segments and decodes, all with weights of 0 or more; a is
convex, and straight between the sizes that occur. The fit is one of relative errors by
their absolute values (tuner.foresight.curve), so it follows the typical step. Windows are slower than the sum of their typical steps,
because a few steps take several times as long; so all costs are multiplied by the median over windows of measured / fitted seconds.
What passes between two steps (the driver takes the tokens and sends requests) is added to each. The first step of a window takes longer
than such a step does later (it finds cold caches); it is left out of the fit, and how much longer it takes is a number of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tuner.core.contract import StepRecord, WindowResult
from tuner.engine.step_costs import DECODE_TERMS, PREFILL_TERMS, Point, StepCosts
from tuner.foresight.curve import LINEAR, Floats, fit

_OTHERS = PREFILL_TERMS + DECODE_TERMS  # terms beside those of the padded tokens


@dataclass(frozen=True)
class StepFit:
    """`between_s`: from one step to the next, part of `costs`."""

    costs: StepCosts
    between_s: float


def fit_steps(windows: Sequence[WindowResult], about: str) -> StepFit:
    """Raises ValueError where no window has two steps."""
    windows = [window for window in windows if len(window.steps) > 1]
    if not windows:
        raise ValueError("no window has two steps")
    sizes = sorted({step.padded_tokens for window in windows for step in window.steps})
    seconds = [np.array([step.duration_s for step in window.steps]) for window in windows]
    terms = [_terms(window, sizes) for window in windows]
    importance = np.concatenate([np.full(len(item) - 1, 1 / (len(item) - 1)) for item in seconds])
    later = np.concatenate([rows[1:] for rows in terms]), np.concatenate([item[1:] for item in seconds])
    weights = np.array(fit(LINEAR, *later, importance).weights)
    fitted = [rows @ weights for rows in terms]
    level = float(np.median([item[1:].sum() / guess[1:].sum() for item, guess in zip(seconds, fitted, strict=True)]))
    between_s = float(np.median(np.concatenate([_between(window.steps) for window in windows])))
    first = float(np.median([(item[0] + between_s) / (level * guess[0] + between_s) for item, guess in zip(seconds, fitted, strict=True)]))
    by_size = level * _hinges(np.array(sizes, dtype=np.float64), sizes) @ weights[:-_OTHERS] + between_s
    others = (level * weights[-_OTHERS:]).tolist()
    return StepFit(
        StepCosts(
            about=about,
            padded=tuple(Point(size, cost) for size, cost in zip(sizes, by_size.tolist(), strict=True)),
            prefill=tuple(others[:PREFILL_TERMS]),
            decode=tuple(others[PREFILL_TERMS:]),
            first=first,
        ),
        between_s,
    )


def decode_contexts(window: WindowResult) -> Floats:
    """[steps]: tokens in the KV cache before the step, of all requests together that decode in it: those that get a token which is not
    their first."""
    starts = np.array([step.start_s for step in window.steps])
    found = np.zeros(len(starts))
    for request in window.requests:
        places = np.searchsorted(starts, request.token_times_s[1:]) - 1  # the last step that had begun
        np.add.at(found, places, request.prompt_tokens + np.arange(len(places)))
    return found


def prefill_segments(window: WindowResult) -> list[list[tuple[int, int]]]:
    """[steps]: (chunk, tokens computed before) of each prefill segment, as far as the requests' records tell.

    Who gets a first token has computed all of its prompt; what else a step prefilled belongs to those that were sent and have none yet, in
    the order of their sending. Several such at once share by that order, which can be wrong; a preempted request's second time is not told.
    """
    starts = np.array([step.start_s for step in window.steps])
    requests = sorted((request for request in window.requests if request.token_times_s), key=lambda request: request.sent_s)
    firsts = [int(np.searchsorted(starts, request.token_times_s[0])) - 1 for request in requests]
    done = [request.cached_tokens for request in requests]
    found: list[list[tuple[int, int]]] = []
    for place, step in enumerate(window.steps):
        ending = [index for index, first in enumerate(firsts) if first == place]
        segments = [(requests[index].prompt_tokens - done[index], done[index]) for index in ending]
        tokens, open_segments = step.prefill_tokens - sum(chunk for chunk, _ in segments), step.prefill_requests - len(segments)
        for index, request in enumerate(requests):
            if open_segments > 0 and tokens > 0 and firsts[index] > place and request.sent_s <= starts[place]:
                chunk = min(tokens, request.prompt_tokens - done[index] - 1) if open_segments > 1 else tokens
                segments.append((chunk, done[index]))
                done[index] += chunk
                tokens, open_segments = tokens - chunk, open_segments - 1
        found.append(segments + _untold(tokens, open_segments))
    return found


def _untold(tokens: int, segments: int) -> list[tuple[int, int]]:
    """Segments of which no request's record tells: of equal size, at the beginning of a prompt."""
    return [(tokens // segments + (index < tokens % segments), 0) for index in range(segments)]


def _terms(window: WindowResult, sizes: Sequence[int]) -> Floats:
    """[steps x terms]."""
    steps = window.steps
    padded = np.array([step.padded_tokens for step in steps], dtype=np.float64)
    prefills = [_prefill_terms(segments) for segments in prefill_segments(window)]
    decodes = np.array([(float(step.decode_requests > 0), step.decode_requests) for step in steps], dtype=np.float64)
    return np.concatenate([_hinges(padded, sizes), np.array(prefills), decodes, decode_contexts(window)[:, None]], axis=1)


def _prefill_terms(segments: Sequence[tuple[int, int]]) -> list[float]:
    """Of one step, in the order of StepCosts.prefill."""
    terms = [(1.0, chunk, context, chunk * context, chunk * chunk) for chunk, context in segments]
    return [float(value) for value in np.array(terms).reshape(-1, PREFILL_TERMS).sum(axis=0)]


def _hinges(padded: Floats, sizes: Sequence[int]) -> Floats:
    """[steps x len(sizes)]: a constant, and how far each exceeds every size but the last. Weights of 0 or more make a convex function."""
    bends = np.array(sizes[:-1], dtype=np.float64)
    return np.concatenate([np.ones((len(padded), 1)), np.maximum(padded[:, None] - bends[None, :], 0.0)], axis=1)


def _between(steps: Sequence[StepRecord]) -> Floats:
    """[steps - 1]: seconds between each and the next."""
    starts = np.array([step.start_s for step in steps])
    return np.asarray(starts[1:] - starts[:-1] - np.array([step.duration_s for step in steps])[:-1], dtype=np.float64)

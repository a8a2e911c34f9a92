"""Step costs of an engine that was measured, from its single steps. Pure.

A step's record says to how many tokens it was padded and what was in it, the requests' records who decoded. So its seconds are fitted as

    a(padded tokens) + b x prefill segments + c x prefill tokens
                     + d x (whether anything decodes) + e x decoding requests + f x their tokens in the KV cache

with b to f of 0 or more, and a convex in the padded tokens: straight between the sizes that occur. The fit is one of relative errors by
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
from tuner.engine.step_costs import Point, StepCosts
from tuner.foresight.curve import LINEAR, Floats, fit

_OTHERS = 5  # terms beside those of the padded tokens


@dataclass(frozen=True)
class StepFit:
    """`between_s`: from one step to the next, part of `costs`. `first`: how many times as long a window's first step takes."""

    costs: StepCosts
    between_s: float
    first: float


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
    first = float(np.median([item[0] / (level * guess[0]) for item, guess in zip(seconds, fitted, strict=True)]))
    between_s = float(np.median(np.concatenate([_between(window.steps) for window in windows])))
    by_size = level * _hinges(np.array(sizes, dtype=np.float64), sizes) @ weights[:-_OTHERS] + between_s
    segment, token, decoding, decode, cached = (level * weights[-_OTHERS:]).tolist()
    return StepFit(
        StepCosts(
            about=about,
            padded=tuple(Point(size, cost) for size, cost in zip(sizes, by_size.tolist(), strict=True)),
            prefill=(segment, token, 0.0, 0.0, 0.0),
            decode=(decoding, decode, cached),
        ),
        between_s,
        first,
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


def _terms(window: WindowResult, sizes: Sequence[int]) -> Floats:
    """[steps x terms]."""
    steps = window.steps
    columns = [(step.prefill_requests, step.prefill_tokens, float(step.decode_requests > 0), step.decode_requests) for step in steps]
    padded = np.array([step.padded_tokens for step in steps], dtype=np.float64)
    return np.concatenate([_hinges(padded, sizes), np.array(columns, dtype=np.float64), decode_contexts(window)[:, None]], axis=1)


def _hinges(padded: Floats, sizes: Sequence[int]) -> Floats:
    """[steps x len(sizes)]: a constant, and how far each exceeds every size but the last. Weights of 0 or more make a convex function."""
    bends = np.array(sizes[:-1], dtype=np.float64)
    return np.concatenate([np.ones((len(padded), 1)), np.maximum(padded[:, None] - bends[None, :], 0.0)], axis=1)


def _between(steps: Sequence[StepRecord]) -> Floats:
    """[steps - 1]: seconds between each and the next."""
    starts = np.array([step.start_s for step in steps])
    return np.asarray(starts[1:] - starts[:-1] - np.array([step.duration_s for step in steps])[:-1], dtype=np.float64)

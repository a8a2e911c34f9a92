"""Multi-turn sessions: each request carries the whole conversation so far, so that prefixes grow and are found again. Pure.

A prompt is the shared prefix, then question and answer of each earlier turn, then the new question. What an engine really answered is not
known before it has: seeded tokens of the planned length stand for it, so a prefix cache finds the earlier prompt, and the earlier answer
not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tuner.workload.prompts import Stream, Tokens, stream

type Turns = Sequence[tuple[int, int]]
"""Of one session: (tokens of the new question, tokens of the answer), each."""


@dataclass(frozen=True)
class SessionTurn:
    """One request. `input_tokens`: of the whole prompt; `arrival_s`: since the window's start, 0 in a closed loop."""

    session: int
    turn: int
    arrival_s: float
    input_tokens: int
    output_tokens: int


def session_turns(sessions: Sequence[Turns], prefix: int, max_model_len: int) -> list[list[SessionTurn]]:
    """The requests of each session, without times. A session ends before the turn that does not fit `max_model_len`; one whose first turn
    does not fit has none."""
    found = []
    for number, turns in enumerate(sessions):
        length, kept = prefix, []
        for turn, (question, answer) in enumerate(turns):
            if length + question + answer > max_model_len:
                break
            kept.append(SessionTurn(number, turn, 0.0, length + question, answer))
            length += question + answer
        found.append(kept)
    return found


def timed(sessions: Sequence[Sequence[SessionTurn]], starts_s: Sequence[float], think_s: float, seed: int) -> list[SessionTurn]:
    """By arrival. `starts_s`: of each session; between two requests of a session lies an exponential time with the mean `think_s`."""
    found = []
    for turns, start_s in zip(sessions, starts_s, strict=True):
        for turn, waited in zip(turns, _waits(turns, think_s, seed), strict=True):
            found.append(SessionTurn(turn.session, turn.turn, start_s + waited, turn.input_tokens, turn.output_tokens))
    return sorted(found, key=lambda item: (item.arrival_s, item.session, item.turn))


def _waits(turns: Sequence[SessionTurn], think_s: float, seed: int) -> list[float]:
    """From the session's start to each of its requests."""
    if not turns:
        return []
    drawn = stream(seed, Stream.THINKING, turns[0].session).exponential(think_s, len(turns)) if think_s > 0 else np.zeros(len(turns))
    drawn[0] = 0.0
    return [float(value) for value in np.cumsum(drawn)]


def interleaved(sessions: Sequence[Sequence[SessionTurn]], at_once: int) -> list[SessionTurn]:
    """The order of a closed loop: of `at_once` sessions the first turns, then the second ones, and so on; then the next sessions."""
    found = []
    for begin in range(0, len(sessions), at_once):
        some = sessions[begin : begin + at_once]
        for turn in range(max(map(len, some), default=0)):
            found += [turns[turn] for turns in some if turn < len(turns)]
    return found


def session_prompts(requests: Sequence[SessionTurn], sessions: Sequence[Turns], prefix: int, vocab_size: int, seed: int) -> list[Tokens]:
    """One prompt a request. The same session has the same text whatever the order of the requests."""
    shared = stream(seed, Stream.PREFIXES, 0).integers(0, vocab_size, prefix)
    texts: dict[int, Tokens] = {}
    prompts = []
    for request in requests:
        if request.session not in texts:
            texts[request.session] = np.concatenate([shared, _text(sessions[request.session], request.session, vocab_size, seed)])
        prompts.append(texts[request.session][: request.input_tokens])
    return prompts


def _text(turns: Turns, session: int, vocab_size: int, seed: int) -> Tokens:
    """Questions and answers, one after the other."""
    return stream(seed, Stream.PROMPTS, session).integers(0, vocab_size, sum(question + answer for question, answer in turns))

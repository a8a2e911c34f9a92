"""Loads that hold an engine in one phase: prefill-heavy, decode-heavy or mixed (`profiles.session_plan` says what the words mean).

The prompts are the trial's own, so their lengths, chunks and page boundaries are those of the workload. Only the order and the number of
output tokens are chosen, such that N steps of one phase follow one another. So a profile says what a step of a phase costs, and not how
often it occurs: a real window has the phases in other proportions, and rarely a step that is mixed in this narrow sense.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from profiles.session_plan import DECODE, MIXED, PHASES, PREFILL
from tuner.core.contract import LoadPlan, PlannedRequest


@dataclass(frozen=True)
class PhaseLoad:
    """`in_flight` requests of `standing` run at any time, taken in turns; one more of `arriving` comes before every step."""

    phase: str
    standing: tuple[PlannedRequest, ...]
    in_flight: int
    arriving: tuple[PlannedRequest, ...] = ()


def possible_phases(max_num_seqs: int) -> tuple[str, ...]:
    """The phases that can be held with so many running requests: the mixed load has two that decode beside one that prefills."""
    return tuple(phase for phase in PHASES if phase != MIXED or max_num_seqs >= 3)


def phase_load(phase: str, plan: LoadPlan, budget: int, max_num_seqs: int, max_model_len: int) -> PhaseLoad:
    """The load of one phase for an engine with these limits. Raises ValueError for a phase that it cannot be in.

    prefill: prompts that end with their first token. decode: prompts with all the output that fits. mixed: the same, and before each step a
    prompt of as many tokens as requests decode, so that half of the scheduled tokens are prefill.
    """
    if phase not in possible_phases(max_num_seqs):
        raise ValueError(f"phase {phase!r}: with max_num_seqs {max_num_seqs} use one of {', '.join(possible_phases(max_num_seqs))}")
    concurrency = min(max_num_seqs, plan.max_concurrency or max_num_seqs)
    if phase == PREFILL:
        return PhaseLoad(phase, tuple(replace(request, max_tokens=1, arrival_s=0.0) for request in plan.requests), concurrency)
    longest = max(1, max_model_len // 2)
    standing = tuple(_long_answer(request, longest, max_model_len) for request in plan.requests)
    if phase == DECODE:
        return PhaseLoad(phase, standing, concurrency)
    decoding = max(2, min(max(concurrency, 3) - 1, budget // 2))
    return PhaseLoad(phase, standing, decoding, tuple(_prompt_of(decoding, standing, index) for index in range(len(standing))))


def _long_answer(request: PlannedRequest, longest: int, max_model_len: int) -> PlannedRequest:
    prompt = request.prompt_token_ids[:longest]
    return replace(request, prompt_token_ids=prompt, max_tokens=max_model_len - len(prompt), arrival_s=0.0)


def _prompt_of(length: int, requests: Sequence[PlannedRequest], index: int) -> PlannedRequest:
    tokens = requests[index].prompt_token_ids
    while len(tokens) < length:
        tokens += tokens
    return PlannedRequest(f"arriving-{index}", tokens[:length], 1)


def nth(requests: Sequence[PlannedRequest], count: int) -> PlannedRequest:
    """The request number `count` of an endless series: each round turns every prompt by one token more, so that none of it is cached."""
    turns, index = divmod(count, len(requests))
    request = requests[index]
    by = turns % len(request.prompt_token_ids)
    return replace(
        request, request_id=f"{request.request_id}-{count}", prompt_token_ids=request.prompt_token_ids[by:] + request.prompt_token_ids[:by]
    )

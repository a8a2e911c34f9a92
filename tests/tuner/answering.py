"""Answers to canary prompts as an engine with half-precision logits gives them, and engines that answer otherwise."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from tuner.core.contract import Answered, LoadPlan, PlannedRequest

UNIT = 2.0**-5  # in the last place of logits between 4 and 8 in bfloat16
K = 5

type Change = Callable[[PlannedRequest, int, list[tuple[int, float]]], list[tuple[int, float]]]
"""(request, output position from 0, [(token, logit)] best first) -> the same as another engine has it."""


def right(_request: PlannedRequest, _position: int, choices: list[tuple[int, float]]) -> list[tuple[int, float]]:
    return choices


def answers(plan: LoadPlan, change: Change = right) -> list[Answered]:
    """Logits are multiples of UNIT, apart by 1 to 40 of them; they depend on the prompt and on what was generated before."""
    return [_answered(request, change) for request in plan.requests]


def _answered(request: PlannedRequest, change: Change) -> Answered:
    text: list[int] = []
    ids: list[tuple[int, ...]] = []
    logprobs: list[tuple[float, ...]] = []
    for position in range(request.max_tokens):
        rng = random.Random(f"{request.request_id}/{text}")
        logits = [8.0]
        for _ in range(K - 1):
            logits.append(logits[-1] - UNIT * rng.randint(1, 40))
        tokens = rng.sample(range(512), K)
        found = sorted(change(request, position, list(zip(tokens, logits, strict=True))), key=lambda item: -item[1])
        ids.append(tuple(token for token, _ in found))
        logprobs.append(tuple(logit - 9.5 for _, logit in found))
        text.append(found[0][0])
    return Answered(request.request_id, tuple(ids), tuple(logprobs))


def nudged(units: Sequence[int]) -> Change:
    """Every logit moved by one of `units` units in its last place, as rounding does in another batch."""

    def change(request: PlannedRequest, position: int, choices: list[tuple[int, float]]) -> list[tuple[int, float]]:
        rng = random.Random(f"{request.request_id}/{position}/{units}")
        return [(token, logit + UNIT * rng.choice(units)) for token, logit in choices]

    return change


def forgetful(share: float) -> Change:
    """As after a wrong KV write: in `share` of the prompts every choice is another one."""

    def change(request: PlannedRequest, position: int, choices: list[tuple[int, float]]) -> list[tuple[int, float]]:
        lost = random.Random(request.request_id).random() < share
        return [(token + 512, logit) for token, logit in choices] if lost else choices

    return change

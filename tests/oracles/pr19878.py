"""An independent transliteration of pull request 19878's scheduling step, both loops written out as there.

It shares no code with tuner.vllm_plugin.alignment and exists to judge it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Request:
    """`total`: tokens known now (prompt and output); `computed`: tokens in the KV cache."""

    name: str
    total: int
    computed: int = 0


def schedule_step(running: list[Request], waiting: list[Request], budget: int, page: int, max_running: int) -> dict[str, int]:
    """One step. Returns tokens by request name; admitted requests move from `waiting` to `running`. `computed` is not advanced."""
    scheduled: dict[str, int] = {}
    token_budget = budget
    index = 0
    while index < len(running) and token_budget > 0:
        request = running[index]
        num_new_tokens = min(request.total - request.computed, token_budget)
        if num_new_tokens != 1:
            if request.computed + num_new_tokens < request.total:
                num_new_tokens = num_new_tokens // page * page
            if (num_new_tokens + page - 1) // page * page > token_budget:
                break
        if num_new_tokens == 0:
            index += 1
            continue
        scheduled[request.name] = num_new_tokens
        token_budget -= 1 if num_new_tokens == 1 else (num_new_tokens + page - 1) // page * page
        index += 1
    while waiting and token_budget > 0 and len(running) < max_running:
        request = waiting[0]
        num_new_tokens = min(request.total - request.computed, token_budget)
        if num_new_tokens != 1:
            if request.computed + num_new_tokens < request.total:
                num_new_tokens = num_new_tokens // page * page
            if (num_new_tokens + page - 1) // page * page > token_budget:
                break
        if num_new_tokens == 0:
            break
        waiting.pop(0)
        running.append(request)
        scheduled[request.name] = num_new_tokens
        token_budget -= 1 if num_new_tokens == 1 else (num_new_tokens + page - 1) // page * page
    return scheduled

"""Requests that make an engine compile its step programs before a plan is sent. Pure.

Under HTTP the same plan is batched differently each time, so sending it once does not reach every program that it may need. The step
program is compiled for each padded number of tokens (powers of two from 16 up to the chunk budget, tpu_inference/runner/tpu_runner.py), so
one prompt of each such length, sent one after the other, reaches them all as far as one prompt can (max_model_len).
"""

from __future__ import annotations

import hashlib
from itertools import chain, islice

from tuner.core.contract import LoadPlan, PlannedRequest

SMALLEST_BUCKET = 16
OUTPUT_TOKENS = 2  # the second one is a decode


def warm_up_plan(plan: LoadPlan, max_num_batched_tokens: int, max_model_len: int) -> LoadPlan:
    """One request for each padded step size, its prompt made of the plan's own tokens, none with a front that another one cached."""
    longest = min(max_num_batched_tokens, max_model_len - OUTPUT_TOKENS)
    lengths, bucket = [longest], SMALLEST_BUCKET
    while bucket < longest:
        lengths.insert(-1, bucket)
        bucket *= 2
    stream = list(islice(chain.from_iterable(request.prompt_token_ids for request in plan.requests), longest))
    requests = []
    for index, length in enumerate(lengths):
        start = index % len(stream)
        turned = stream[start:] + stream[:start]
        prompt = tuple(turned[place % len(turned)] for place in range(length))
        requests.append(PlannedRequest(f"warm-up-{index}", prompt, OUTPUT_TOKENS))
    content = repr([request.prompt_token_ids for request in requests])
    return LoadPlan(tuple(requests), 1, hashlib.sha256(content.encode()).hexdigest())

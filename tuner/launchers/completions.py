"""Canary prompts over vLLM's HTTP API: /v1/completions with token ids and log-probabilities. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tuner.core.contract import Answered, Json, PlannedRequest
from tuner.core.errors import FailureClass, TrialFailed
from tuner.engine.stepping import CHOICES

_PLACEHOLDER = "token_id:"  # how the server names a token without a tokenizer


def completion_request(model: str, requests: Sequence[PlannedRequest]) -> Json:
    """For requests of one length of output."""
    return {
        "model": model,
        "prompt": [list(request.prompt_token_ids) for request in requests],
        "max_tokens": requests[0].max_tokens,
        "temperature": 0.0,
        "ignore_eos": True,
        "logprobs": CHOICES,
        "return_tokens_as_token_ids": True,
        "return_token_ids": True,
        "detokenize": False,
    }


def read_completion(body: Mapping[str, Any], requests: Sequence[PlannedRequest]) -> list[Answered]:
    """Raises TrialFailed (REQUEST_FAILED) for a response without tokens or log-probabilities."""
    try:
        choices = sorted(body["choices"], key=lambda choice: int(choice["index"]))
        return [_answered(request, choice["logprobs"]) for request, choice in zip(requests, choices, strict=True)]
    except (KeyError, TypeError, ValueError) as error:
        what = f"the server's completion cannot be read: {type(error).__name__}: {error}"
        raise TrialFailed(FailureClass.REQUEST_FAILED, what) from error


def _answered(request: PlannedRequest, logprobs: Mapping[str, Any]) -> Answered:
    """The generated token first, as in tuner.core.contract.Answered."""
    rows = [
        {token: float(value), **{other: float(found) for other, found in best.items()}}
        for token, value, best in zip(logprobs["tokens"], logprobs["token_logprobs"], logprobs["top_logprobs"], strict=True)
    ]
    return Answered(
        request.request_id,
        tuple(tuple(int(token.removeprefix(_PLACEHOLDER)) for token in row) for row in rows),
        tuple(tuple(row.values()) for row in rows),
    )

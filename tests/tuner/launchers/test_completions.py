"""What vLLM's completions say of canary prompts."""

from __future__ import annotations

from typing import Any

import pytest

from tuner.core.contract import Answered, PlannedRequest
from tuner.core.errors import FailureClass, TrialFailed
from tuner.launchers.completions import completion_request, read_completion

REQUESTS = [PlannedRequest("a", (1, 2), 2), PlannedRequest("b", (3,), 2)]


def choice(index: int, *rows: dict[str, float]) -> dict[str, Any]:
    tokens = [next(iter(row)) for row in rows]
    values = [next(iter(row.values())) for row in rows]
    return {"index": index, "text": "", "logprobs": {"tokens": tokens, "token_logprobs": values, "top_logprobs": list(rows)}}


def test_choices_are_read_in_the_order_of_the_prompts() -> None:
    second = choice(1, {"token_id:9": -0.5, "token_id:8": -1.5}, {"token_id:7": -0.25, "token_id:6": -2.0})
    first = choice(0, {"token_id:4": -0.125, "token_id:5": -3.0}, {"token_id:5": -0.5, "token_id:4": -1.0})
    assert read_completion({"choices": [second, first]}, REQUESTS) == [
        Answered("a", ((4, 5), (5, 4)), ((-0.125, -3.0), (-0.5, -1.0))),
        Answered("b", ((9, 8), (7, 6)), ((-0.5, -1.5), (-0.25, -2.0))),
    ]


def test_token_ids_go_out_and_no_text_is_asked_for() -> None:
    body = completion_request("m", REQUESTS)
    assert body["prompt"] == [[1, 2], [3]]
    assert (body["max_tokens"], body["ignore_eos"], body["detokenize"]) == (2, True, False)


@pytest.mark.parametrize(
    "body", [{}, {"choices": []}, {"choices": [choice(0, {"token_id:4": -1.0})]}, {"choices": [{"index": 0, "logprobs": None}] * 2}]
)
def test_a_response_without_log_probabilities_fails_the_request(body: dict[str, Any]) -> None:
    with pytest.raises(TrialFailed) as caught:
        read_completion(body, REQUESTS)
    assert caught.value.failure is FailureClass.REQUEST_FAILED

"""What a step computed: a prefill is told from a decode by where the request stands, not by how many tokens it got."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tuner.engine.stepping import Batch, batch_of


@dataclass
class Request:
    """A request after schedule(): `num_computed_tokens` has this step's tokens in it already."""

    num_prompt_tokens: int
    num_computed_tokens: int


@pytest.mark.parametrize(
    ("prompt", "computed_before", "tokens", "prefill"),
    [
        pytest.param(129, 128, 1, True, id="a chunked prompt's last token"),
        pytest.param(1, 0, 1, True, id="a prompt of one token"),
        pytest.param(65, 64, 1, True, id="a prefix-cache hit that leaves one token"),
        pytest.param(400, 128, 1, True, id="a middle chunk for which one token of the budget was left"),
        pytest.param(129, 0, 128, True, id="a first chunk"),
        pytest.param(129, 129, 1, False, id="the first decode"),
        pytest.param(1, 1, 1, False, id="the first decode behind a prompt of one token"),
        pytest.param(129, 150, 1, False, id="a later decode"),
        pytest.param(100, 0, 110, True, id="preempted after 10 output tokens and resumed: prompt and output again"),
        pytest.param(100, 100, 10, True, id="resumed with its whole prompt in the prefix cache: the output again"),
        pytest.param(100, 99, 1, True, id="resumed, one prompt token left"),
        pytest.param(100, 110, 1, False, id="resumed and decoding again"),
    ],
)
def test_a_segment_is_a_prefill_as_long_as_it_computes_what_is_known(prompt: int, computed_before: int, tokens: int, prefill: bool) -> None:
    batch = batch_of({"r": tokens}, {"r": Request(prompt, computed_before + tokens)})
    assert batch == Batch(tokens, tokens if prefill else 0, int(prefill), int(not prefill))


def test_a_mixed_step_counts_each_request_once() -> None:
    requests = {"tail": Request(129, 129), "decode": Request(10, 14), "chunk": Request(300, 64), "waits": Request(50, 0)}
    batch = batch_of({"tail": 1, "decode": 1, "chunk": 64}, requests)
    assert batch == Batch(scheduled_tokens=66, prefill_tokens=65, prefill_requests=2, decode_requests=1)

from __future__ import annotations

from itertools import takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.quick import examples
from tuner.core.contract import PlannedRequest
from tuner.workload.features import block_keys, infinite_cache_hit_rate, plan_features, shared_prefix_fraction

_PROMPTS = st.lists(st.text("ab", min_size=1, max_size=6), min_size=1, max_size=8)


@examples(100)
@given(texts=_PROMPTS)
def test_the_shared_prefix_fraction_equals_comparing_every_pair(texts: list[str]) -> None:
    def common(left: str, right: str) -> int:
        return len(list(takewhile(lambda pair: pair[0] == pair[1], zip(left, right, strict=False))))

    best = [max((common(text, other) for j, other in enumerate(texts) if j != i), default=0) for i, text in enumerate(texts)]
    prompts = [[ord(letter) for letter in text] for text in texts]
    assert shared_prefix_fraction(prompts) == pytest.approx(sum(best) / sum(map(len, texts)))


@examples(100)
@given(texts=_PROMPTS, block=st.integers(1, 4))
def test_block_keys_are_equal_exactly_where_the_prefixes_are(texts: list[str], block: int) -> None:
    prefixes: dict[bytes, str] = {}
    for text in texts:
        keys = list(block_keys([ord(letter) for letter in text], block))
        assert len(keys) == -(-len(text) // block)
        for index, key in enumerate(keys):
            assert prefixes.setdefault(key, text[: (index + 1) * block]) == text[: (index + 1) * block]
    assert len(set(prefixes.values())) == len(prefixes)


def test_hit_rate_counts_only_what_an_earlier_request_brought() -> None:
    assert infinite_cache_hit_rate([[1, 2, 3], [1, 2, 4], [5, 5]]) == pytest.approx(2 / 8)
    assert infinite_cache_hit_rate([]) == 0.0


def test_features_of_a_plan() -> None:
    requests = (PlannedRequest("a", (1, 2, 3, 4), 2, 0.0), PlannedRequest("b", (1, 2, 5, 6), 4, 2.0))
    features = plan_features(requests, None)
    assert features["requests"] == 2
    assert (features["input_tokens"], features["output_tokens"]) == (8, 6)
    assert features["output_quantiles"]["p50"] == 3.0
    assert features["prefix_share"] == 0.5
    assert features["offered_rate"] == 1.0
    assert "offered_rate" not in plan_features(requests, 4)

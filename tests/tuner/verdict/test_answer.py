"""The one form of an answer: what was stored comes back unchanged, and what an older version stored is completed."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from tests.service.builders import BODY
from tests.storage.builders import a_recommendation
from tests.tuner.evidence_builder import StudyBuilder
from tuner.cli.verdicts import print_answer
from tuner.metrics.objective import parse_objectives
from tuner.verdict.answer import Answer, Standing, answer_of
from tuner.verdict.recommend import recommend


def test_a_stored_body_comes_back_as_it_was() -> None:
    builder = StudyBuilder()
    builder.cell(32, 256, 1000.0, 1.10)
    stored = recommend(builder.evidence(), parse_objectives("throughput"), ())
    body = json.loads(json.dumps(stored.body))
    assert answer_of(stored).body() == {**body, "config": {"model": stored.model, **body["config"]}}
    newer = {**BODY, "settings": {"arm": "default", "prefix_caching": True}, "of_a_newer_version": [1]}
    assert answer_of(a_recommendation(1, body=newer)).body() == newer


def test_what_an_older_version_stored_lacks_is_empty(capsys: pytest.CaptureFixture[str]) -> None:
    """`tuner recommend` ended in a KeyError."""
    answer = answer_of(a_recommendation(1, body={"reason": "the best"}))
    assert (answer.status, answer.config, answer.vllm_args, answer.place) == ("recommended", {"model": "tiny-qwen3"}, [], None)
    assert answer.match == {"kind": "exact", "distance": 0.0} and answer.stale == {"stale": False, "reasons": []}
    print_answer(answer)
    assert capsys.readouterr().out == "recommendation: recommended - the best\n  vllm serve tiny-qwen3\n"


def test_the_columns_decide_over_the_body() -> None:
    answer = answer_of(a_recommendation(1, status="none", body={**BODY, "status": "recommended", "id": 99}, created_at=3.0))
    assert (answer.status, answer.id, answer.created_at) == ("none", 0, 3.0)
    assert not {"id", "created_at", "published_at", "withdrawn_at"} & answer.body().keys()


def test_its_standing_travels_with_it_and_is_no_part_of_the_json() -> None:
    answer = Answer.of_body(BODY)
    judged = answer.under(Standing(same=True, notes=("kept",)))
    assert judged.changed(reason="other").standing == Standing(same=True, notes=("kept",)) and answer.standing is None
    assert judged.to_json() == answer.to_json()


def test_what_is_no_answer_is_refused() -> None:
    with pytest.raises(ValidationError, match="status"):
        Answer.of_body({**BODY, "status": "perhaps"})


def test_the_words_of_an_earlier_version_neither_deny_its_settings_nor_have_exponents() -> None:
    settings = {"arm": "page_aligned", "block_size": 32, "max_num_batched_tokens": 2048, "page_aligned": True}
    reason = "total_token_throughput 1.234e+04 tokens/s, 1.2 % behind the best (1.249e+04): a tie, which vLLM's own defaults win"
    aligned = answer_of(a_recommendation(1, body={**BODY, "settings": settings, "reason": reason}))
    assert aligned.reason.startswith("total_token_throughput 12,340 tokens/s, 1.2 % behind the best (12,490): ")
    assert aligned.reason.endswith("a tie, which vLLM's own page size and chunk budget win")
    default = answer_of(a_recommendation(1, body={**BODY, "settings": {**settings, "page_aligned": False}, "reason": reason}))
    assert default.reason.endswith("a tie, which vLLM's own defaults win")

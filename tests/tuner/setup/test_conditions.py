"""Conditions of factors: what is read, what is left of the space, and what is refused in one line."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tuner.workbench import config_of
from tuner.core.errors import BadInput
from tuner.core.factors import Level
from tuner.setup.conditions import parse_condition
from tuner.setup.config import StudyConfig
from tuner.setup.space import Configuration, SearchSpace, build_space
from tuner.setup.vllm_defaults import VllmDefaults

OWN: dict[str, Level] = {"max_num_seqs": 256, "long_prefill_token_threshold": 0, "kv_cache_dtype": "auto"}
LEVELS: dict[str, Level] = {
    "block_size": 64,
    "max_num_batched_tokens": 256,
    "arm": "default",
    "kv_cache_dtype": "fp8",
    "env:SWITCH": "1",
    "on": True,
}


def space_of(**changes: Any) -> SearchSpace:
    return build_space(config_of(**changes), VllmDefaults(16, 256), OWN)


@pytest.mark.parametrize(
    ("text", "holds", "said"),
    [
        ("page_size<=64", True, "page_size <= 64"),
        ("block_size > 64", False, "page_size > 64"),
        ("page_size in 16,32", False, "page_size in (16, 32)"),
        ("chunk-budget in [128, 256] and page_size==64.0", True, "chunk_budget in (128, 256) and page_size == 64.0"),
        ("page_alignment != page_aligned", True, "page_alignment != page_aligned"),
        ("kv_cache_dtype == 'fp8' and  env:SWITCH==1", True, "kv_cache_dtype == fp8 and env:SWITCH == 1"),
        ("kv_cache_dtype >= 1", False, "kv_cache_dtype >= 1"),  # a word is not ordered
        ("on == true", True, "on == true"),
        ("on == 1", False, "on == 1"),
        ("kv_cache_dtype == '8'", False, "kv_cache_dtype == '8'"),
    ],
)
def test_what_a_condition_says(text: str, holds: bool, said: str) -> None:
    found = parse_condition(text)
    assert found.holds(LEVELS) is holds and str(found) == said
    assert parse_condition(said) == found, "what is printed is read back the same"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "page_size",
        "page_size <=",
        "page_size = 64",
        "page_size <= 64 or on == 1",
        "page_size <= auto",
        "<= 64",
        "a < 1 < 2",
        "a in (1, (2))",
        "a == __import__('os')",
        "a == b c",
        "page_size <= 64 and",
        "a == 1;",
        "a == " + "9" * 600,
    ],
)
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"write|compares|characters"):
        parse_condition(text)


def test_an_inactive_factor_has_vllms_own_level_once() -> None:
    space = space_of(factors={"long_prefill_token_threshold": "64,128 when page_size<=16"}, arms=["default"])
    assert [
        (item.block_size, item.max_num_batched_tokens, dict(item.factors)["long_prefill_token_threshold"]) for item in space.configurations
    ] == [
        *((16, budget, level) for level in (64, 128) for budget in (256, 128)),
        *((32, budget, 0) for budget in (256, 128)),
    ]
    assert space.factors == {"long_prefill_token_threshold": (0, 64, 128)}, "what a sampler may draw"
    drawn = Configuration(32, 128, "default", (("long_prefill_token_threshold", 64),))
    assert drawn not in space and space.canonical(drawn) in space, "the same in effect, under the spelling that is measured"


def test_conditions_may_look_at_factors_that_have_some() -> None:
    factors = {
        "kv_cache_dtype": "auto,fp8 when long_prefill_token_threshold>=64",
        "long_prefill_token_threshold": "0,64 when page_size==32",
    }
    space = space_of(factors=factors, arms=["default"], chunk_budgets=[256])
    found = {(item.block_size, *(level for _, level in item.factors)) for item in space.configurations}
    assert found == {(16, "auto", 0), (32, "auto", 0), (32, "auto", 64), (32, "fp8", 64)} and len(space.configurations) == 4


def test_a_mapping_in_a_file_is_the_same_as_the_text() -> None:
    beside = config_of(factors={"max_num_seqs": {"levels": [8, 16], "when": "page_size <= 64"}})
    behind = config_of(factors={"max_num_seqs": "8,16 when page_size <= 64"})
    assert beside == behind and beside.when == {"max_num_seqs": "page_size <= 64"}
    assert StudyConfig.model_validate({**behind.to_json(), "storage": behind.storage}) == behind, "as it is stored"
    assert "when" not in config_of(factors={"max_num_seqs": "8,16"}).to_json(), "studies without any are stored as before"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"factors": {"max_num_seqs": "8,16 when page_size<=8"}},
            "max_num_seqs when page_size <= 8: no configuration meets it (page_size is 16,32)",
        ),
        ({"factors": {"max_num_seqs": "8,16 when page_size<=16 and page_size>=32"}}, "no configuration meets it"),
        ({"factors": {"max_num_seqs": "8,16 when page_siz<=8"}}, "page_siz is not searched; did you mean page_size?"),
        ({"factors": {"max_num_seqs": "8,16 when max_num_seqs>=8"}}, "the conditions of max_num_seqs look at each other or at themselves"),
        (
            {"factors": {"max_num_seqs": "8 when kv_cache_dtype==auto", "kv_cache_dtype": "auto when max_num_seqs==8"}},
            "the conditions of max_num_seqs, kv_cache_dtype look at each other",
        ),
        ({"factors": {"max_num_seqs": "8,16 when page_size"}}, "max_num_seqs when: 'page_size' is no comparison; write for instance"),
        ({"factors": {"max_num_seqs": "8"}, "when": {"kv_cache_dtype": "page_size<=8"}}, "kv_cache_dtype has a condition and no levels"),
        (
            {"factors": {"max_num_seqs": "8,16 when chunk_budget>=256"}},
            "chunk_budget 128 is left without a configuration by the conditions (where inactive: max_num_seqs 256)",
        ),
        (
            {"factors": {"kv_cache_dtype": "fp8 when page_size<=16"}, "compare": "kv_cache_dtype"},
            "compare kv_cache_dtype has one level, fp8",
        ),
        (
            {"factors": {"max_num_seqs": "8,16", "kv_cache_dtype": "fp8 when max_num_seqs==16"}, "compare": "max_num_seqs"},
            "no cell has max_num_seqs 8 and another level under these conditions",
        ),
    ],
)
def test_what_cannot_be_meant_is_told_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput) as found:
        space_of(**changes)
    assert message in str(found.value) and "\n" not in str(found.value)

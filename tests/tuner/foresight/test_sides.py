"""What may be changed on the other side, and what is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tuner.foresight.questions import ONE_LAYER
from tuner.core.errors import BadInput
from tuner.foresight.sides import changes, side_of

BLOCKS = "RPA_V3_DECODE_BLOCK_SIZES"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "config.json"
    path.write_text(json.dumps(ONE_LAYER))
    return {"model": str(path), "accelerator": "v6e-1", "page_size": 64, "chunk_budget": 128, "layers": 1, "max_num_seqs": 16}


def test_the_other_side_is_the_first_with_one_change(settings: dict[str, Any]) -> None:
    one, other = side_of(settings), side_of({**settings, **changes(["page_size=16"])})
    assert (one.question.engine.block_size, other.question.engine.block_size) == (64, 16)
    assert one.question.engine == other.question.engine.with_changes(block_size=64)
    assert (one.tokens, one.environment, one.question.engine_args["hf_overrides"]) == (128, {}, {"num_hidden_layers": 1})
    assert one.key({}) != other.key({})


def test_block_sizes_are_the_engines_environment_and_part_of_the_key(settings: dict[str, Any]) -> None:
    side = side_of({**settings, **changes([f"{BLOCKS}= 1, 2048,1,512", "tokens=16"])})
    assert (side.environment, side.tokens) == ({BLOCKS: "1,2048,1,512"}, 16)
    known = {"versions": {}, "environment": {BLOCKS: "1,4096,1,4096"}}
    plain = side_of({**settings, "tokens": 16})
    assert side.key(known)["environment"] == {BLOCKS: "1,2048,1,512"}
    assert plain.key(known)["environment"] == {BLOCKS: "1,4096,1,4096"}


def test_overrides_of_the_user_are_kept(settings: dict[str, Any]) -> None:
    side = side_of({**settings, "layers": 2, "engine_args": {"hf_overrides": {"rope_theta": 5.0}}, "kv_cache_dtype": "fp8"})
    assert side.question.engine_args["hf_overrides"] == {"rope_theta": 5.0, "num_hidden_layers": 2}
    assert side.question.engine_args["kv_cache_dtype"] == "fp8"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["page_size"], "--against: 'page_size': write KEY=VALUE, for instance page_size=16"),
        (["page_size="], "--against: 'page_size=': write KEY=VALUE"),
        (["pagesize=16"], "--against pagesize cannot be changed; did you mean page_size?"),
        (["model=other"], "--against model cannot be changed; use one of page_size, chunk_budget"),
        (["page_size=16", "page_size=32"], "--against: page_size is given twice; keep one"),
        (["page_size=x"], "--against page_size 'x' is not a whole number above 0"),
        (["tokens=0"], "--against tokens '0' is not a whole number above 0"),
        ([f"{BLOCKS}=1,2,3"], f"{BLOCKS} '1,2,3' must be bq,bkv,bq compute,bkv compute in tokens; for instance 1,2048,1,512"),
        ([f"{BLOCKS}=1,0,1,1"], f"{BLOCKS} '1,0,1,1' must be"),
    ],
)
def test_what_cannot_be_changed_is_refused(given: list[str], words: str) -> None:
    with pytest.raises(BadInput) as refused:
        changes(given)
    assert str(refused.value).startswith(words)

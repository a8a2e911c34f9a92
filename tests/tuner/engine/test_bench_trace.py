from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.engine import bench_trace

REQUESTS = [
    {"prompt": [5, 900, 5], "max_tokens": 4, "arrival_s": 0.0},
    {"prompt": [17], "max_tokens": 1, "arrival_s": 0.5},
]


@given(st.sets(st.integers(0, 200_000), min_size=1, max_size=60))
def test_every_token_has_a_hash_id_that_draws_it(tokens: set[int]) -> None:
    vocabulary = sorted(tokens)
    for token, number in bench_trace.hash_ids(vocabulary).items():
        drawn = random.Random(hash(f"{number}:1") & 0xFFFFFFFF).choices(vocabulary, k=1)  # as TimedTrace._sample_token does
        assert drawn == [token]
    assert bench_trace.hash_ids(vocabulary).keys() == tokens


def test_a_token_that_is_never_drawn_is_an_error_and_no_endless_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "Random", lambda seed: random._inst)
    monkeypatch.setattr(random._inst, "choices", lambda population, k: [population[0]])
    with pytest.raises(RuntimeError, match="no trace entry draws token 9"):
        bench_trace.hash_ids([3, 9])


def test_the_trace_says_length_arrival_and_one_hash_id_a_token(tmp_path: Path) -> None:
    bench_trace.write_trace(REQUESTS, tmp_path)
    first, second = [json.loads(line) for line in (tmp_path / bench_trace.TRACE_FILE).read_text().splitlines()]
    assert (first["input_length"], first["output_length"], first["timestamp"]) == (3, 4, 0.0)
    assert first["hash_ids"][0] == first["hash_ids"][2] != first["hash_ids"][1]
    assert second["timestamp"] == 0.5
    vocabulary = json.loads((tmp_path / bench_trace.TOKENIZER_FOLDER / "tokenizer.json").read_text())["model"]["vocab"]
    assert sorted(vocabulary.values()) == [5, 17, 900]


@pytest.mark.parametrize("changed", [True, False])
def test_a_vllm_that_would_send_something_else_is_found_out_before_anything_is_sent(
    changed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps(REQUESTS))
    read: list[dict[str, Any]] = [{**REQUESTS[0], "prompt": [5, 901, 5]}, REQUESTS[1]] if changed else list(REQUESTS)
    monkeypatch.setattr(bench_trace, "read_back", lambda folder, count: read)
    monkeypatch.setattr(sys, "argv", ["bench_trace", str(plan), str(tmp_path)])
    if changed:
        with pytest.raises(SystemExit, match="would not send the requests of the plan"):
            bench_trace.main()
    else:
        bench_trace.main()

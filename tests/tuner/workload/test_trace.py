from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.quick import examples
from tests.shared_data import shared_data
from tuner.core.errors import BadInput
from tuner.workload.features import block_keys, infinite_cache_hit_rate
from tuner.workload.prompts import block_prompts
from tuner.workload.sources import AzureSource, LengthsSource, MooncakeSource
from tuner.workload.trace import MOONCAKE_BLOCK_TOKENS, RecordedRequest, candidates, fitting, read_source

AZURE = "traces/azure_llm_2023/AzureLLMInferenceTrace_code.csv"
MOONCAKE = "traces/mooncake_fast25/conversation_trace.jsonl"


def test_the_real_azure_trace() -> None:
    requests = read_source(AzureSource(path=str(shared_data(AZURE))))
    assert len(requests) == 8819
    assert (requests[0].arrival_s, requests[0].input_tokens, requests[0].output_tokens) == (0.0, 4808, 10)
    assert requests[1].arrival_s == pytest.approx(0.052, abs=1e-6)
    assert requests[-1].arrival_s == pytest.approx(57 * 60 + 15.948056, abs=1e-3)
    assert all(request.block_ids == () for request in requests)


def test_the_real_mooncake_trace_hits_36_6_percent() -> None:
    requests = read_source(MooncakeSource(path=str(shared_data(MOONCAKE))))
    assert len(requests) == 12031
    assert infinite_cache_hit_rate(request.block_ids for request in requests) == pytest.approx(0.366, abs=0.0005)


@pytest.mark.slow
def test_replayed_mooncake_tokens_hit_as_often_as_their_hash_ids() -> None:
    source = MooncakeSource(path=str(shared_data(MOONCAKE)), max_requests=300)
    requests = fitting(candidates(read_source(source), source), source, max_model_len=8192)
    prompts = block_prompts(
        [request.input_tokens for request in requests], [request.block_ids for request in requests], MOONCAKE_BLOCK_TOKENS, 32_000, seed=0
    )
    from_tokens = infinite_cache_hit_rate(block_keys(prompt.tolist(), MOONCAKE_BLOCK_TOKENS) for prompt in prompts)
    assert len(requests) > 100
    assert from_tokens == infinite_cache_hit_rate(request.block_ids for request in requests) > 0.15


REQUESTS = [RecordedRequest(float(second), 100 * (second + 1), 10 * (second + 1)) for second in range(6)]


def test_candidates_apply_duration_before_scaling_and_then_count() -> None:
    source = AzureSource(path="x", max_duration_s=4.0, time_scale=0.5, max_requests=3)
    assert [request.arrival_s for request in candidates(REQUESTS, source)] == [0.0, 0.5, 1.0]
    assert len(candidates(REQUESTS, source.model_copy(update={"max_requests": None}))) == 5


def test_too_long_is_skipped_or_clipped_and_what_the_engine_cannot_hold_is_always_skipped() -> None:
    skip = LengthsSource(path="x", max_input_tokens=300, max_output_tokens=20)
    assert [(r.input_tokens, r.output_tokens) for r in fitting(REQUESTS, skip, 10_000)] == [(100, 10), (200, 20)]
    clip = skip.model_copy(update={"too_long": "clip"})
    assert [(r.input_tokens, r.output_tokens) for r in fitting(REQUESTS, clip, 10_000)] == [(100, 10), (200, 20), *[(300, 20)] * 4]
    assert [(r.input_tokens, r.output_tokens) for r in fitting(REQUESTS, clip, 319)] == [(100, 10), (200, 20)]
    assert fitting(REQUESTS, LengthsSource(path="x"), 110) == REQUESTS[:1]


@examples(50)
@given(
    rows=st.lists(st.tuples(st.integers(0, 10**7), st.integers(1, 2000), st.integers(1, 500)), min_size=1, max_size=20),
)
def test_mooncake_round_trip_in_order_of_arrival(rows: list[tuple[int, int, int]], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("trace") / "trace.jsonl"
    lines = [
        {"timestamp": at_ms, "input_length": length, "output_length": output, "hash_ids": list(range(-(-length // 512)))}
        for at_ms, length, output in rows
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    requests = read_source(MooncakeSource(path=str(path)))
    first = min(row[0] for row in rows)
    in_order = sorted(rows, key=lambda row: row[0])
    assert [(r.input_tokens, r.output_tokens) for r in requests] == [row[1:] for row in in_order]
    assert [r.arrival_s for r in requests] == pytest.approx([(row[0] - first) / 1000 for row in in_order])


@pytest.mark.parametrize("name", ["lengths.csv", "lengths.jsonl"])
def test_lengths_files(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith(".csv"):
        path.write_text("output_length,input_length\n5,17\n6,18\n")
    else:
        path.write_text('{"input_length": 17, "output_length": 5}\n\n{"input_length": 18, "output_length": 6}\n')
    assert read_source(LengthsSource(path=str(path))) == [RecordedRequest(0.0, 17, 5), RecordedRequest(0.0, 18, 6)]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("[1]", "expected a JSON object, found list"),
        ("{", "not a JSON object per line"),
        ('{"timestamp": 0, "input_length": 5, "hash_ids": [1]}', "output_length: is missing; add it"),
        ('{"timestamp": 0, "input_length": 0, "output_length": 1, "hash_ids": [1]}', "input_length 0 is no whole number"),
        ('{"timestamp": 0, "input_length": 1.5, "output_length": 1, "hash_ids": [1]}', "input_length 1.5 is no"),
        ('{"timestamp": 0, "input_length": true, "output_length": 1, "hash_ids": [1]}', "input_length True is no"),
        ('{"timestamp": NaN, "input_length": 5, "output_length": 1, "hash_ids": [1]}', "timestamp nan is no number"),
        ('{"timestamp": 0, "timestamp": 1, "input_length": 5, "output_length": 1, "hash_ids": [1]}', "'timestamp' is there twice"),
        ('{"timestamp": 0, "input_length": 513, "output_length": 1, "hash_ids": [1]}', "needs 2 of 512 tokens"),
        ('{"timestamp": 0, "input_length": 5, "output_length": 1, "hash_ids": [-1]}', "hash_ids: is no list"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, line: str, complaint: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text("\n" + line + "\n")
    with pytest.raises(BadInput, match=complaint) as caught:
        read_source(MooncakeSource(path=str(path)))
    assert f"{path}:2: " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"TIMESTAMP,ContextTokens,GeneratedTokens\nyesterday,1,2\n", "TIMESTAMP 'yesterday' is not a time"),
        (b"TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03,many,2\n", "ContextTokens 'many' is no"),
        (b"TIMESTAMP,ContextTokens\n2023-11-16 18:17:03,1\n", "GeneratedTokens: is missing"),
        (b"TIMESTAMP,ContextTokens,GeneratedTokens,ContextTokens\n", "bad.csv:1: the column ContextTokens is there twice"),
        (b"\xff\xfe\x00", "not UTF-8"),
    ],
)
def test_bad_azure_files_are_named(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=complaint):
        read_source(AzureSource(path=str(path)))


@examples(60)
@given(content=st.binary(max_size=80))
def test_any_bytes_are_read_or_refused(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.jsonl"
    path.write_bytes(content)
    for source in (LengthsSource(path=str(path)), MooncakeSource(path=str(path)), AzureSource(path=str(path))):
        requests = []
        with contextlib.suppress(BadInput):
            requests = read_source(source)
        assert all(request.input_tokens >= 1 and request.output_tokens >= 1 for request in requests)


def test_missing_file_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read: No such file"):
        read_source(LengthsSource(path=str(tmp_path / "none.csv")))

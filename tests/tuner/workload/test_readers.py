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
from tuner.workload.readers import read_recording
from tuner.workload.sources import (
    AzureSource,
    BailianSource,
    BurstGptSource,
    ColumnsSource,
    ConversationsSource,
    FileSource,
    LengthsSource,
    MooncakeSource,
)
from tuner.workload.trace import RecordedRequest, candidates, fitting

AZURE = "traces/azure_llm_2023/AzureLLMInferenceTrace_code.csv"
MOONCAKE = "traces/mooncake_fast25/conversation_trace.jsonl"


def read_source(source: FileSource) -> list[RecordedRequest]:
    return list(read_recording(source).requests)


@pytest.mark.slow
def test_the_real_azure_trace() -> None:
    requests = read_source(AzureSource(path=str(shared_data(AZURE))))
    assert len(requests) == 8819
    assert (requests[0].arrival_s, requests[0].input_tokens, requests[0].output_tokens) == (0.0, 4808, 10)
    assert requests[1].arrival_s == pytest.approx(0.052, abs=1e-6)
    assert requests[-1].arrival_s == pytest.approx(57 * 60 + 15.948056, abs=1e-3)
    assert all(request.block_ids == () for request in requests)


@pytest.mark.slow
def test_the_real_mooncake_trace_hits_36_6_percent() -> None:
    requests = read_source(MooncakeSource(path=str(shared_data(MOONCAKE))))
    assert len(requests) == 12031
    assert infinite_cache_hit_rate(request.block_ids for request in requests) == pytest.approx(0.366, abs=0.0005)


@pytest.mark.slow
def test_replayed_mooncake_tokens_hit_as_often_as_their_hash_ids() -> None:
    source = MooncakeSource(path=str(shared_data(MOONCAKE)), max_requests=300)
    requests = fitting(candidates(read_source(source), source), source, max_model_len=8192)
    prompts = block_prompts(
        [request.input_tokens for request in requests], [request.block_ids for request in requests], 512, 32_000, seed=0
    )
    from_tokens = infinite_cache_hit_rate(block_keys(prompt.tolist(), 512) for prompt in prompts)
    assert len(requests) > 100
    assert from_tokens == infinite_cache_hit_rate(request.block_ids for request in requests) > 0.15


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


def test_times_with_an_offset_are_not_moved_to_utc_by_dropping_it(tmp_path: Path) -> None:
    path = tmp_path / "zones.csv"
    stamps = ["2023-11-16 12:00:00+02:00", "2023-11-16T10:00:01Z", "2023-11-16 10:00:02", "2023-11-16 05:00:03-05:00"]
    path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n" + "".join(f"{stamp},{index + 1},1\n" for index, stamp in enumerate(stamps)))
    requests = read_source(AzureSource(path=str(path)))
    assert [(request.input_tokens, request.arrival_s) for request in requests] == [(1, 0.0), (2, 1.0), (3, 2.0), (4, 3.0)]


def _block_trace(path: Path, count: int, step: float, block: int) -> str:
    rows = [
        {"timestamp": n * step, "input_length": 700, "output_length": 5, "hash_ids": list(range(-(-700 // block)))} for n in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize(
    ("count", "step", "block", "words"),
    [
        (100, 1, 512, "timestamp: 100 requests within 0.099 s, .*they look like seconds; set time_unit: s"),
        (100, 0.25, 512, "they look like seconds"),
        (40, 2.0, 512, "they look like seconds"),
        (3, 1000, 16, "hash_ids: 44 ids, but input_length 700 needs 2 of 512 tokens each; set block_tokens: 16 if"),
        (3, 1000, 64, "set block_tokens: 64 if"),
        (3, 1000, 100, "set block_tokens to the tokens of one id"),
    ],
)
def test_what_only_looks_like_a_mooncake_trace_is_refused(tmp_path: Path, count: int, step: float, block: int, words: str) -> None:
    """Seconds and blocks of 16 tokens were accepted: a prefix share of 17 % became one of 99.9 %."""
    with pytest.raises(BadInput, match=words):
        read_source(MooncakeSource(path=_block_trace(tmp_path / "t.jsonl", count, step, block)))


def test_a_block_trace_that_says_what_it_is_goes_in(tmp_path: Path) -> None:
    path = _block_trace(tmp_path / "t.jsonl", 100, 1, 16)
    for source in (MooncakeSource(path=path, time_unit="s", block_tokens=16), BailianSource(path=path)):
        requests = read_source(source)
        assert requests[-1].arrival_s == 99.0 and len(requests[0].block_ids) == 44
    assert read_source(MooncakeSource(path=path, time_unit="ms", block_tokens=16))[-1].arrival_s == pytest.approx(0.099)


def test_the_traces_of_bailian_and_burstgpt(tmp_path: Path) -> None:
    bailian = tmp_path / "qwen_traceA_blksz_16.jsonl"
    bailian.write_text(
        '{"chat_id": 159, "parent_chat_id": -1, "timestamp": 61.114, "input_length": 30, "output_length": 53, "type": "text", "turn": 1, '
        '"hash_ids": [1089, 1090]}\n'
    )
    assert read_source(BailianSource(path=str(bailian))) == [RecordedRequest(0.0, 30, 53, (1089, 1090))]
    burst = tmp_path / "BurstGPT_1.csv"
    burst.write_text(
        "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,ChatGPT,472,18,490,Conversation log\n"
        "45,ChatGPT,1087,0,1087,API log\n118,GPT-4,417,276,693,Conversation log\n"
    )
    recording = read_recording(BurstGptSource(path=str(burst)))
    assert recording.requests == (RecordedRequest(0.0, 472, 18), RecordedRequest(113.0, 417, 276)) and recording.failed == 1


CONVERSATION = [{"from": "human", "value": "x" * 40}, {"from": "gpt", "value": "y" * 10}, {"from": "human", "value": "z"}]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", json.dumps([{"id": "1", "conversations": CONVERSATION}])),
        ("a.jsonl", json.dumps({"conversations": CONVERSATION})),
        ("b.jsonl", json.dumps({"messages": [{"role": "user", "content": "x" * 40}, {"role": "assistant", "content": "y" * 10}]})),
    ],
)
def test_conversations_as_sharegpt_and_openai_write_them(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_source(ConversationsSource(path=str(tmp_path / name))) == [RecordedRequest(0.0, 10, 2)]
    assert read_source(ConversationsSource(path=str(tmp_path / name), chars_per_token=2)) == [RecordedRequest(0.0, 20, 5)]


@pytest.mark.parametrize(
    ("name", "text", "more"),
    [
        ("a.csv", "when,p,d\n3,10,1\n4.5,20,2\n", {"time": "when"}),
        ("a.tsv", "when\tp\td\n3\t10\t1\n4.5\t20\t2\n", {"time": "when"}),
        ("a.jsonl", '{"when": 3000, "p": 10, "d": 1}\n{"when": 4500, "p": 20, "d": 2}\n', {"time": "when", "time_unit": "ms"}),
        (
            "a.json",
            '[{"when": "2026-01-01T00:00:03", "p": 10, "d": 1}, {"when": "2026-01-01T01:00:04.5+01:00", "p": 20, "d": 2}]',
            {"time": "when", "time_unit": "iso"},
        ),
    ],
)
def test_any_file_by_the_names_of_its_columns(tmp_path: Path, name: str, text: str, more: dict[str, str]) -> None:
    (tmp_path / name).write_text(text)
    source = ColumnsSource.model_validate({"path": str(tmp_path / name), "input": "p", "output": "d", **more})
    assert read_source(source) == [RecordedRequest(0.0, 10, 1), RecordedRequest(1.5, 20, 2)]
    without = ColumnsSource(path=str(tmp_path / name), input="p", output="d")
    assert [request.arrival_s for request in read_source(without)] == [0.0, 0.0]


@pytest.mark.parametrize("name", ["l.csv", "l.jsonl"])
def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path, name: str) -> None:
    text = "input_length,output_length\n5,6\n" if name == "l.csv" else '{"input_length": 5, "output_length": 6}\n'
    (tmp_path / name).write_text("\ufeff" + text)
    assert read_source(LengthsSource(path=str(tmp_path / name))) == [RecordedRequest(0.0, 5, 6)]


@pytest.mark.parametrize(
    "bad", ["{", "[1]", '{"input_length": 0, "output_length": 1}', '{"input_length": 3}', '{"input_length": 3, "input_length": 3}']
)
def test_a_bad_row_is_left_out_and_counted_where_that_is_asked_for(tmp_path: Path, bad: str) -> None:
    good = '{"input_length": 5, "output_length": 6}'
    (tmp_path / "l.jsonl").write_text("\n".join([good, bad, good, good]))
    with pytest.raises(BadInput, match=r"l\.jsonl:2"):
        read_source(LengthsSource(path=str(tmp_path / "l.jsonl")))
    recording = read_recording(LengthsSource(path=str(tmp_path / "l.jsonl"), bad_rows="skip"))
    assert (len(recording.requests), recording.bad_rows) == (3, 1)


def test_a_file_of_which_most_rows_are_bad_is_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "l.jsonl").write_text('{"input_length": 5, "output_length": 6}\n' + '{"prompt": 1}\n' * 9)
    with pytest.raises(BadInput, match="9 of 10 rows are bad; is it of another kind"):
        read_recording(LengthsSource(path=str(tmp_path / "l.jsonl"), bad_rows="skip"))


def test_the_first_requests_of_a_long_file_are_those_that_arrive_first(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("at,p,d\n" + "".join(f"{(7 * n) % 1000},{n + 1},1\n" for n in range(1000)))
    whole = read_source(ColumnsSource(path=str(path), input="p", output="d", time="at"))
    some = read_source(ColumnsSource(path=str(path), input="p", output="d", time="at", max_requests=30))
    assert some == whole[:30] and [request.arrival_s for request in some] == [float(n) for n in range(30)]


def test_a_file_is_read_again_only_when_it_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    path.write_text("input_length,output_length\n5,6\n")
    source = LengthsSource(path=str(path))
    assert read_recording(source) is read_recording(source)
    path.write_text("input_length,output_length\n5,6\n7,8\n")
    assert len(read_recording(source).requests) == 2

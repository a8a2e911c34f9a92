from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.quick import examples
from tests.shared_data import shared_data
from tuner.core.contract import PlannedRequest
from tuner.core.errors import BadInput
from tuner.workload.builtin import BUILTIN
from tuner.workload.sources import SyntheticSource
from tuner.workload.spec import WorkloadSpec, content_hash

INLINE = "synthetic:input=64-256,output=16-64,requests=32,concurrency=8,prefix_share=0.3,seed=1"


def test_demo_is_small_and_mixed() -> None:
    plan = WorkloadSpec.parse("demo").plan(vocab_size=1000, max_model_len=512)
    inputs = [len(request.prompt_token_ids) for request in plan.requests]
    assert 12 <= len(plan.requests) <= 24
    assert 33 <= min(inputs) < 64 < 256 < max(inputs) <= 280
    assert sum(length % 16 != 0 for length in inputs) >= 10
    assert all(8 <= request.max_tokens <= 24 for request in plan.requests)
    assert plan.max_concurrency == 8
    assert {request.arrival_s for request in plan.requests} == {0.0}
    assert len({request.request_id for request in plan.requests}) == len(plan.requests)


@pytest.mark.parametrize("name", BUILTIN)
def test_built_in_workloads_parse_under_their_name_and_survive_storage(name: str) -> None:
    spec = WorkloadSpec.parse(name)
    assert spec.name == name
    stored = json.loads(json.dumps(spec.to_json()))
    again = WorkloadSpec.from_mapping(stored)
    assert again == spec
    assert again.plan(500, 4096).content_hash == spec.plan(500, 4096).content_hash


def test_inline_form() -> None:
    spec = WorkloadSpec.parse(INLINE)
    assert spec.to_json() == {
        "name": INLINE,
        "seed": 1,
        "source": {
            "kind": "synthetic",
            "input": {"kind": "uniform", "low": 64, "high": 256},
            "output": {"kind": "uniform", "low": 16, "high": 64},
            "num_prompts": 32,
            "prefix_share": 0.3,
            "prefix_groups": 1,
        },
        "load": {"max_concurrency": 8, "request_rate": None, "burstiness": 1.0},
    }


def test_inline_open_loop_and_lognormal() -> None:
    spec = WorkloadSpec.parse("synthetic:input=lognormal:200:0.5:900,output=16,rate=4,burstiness=0.5,name=mine")
    assert spec.name == "mine"
    assert spec.load is not None
    assert (spec.load.request_rate, spec.load.burstiness, spec.load.max_concurrency) == (4, 0.5, None)
    plan = spec.plan(1000, 2048)
    assert plan.max_concurrency is None
    assert plan.requests[-1].arrival_s == pytest.approx(32 / 4)
    burst = WorkloadSpec.parse("synthetic:input=20,output=16,rate=inf").plan(1000, 2048)
    assert {request.arrival_s for request in burst.requests} == {0.0}
    assert burst.max_concurrency is None


@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_file_form(tmp_path: Path, suffix: str) -> None:
    data = {"seed": 3, "source": BUILTIN["demo"]["source"], "load": {"request_rate": 2.5}}
    path = tmp_path / f"mine{suffix}"
    path.write_text(json.dumps(data))  # JSON is YAML
    spec = WorkloadSpec.parse(str(path))
    assert (spec.name, spec.seed) == ("mine", 3)
    assert spec.load is not None
    assert spec.load.request_rate == 2.5


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("nonsense", "unknown; use one of demo"),
        ("none.yaml", "cannot be read: No such file"),
        ("synthetic:input=64-2,output=4", "source.input: low 64 must not be above high 2"),
        ("synthetic:input=many,output=4", "input is 'many'; write a length as"),
        ("synthetic:input=0,output=4", "source.input.value: 0 is not above 0"),
        ("synthetic:output=4", "the key 'source.input' is missing; add it"),
        ("synthetic:input=4,output=4,speed=9", "the key 'speed' is unknown; use one of input"),
        ("synthetic:input=4,output=4,seed=1,seed=2", "the key 'seed' is given twice"),
        ("synthetic:input=4,output=4,requests", "must be written key=value"),
        ("synthetic:input=4,output=4,requests=2.5", "source.num_prompts: 2.5 is not a whole number"),
        ("synthetic:input=4,output=4,prefix_share=1.5", "source.prefix_share: 1.5 is not at most 1"),
        ("synthetic:input=4,output=4,rate=0", "load.request_rate: 0 is not above 0"),
        ("synthetic:input=4,output=4,rate=fast", "load.request_rate: 'fast' is not a number"),
        ("synthetic:input=4,output=4,rate=1,concurrency=2", "load: give either max_concurrency"),
        ("synthetic:input=4,output=4,burstiness=2", "load: burstiness needs a finite request_rate"),
        ("synthetic:input=4,output=4,seed=-1", "seed: -1 is not at least 0"),
        ("synthetic:input=lognormal:9:1:5,output=4", "median 9 must lie between low 1 and high 5"),
        ("azure:requests=3", "put the file's path right after the colon"),
        ("azure:x.csv,too_long=cut", "source.too_long: 'cut' is unknown; use 'clip' or 'skip'"),
    ],
)
def test_bad_workloads_are_refused_in_one_line(text: str, complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint) as caught:
        WorkloadSpec.parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("source: {kind: synthetic\nload: 3", "not valid YAML"),
        ("- 1", "must hold keys such as source and load"),
        ("", "the key 'source' is missing"),
        ("seed: 1\nsource: {kind: lengths, path: x}\nseed: 2", "workload file .*bad.yaml:3: the key 'seed' is there twice; keep one"),
        ("source:\n  kind: lengths\n  path: x\n  path: y", "bad.yaml:4: the key 'path' is there twice"),
        ('{"seed": 1, "seed": 1}', "bad.yaml:1: the key 'seed' is there twice"),
        ("source: {kind: lengths, path: x}", "no arrival times: add load"),
        ("source: {kind: lengths, path: x}\nload: {max_concurrency: 2}\nsped: 1", "the key 'sped' is unknown; remove it"),
        (
            "source: {kind: lengths, path: x}\nload: {concurrency: 2}",
            "the key 'load.concurrency' is unknown; in a file write load: {max_concurrency",
        ),
        ("source: {kind: lengths, path: x}\nconcurrency: 2", "the key 'concurrency' is unknown; in a file write load: {max_concurrency"),
        ("source: {kind: lengths, path: x}\nload: {rate: 2}", "the key 'load.rate' is unknown; in a file write load: {request_rate"),
        (
            "source: {kind: mix, requests: 9, parts: []}\nload: {max_concurrency: 2}",
            "the key 'source.num_prompts' is missing",
        ),
        ("source: {kind: prophecy}\n", "source: .*prophecy"),
    ],
)
def test_bad_files_are_refused_in_one_line(tmp_path: Path, content: str, complaint: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(content)
    with pytest.raises(BadInput, match=complaint) as caught:
        WorkloadSpec.parse(str(path))
    assert "\n" not in str(caught.value)


@examples(100)
@given(tail=st.text(max_size=40), kind=st.sampled_from(["synthetic", "azure", "lengths", ""]))
def test_any_text_is_parsed_or_refused(tail: str, kind: str) -> None:
    try:
        spec = WorkloadSpec.parse(f"{kind}:{tail}")
    except BadInput:
        return
    assert WorkloadSpec.from_mapping(spec.to_json()) == spec


@pytest.mark.slow
def test_the_same_plan_in_another_process() -> None:
    code = f"from tuner.workload.spec import WorkloadSpec; print(WorkloadSpec.parse({INLINE!r}).plan(777, 512).content_hash)"
    environment = os.environ | {"PYTHONHASHSEED": "12345", "PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    answer = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == WorkloadSpec.parse(INLINE).plan(777, 512).content_hash


@examples(30)
@given(fraction=st.floats(0.05, 0.95), groups=st.integers(1, 4), seed=st.integers(0, 10_000))
def test_the_prefix_share_is_attained(fraction: float, groups: int, seed: int) -> None:
    spec = WorkloadSpec.from_mapping(
        {
            "seed": seed,
            "source": {
                "kind": "synthetic",
                "input": {"kind": "fixed", "value": 200},
                "output": {"kind": "fixed", "value": 4},
                "num_prompts": 16,
                "prefix_share": fraction,
                "prefix_groups": groups,
            },
            "load": {"max_concurrency": 4},
        }
    )
    # Rounding moves it by at most half a token in 200, a chance match of the next random token by far less.
    assert spec.summary(spec.plan(50_000, 512))["prefix_share"] == pytest.approx(fraction, abs=0.004)


_REQUEST = PlannedRequest("r", (5, 6, 7), 4, 0.5)


@pytest.mark.parametrize("change", [{"prompt_token_ids": (5, 6, 8)}, {"prompt_token_ids": (5, 6)}, {"max_tokens": 5}, {"arrival_s": 0.25}])
def test_the_content_hash_sees_what_is_sent(change: dict[str, Any]) -> None:
    plain = content_hash([_REQUEST, _REQUEST], 8)
    assert content_hash([_REQUEST, replace(_REQUEST, **change)], 8) != plain
    assert content_hash([replace(_REQUEST, **change), _REQUEST], 8) != content_hash([_REQUEST, replace(_REQUEST, **change)], 8)


def test_the_content_hash_sees_concurrency_and_count_but_no_names() -> None:
    plain = content_hash([_REQUEST], 8)
    assert len({plain, content_hash([_REQUEST], 7), content_hash([_REQUEST], None), content_hash([_REQUEST] * 2, 8)}) == 4
    assert content_hash([replace(_REQUEST, request_id="other")], 8) == plain
    demo = WorkloadSpec.parse("demo")
    renamed = demo.model_copy(update={"name": "renamed"})
    assert renamed.plan(1000, 512).content_hash == demo.plan(1000, 512).content_hash == demo.plan(1000, 4096).content_hash
    reseeded = demo.model_copy(update={"seed": 1})
    assert reseeded.plan(1000, 512).content_hash != demo.plan(1000, 512).content_hash


def test_a_change_of_the_prefix_share_keeps_the_lengths() -> None:
    demo = WorkloadSpec.parse("demo")
    assert isinstance(demo.source, SyntheticSource)
    other = demo.model_copy(update={"source": demo.source.model_copy(update={"prefix_share": 0.5})})
    lengths = [[(len(r.prompt_token_ids), r.max_tokens) for r in spec.plan(1000, 512).requests] for spec in (demo, other)]
    assert lengths[0] == lengths[1]


def test_a_synthetic_request_that_does_not_fit_is_bad_input() -> None:
    with pytest.raises(BadInput, match=r"does not fit max_model_len 128; raise max_model_len or lower"):
        WorkloadSpec.parse("demo").plan(1000, 128)


def test_file_workloads_skip_and_count_what_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "lengths.csv"
    path.write_text("input_length,output_length\n100,10\n600,10\n50,5\n")
    spec = WorkloadSpec.parse(f"lengths:{path},concurrency=2")
    plan = spec.plan(1000, 512)
    assert [len(request.prompt_token_ids) for request in plan.requests] == [100, 50]
    assert spec.summary(plan)["skipped"] == 1
    with pytest.raises(BadInput, match=r"none of 3 requests .* fits max_model_len 20"):
        spec.plan(1000, 20)


def test_a_plan_too_large_to_hold_is_refused_before_it_is_made() -> None:
    spec = WorkloadSpec.parse("synthetic:input=60000,output=1,requests=1000")
    with pytest.raises(BadInput, match="60000000 prompt tokens, at most 50000000 can be planned"):
        spec.plan(1000, 100_000)


@pytest.mark.slow
def test_real_traces_replay_with_their_own_times() -> None:
    azure = WorkloadSpec.parse(f"azure:{shared_data('traces/azure_llm_2023/AzureLLMInferenceTrace_code.csv')},requests=200,time_scale=0.1")
    plan = azure.plan(1000, 4096)
    summary = azure.summary(plan)
    assert summary["requests"] + summary["skipped"] == 200
    assert summary["skipped"] > 0
    assert plan.max_concurrency is None
    assert max(request.arrival_s for request in plan.requests) < 120
    mooncake = WorkloadSpec.parse(f"mooncake:{shared_data('traces/mooncake_fast25/conversation_trace.jsonl')},requests=150,concurrency=4")
    replay = mooncake.plan(1000, 8192)
    assert replay.max_concurrency == 4
    assert {request.arrival_s for request in replay.requests} == {0.0}
    assert mooncake.summary(replay)["block_hit_rate"] > 0.1


@pytest.mark.slow
def test_requests_that_are_left_out_are_said_loudly() -> None:
    """68 % of Mooncake's trace went without a word on a model of 4,096 tokens."""
    spec = WorkloadSpec.parse(f"mooncake:{shared_data('traces/mooncake_fast25/conversation_trace.jsonl')},requests=200")
    (line,) = spec.warnings(spec.plan(1000, 8192), 8192)
    assert "of 200 requests (" in line and "longer than max_model_len 8192 and left out; raise max_model_len" in line


@pytest.mark.parametrize(
    ("name", "text", "more", "words"),
    [
        ("l.csv", "input_length,output_length\n5,6\n900,6\n7,8\n", "", "1 of 3 requests (33%) are longer than max_model_len 512"),
        (
            "l.csv",
            "input_length,output_length\n5,6\n50,6\n7,8\n",
            ",max_input_tokens=20",
            "longer than max_model_len 512, max_input_tokens 20",
        ),
        ("l.csv", "input_length,output_length\n5,6\nx,6\n7,8\n", ",bad_rows=skip", "1 rows of"),
        ("l.csv", "input_length,output_length\n5,6\n", "", None),
    ],
)
def test_what_a_file_lost_is_a_warning_and_counted(tmp_path: Path, name: str, text: str, more: str, words: str | None) -> None:
    (tmp_path / name).write_text(text)
    spec = WorkloadSpec.parse(f"lengths:{tmp_path / name},concurrency=2{more}")
    plan = spec.plan(1000, 512)
    found = spec.warnings(plan, 512)
    assert len(found) == (words is not None) and all(words is not None and words in line for line in found)
    summary = spec.summary(plan)
    assert summary["skipped"] + summary.get("bad_rows", 0) == (words is not None)


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("bailian:t.jsonl,requests=5", {"kind": "bailian", "block_tokens": 16}),
        ("burstgpt:t.csv,time_scale=0.5", {"kind": "burstgpt", "time_scale": 0.5}),
        ("sharegpt:t.json,concurrency=4,chars_per_token=3.5", {"kind": "sharegpt", "chars_per_token": 3.5}),
        ("columns:t.csv,input=prompt,output=64-256,time=at,bad_rows=skip", {"input": "prompt", "output": "64-256", "time": "at"}),
        ("mooncake:t.jsonl,time_unit=s,block_tokens=16", {"time_unit": "s", "block_tokens": 16}),
    ],
)
def test_the_one_line_form_of_every_reader(text: str, source: dict[str, object]) -> None:
    found = WorkloadSpec.parse(text)
    assert source.items() <= found.to_json()["source"].items()
    assert WorkloadSpec.from_mapping(found.to_json()) == found


def test_columns_without_times_run_as_a_closed_loop() -> None:
    found = WorkloadSpec.parse("columns:t.csv,input=a,output=b")
    assert found.load is not None and found.load.max_concurrency == 8
    with pytest.raises(BadInput, match="no arrival times: add load"):
        WorkloadSpec.from_mapping({"source": {"kind": "columns", "path": "t", "input": "a", "output": "b"}})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("synthetic:input=8,output=4,requests=99999999999,rate=4", "source.num_prompts"),
        ("synthetic:input=8,output=4,requests=1000001,rate=4", "1000001 requests, at most 1000000"),
        ("sessions:sessions=1000001,turns=1,input=8,output=4,rate=4", "1000001 requests, at most 1000000"),
        ("sessions:sessions=5,turns=999999,input=8,output=4,rate=4", "4999995 requests, at most 1000000"),
        ("synthetic:input=1-99999999999999999999,output=4,requests=2,rate=4", "source.input.high"),
        ("sessions:sessions=2,turns=2,input=8,output=4,think_s=3,concurrency=4", "think_s needs arrivals at a rate"),
    ],
)
def test_numbers_of_requests_that_no_memory_holds_and_waits_that_nothing_makes_are_refused_at_once(text: str, reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        WorkloadSpec.parse(text).plan(1000, 512)

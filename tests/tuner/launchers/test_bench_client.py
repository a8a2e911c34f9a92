from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from tests.tuner.launchers.bench_json import Sent, plan_for
from tuner.launchers.bench_client import bench_argv, plan_folder

PLAN = plan_for([Sent(1.0, 0.1, (), 3, 1), Sent(1.0, 0.1, (), 3, 1)])


def value_of(argv: list[str], name: str) -> str:
    return argv[argv.index(name) + 1]


def test_a_closed_loop_sends_the_trace_at_the_plans_concurrency() -> None:
    argv = bench_argv("http://127.0.0.1:1", "m", Path("plans/0"), PLAN, Path("r.json"), tokenizer_less=False)
    assert argv[:3] == ["vllm", "bench", "serve"]
    assert value_of(argv, "--max-concurrency") == "2"
    assert value_of(argv, "--num-prompts") == "2"
    assert value_of(argv, "--dataset-path") == str(Path("plans/0/trace.jsonl"))
    assert value_of(argv, "--timed-trace-chunk-hash-size") == "1"
    assert value_of(argv, "--metric-percentiles") == "50,90,95,99"
    assert "--extra-body" not in argv


def test_an_open_loop_has_no_concurrency_and_a_model_without_tokenizer_makes_no_text() -> None:
    argv = bench_argv("http://127.0.0.1:1", "m", Path("p"), replace(PLAN, max_concurrency=None), Path("r.json"), tokenizer_less=True)
    assert "--max-concurrency" not in argv
    assert json.loads(value_of(argv, "--extra-body"))["detokenize"] is False


def test_a_shortened_plan_does_not_overwrite_the_trace_of_the_whole_one() -> None:
    whole = replace(PLAN, content_hash="0123456789abcdef" * 4)
    folders = {plan_folder(Path("logs"), replace(PLAN, content_hash=name)) for name in (whole.content_hash, whole.content_hash + "-8")}
    assert len(folders) == 2 and plan_folder(Path("logs"), whole) in folders

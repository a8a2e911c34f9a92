"""The command in a report gives the very configuration that the study had, read back by the command line itself."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from storage.records import Study
from tuner.cli.command_line import cli
from tuner.cli.search import search
from tuner.report.repeat import repeat_command, resume_command
from tuner.setup.config import StudyConfig
from tuner.setup.config_file import load_config
from tuner.verdict.evidence import Evidence

PLACES = {"study", "storage", "logdir", "engine_python", "ray_address", "ray_resources", "ray_runtime_env", "foresight", "warm_start"}


def command_of(config: StudyConfig) -> str:
    stored = json.loads(json.dumps({**config.to_json(), "resolved": {"max_model_len": 512}}))
    return repeat_command(Evidence(Study("s", config.model, stored, config.objective), (), ()))


def read_back(command: str) -> StudyConfig:
    program, verb, *arguments = shlex.split(command.replace("\\\n", " "))
    assert (program, verb) == ("tuner", "search")
    # below `tuner`, as people call it: a command keeps the help option of its first context
    given = search.make_context("search", arguments, parent=cli.make_context("tuner", ["search"])).params
    options = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items() if value not in (None, ())}
    return load_config(None, {name: value for name, value in options.items() if name in StudyConfig.model_fields})


def kept(config: StudyConfig) -> dict[str, Any]:
    return {name: value for name, value in config.to_json().items() if name not in PLACES}


MANY: dict[str, Any] = {
    "page_sizes": [16, 64],
    "chunk_budgets": [256],
    "arms": ["page_aligned"],
    "factors": {"long_prefill_token_threshold": "0..512:256", "env:RPA_V3_MIXED_BLOCK_SIZES": ["unset", "8,32,8,32"]},
    "alignment_variant": "strict",
    "workload": "synthetic:input=64-256,output=16-64,requests=32,rate=4,burstiness=0.5",
    "objective": "goodput,ttft_p99_ms",
    "slos": ["ttft_p99_ms<=500", "tpot_p99_ms<=50.5"],
    "rounds": 5,
    "trials": 7,
    "time_budget": "90m",
    "sampler": "tpe",
    "profile": "none",
    "finalists_via": "serve",
    "guard": "canary_match>=0.98",
    "max_num_seqs": 32,
    "max_model_len": 1024,
    "dtype": "float32",
    "platform": "cpu",
    "attention_backend": "tuner_xla",
    "kv_write": "loop,scatter",
    "num_gpu_blocks": 999,
    "tensor_parallel_size": 2,
    "enable_prefix_caching": False,
    "async_scheduling": True,
    "seed": 11,
    "engine_args": {"gpu_memory_utilization": 0.8, "additional_config": {"sharding": {"x": [1]}}, "quantization": None},
    "trial_timeout": "2m",
    "engine_start_timeout": 77,
}


COMPARED: dict[str, Any] = {
    "factors": {"kv_cache_dtype": ["auto", "fp8"], "env:USE_BATCHED_RPA_KERNEL": "unset,1 when page_size>=256 and kv_cache_dtype in 'fp8'"},
    "compare": "kv_cache_dtype",
    "starts": 12,
}
CONDITIONED: dict[str, Any] = {"factors": {"max_num_seqs": "8,16"}, "when": {"max_num_seqs": "page_size in (16, 32)"}}
SIMULATED = {"launcher": "simulate", "accelerator": "v6e-1", "step_time": "my costs.json", "borrow": "v5e", "step_noise": 0.01}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"page_sizes": [32]},
        MANY,
        {"launcher": "table", "table": "my table.csv", "table_noise": 0.02},
        SIMULATED,
        COMPARED,
        CONDITIONED,
        {"launcher": "serve"},
    ],
)
def test_read_back_it_is_the_same_configuration(changes: dict[str, Any]) -> None:
    config = load_config(None, {"model": "org/a model", "study": "s", **changes})
    command = command_of(config)
    assert kept(read_back(command)) == kept(config)
    assert "sqlite" not in command and "resolved" not in command


def test_every_setting_can_be_repeated() -> None:
    """A new setting that the report would forget fails here: all that are not places differ from their default in the cases above."""
    given = {*MANY, *SIMULATED, *COMPARED, *CONDITIONED, "model", "launcher", "table", "table_noise"}
    assert StudyConfig.model_fields.keys() - given == PLACES


def test_defaults_are_left_out_but_for_what_the_question_is_about() -> None:
    words = shlex.split(command_of(load_config(None, {"model": "m", "study": "s"})).replace("\\\n", " "))
    options = ["--study", "--model", "--chunk-budgets", "--arms", "--workload", "--objective", "--rounds", "--seed"]
    assert [word for word in words if word.startswith("--")] == options
    decided = load_config(None, {"model": "m", "study": "s", "page_sizes": [16, 256]})  # a search stores what it decided
    assert "--page-sizes 16,256" in command_of(decided)


def test_a_workload_of_a_file_is_written_out(tmp_path: Path) -> None:
    workload: dict[str, Any] = {
        "source": {"kind": "synthetic", "input": {"kind": "fixed", "value": 9}, "output": {"kind": "fixed", "value": 3}, "num_prompts": 2}
    }
    workload["load"] = {"max_concurrency": 1}
    config = load_config(None, {"model": "m", "study": "s", "workload": workload})
    first, _, rest = command_of(config).partition("\nEND\n")
    assert first.startswith("cat > workload.json <<'END'\n")
    assert json.loads(first.partition("\n")[2]) == workload
    assert read_back(rest).workload == "workload.json"


def test_rounds_that_were_stored_as_a_number_are_repeated() -> None:
    """The report failed: it took them for a minimum and a maximum."""
    evidence = Evidence(Study("s", "m", {"model": "m", "rounds": 5}, "throughput"), (), ())
    assert "--rounds 5" in repeat_command(evidence)


def test_what_goes_on_with_a_study_names_the_places_too() -> None:
    """On the machine where it was begun; of its database nothing is said, it may hold a password."""
    places = {"logdir": "/data/my logs", "engine_python": "/opt/vllm/bin/python", "warm_start": "none", "foresight": False}
    config = load_config(None, {"model": "org/a model", "study": "s", "storage": "postgresql://me:secret@db/tuner", **MANY, **places})
    command = resume_command(Study("s", config.model, json.loads(json.dumps(config.to_json())), config.objective))
    *words, last = shlex.split(command.replace("\\\n", " "))
    assert last == "--resume" and "secret" not in command
    read = read_back(shlex.join(words))
    assert {name: value for name, value in read.to_json().items() if name != "storage"} == config.to_json()

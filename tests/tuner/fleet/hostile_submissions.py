"""Studies that nobody with good intentions submits: name -> body. None may be stored, and nothing of them be run."""

from __future__ import annotations

import json
from typing import Any

GOOD: dict[str, Any] = {
    "study": "qwen3-chat",
    "model": "tiny-qwen3",
    "page_sizes": [16, 32],
    "chunk_budgets": [128, 256],
    "workload": "demo",
    "slos": ["ttft_p99_ms<=500"],
    "factors": {"max_num_seqs": [8, 16]},
    "engine_args": {"gpu_memory_utilization": 0.9},
}
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join(['*' + last] * 9)}]\n" for last, name in zip("abcdefgh", "bcdefghi", strict=True)
)


def _with(**changes: Any) -> bytes:
    return json.dumps(GOOD | changes).encode()


def _args(name: str, value: Any) -> bytes:
    return _with(engine_args={name: value})


def _factor(name: str, *levels: Any) -> bytes:
    return _with(factors={name: list(levels)})


def _source(**changes: Any) -> bytes:
    length = {"kind": "fixed", "value": 64}
    source = {"kind": "synthetic", "input": length, "output": length, "num_prompts": 8, **changes}
    return _with(workload={"source": source, "load": {"max_concurrency": 8}})


def _nested(depth: int) -> bytes:
    return b'{"study":"a","model":"tiny-qwen3","engine_args":' + b'{"a":' * depth + b"1" + b"}" * depth + b"}"


CODE = {
    "trust_remote_code": _args("trust_remote_code", True),
    "trust-remote-code": _args("trust-remote-code", True),
    "Trust_Remote_Code": _args("Trust_Remote_Code", True),
    "TRUST_REMOTE_CODE": _args("TRUST_REMOTE_CODE", True),
    "--trust-remote-code": _args("--trust-remote-code", True),
    "trust remote code": _args("trust remote code", True),
    "trust_remote_code in other letters": _args("trust_remote_\u0441ode", True),
    "trust_remote_code as false, which may be overridden": _args("trust_remote_code", False),
    "trust_remote_code as a factor": _factor("trust_remote_code", True, False),
    "trust-remote-code as a factor": _factor("trust-remote-code", True),
    "trust_remote_code as a setting": _with(trust_remote_code=True),
    "trust_remote_code by additional_config": _args("additional_config", {"trust_remote_code": True}),
    "trust_remote_code by hf_overrides": _args("hf_overrides", {"trust_remote_code": True}),
    "auto_map by hf_overrides": _args("hf_overrides", {"auto_map": {"AutoModel": "evil.Model"}}),
    "worker_cls": _args("worker_cls", "evil.Worker"),
    "worker_extension_cls": _args("worker_extension_cls", "os.system"),
    "scheduler_cls": _args("scheduler_cls", "evil.Scheduler"),
    "scheduler-cls": _args("scheduler-cls", "evil.Scheduler"),
    "scheduler_cls as a factor": _factor("scheduler_cls", "evil.Scheduler", "unset"),
    "logits_processors": _args("logits_processors", ["evil:Processor"]),
    "io_processor_plugin": _args("io_processor_plugin", "evil"),
    "reasoning_parser_plugin": _args("reasoning_parser_plugin", "/tmp/evil.py"),
    "a KV connector by its module": _args("kv_transfer_config", {"kv_connector": "x", "kv_connector_module_path": "evil"}),
    "a draft model by its path": _args("speculative_config", {"model": "/tmp/evil"}),
    "load_format that runs code": _args("load_format", "runai_streamer"),
    "load_format as a factor": _factor("load_format", "auto", "tensorizer"),
    "model_loader_extra_config": _args("model_loader_extra_config", {"tensorizer_uri": "http://evil.example/x"}),
    "tokenizer by path": _args("tokenizer", "/tmp/evil"),
    "hf_config_path": _args("hf_config_path", "/tmp/evil"),
    "download_dir": _args("download_dir", "/etc"),
    "log_config_file": _args("log_config_file", "/tmp/evil.yaml"),
    "otlp_traces_endpoint": _args("otlp_traces_endpoint", "http://169.254.169.254/"),
    "distributed_executor_backend": _args("distributed_executor_backend", "evil.Executor"),
    "compilation_config": _args("compilation_config", {"backend": "evil.compile"}),
    "model_class_overrides": _args("model_class_overrides", {"Qwen3": "evil:Model"}),
    "a word that is none": _args("quantization", "../evil"),
    "a word that is a list": _args("kv_cache_dtype", ["fp8"]),
    "a share of everything": _args("gpu_memory_utilization", 1e9),
}
ENVIRONMENT = {
    "LD_PRELOAD": _factor("env:LD_PRELOAD", "/tmp/evil.so"),
    "PYTHONPATH": _factor("env:PYTHONPATH", "/tmp"),
    "VLLM_PLUGINS": _factor("env:VLLM_PLUGINS", "evil"),
    "PYTHONSTARTUP": _factor("env:PYTHONSTARTUP", "/tmp/evil.py"),
    "HF_ENDPOINT": _factor("env:HF_ENDPOINT", "http://evil.example"),
    "HF_TOKEN": _factor("env:HF_TOKEN", "x"),
    "an allowed one with a shell": _factor("env:USE_BATCHED_RPA_KERNEL", "1;id"),
    "an environment of its own": _with(env={"LD_PRELOAD": "/tmp/evil.so"}),
}
PLACES = {
    "storage": _with(storage="sqlite:////etc/passwd"),
    "logdir": _with(logdir="/etc"),
    "engine_python": _with(engine_python="/tmp/evil"),
    "a Ray cluster of their own": _with(ray_address="ray://evil.example:10001"),
    "a Ray environment": _with(ray_runtime_env="/tmp/evil.yaml"),
    "table": _with(launcher="table", table="/etc/passwd"),
    "step_time": _with(launcher="simulate", step_time="/etc/passwd"),
    "a launcher of their own": _with(launcher="evil"),
    "the table launcher": _with(launcher="table"),
    "finalists elsewhere": _with(finalists_via="table"),
    "a model by path": _with(model="/etc"),
    "a model above here": _with(model="../../etc"),
    "a model by address": _with(model="https://evil.example/model"),
    "a model in a bucket": _with(model="gs://bucket/model"),
    "a model of the home folder": _with(model="~/model"),
    "a workload by path": _with(workload="/etc/passwd"),
    "a workload above here": _with(workload="../../secrets.yaml"),
    "a trace by path": _with(workload="azure:/etc/passwd,requests=10"),
    "a trace in a mapping": _with(workload={"source": {"kind": "sharegpt", "path": "/etc/passwd"}, "load": {"max_concurrency": 1}}),
    "a folder as the name": _with(study="../../etc/cron.d/x"),
    "an absolute name": _with(study="/etc/x"),
    "a hidden name": _with(study=".ssh"),
    "an earlier study by path": _with(warm_start="../x"),
}
SHAPES = {
    "nothing": b"",
    "no JSON": b"study: a",
    "a list": b"[1]",
    "null": b"null",
    "half": b'{"study": "a"',
    "no UTF-8": b'{"study": "\xff"}',
    "a name twice": b'{"study": "a", "study": "b", "model": "tiny-qwen3"}',
    "a name twice, deep": b'{"study": "a", "model": "tiny-qwen3", "engine_args": {"enforce_eager": true, "enforce_eager": false}}',
    "NaN": b'{"study": "a", "model": "tiny-qwen3", "table_noise": NaN}',
    "infinity": b'{"study": "a", "model": "tiny-qwen3", "trial_timeout": Infinity}',
    "a number of 4,000 digits": b'{"study": "a", "model": "tiny-qwen3", "trials": 1' + b"0" * 4000 + b"}",
    "a number of 9,000 digits": b'{"study": "a", "model": "tiny-qwen3", "trials": 1' + b"0" * 9000 + b"}",
    "1e400": b'{"study": "a", "model": "tiny-qwen3", "time_budget": 1e400}',
    "a level of nothing": _factor("max_num_seqs", None),
    "a level that is a list": _factor("max_num_seqs", [[8]]),
    "a nest of three": _nested(3),
    "a nest of 3,000": _nested(3000),
    "values by the thousand": _with(page_sizes=[16] * 3000),
    "prototype": _with(__proto__={"isAdmin": True}),
    "constructor": _with(constructor={"prototype": {}}),
    "a class": _with(engine_args={"__class__": "x"}),
    "a key with a dollar": _with(**{"$where": "1"}),
    "a zero byte": _with(study="a\x00b"),
    "a line break": _with(study="a\nb"),
    "right to left": _with(study="a\u202egnp"),
    "wide letters": _with(study="\uff41\uff42"),
    "half a surrogate": b'{"study": "\\ud800", "model": "tiny-qwen3"}',
    "a shell in the name": _with(study="a;id"),
    "a shell in the model": _with(model="a/$(id)"),
    "a shell in an SLO": _with(slos=["ttft_p99_ms<=500;id"]),
    "a template": _with(study="{{7*7}}"),
    "a script": _with(objective="<script>alert(1)</script>"),
    "a name of 300 letters": _with(study="a" * 300),
    "a number as the name": _with(study=7),
    "a list as the model": _with(model=["tiny-qwen3"]),
    "true as a size": _with(page_sizes=True),
    "text as the arguments": _with(engine_args="--trust-remote-code"),
    "a list as the factors": _with(factors=["max_num_seqs"]),
    "YAML in a level": _with(factors={"max_num_seqs": "[&a [x,x],&b [*a,*a]];1"}),
    "a secret": _args("hf_token", "hf_" + "a" * 34),
}
AMOUNTS = {
    "sizes by the hundred": _with(page_sizes=[2**n for n in range(4, 20)] * 10),
    "levels by the thousand": _with(factors={"max_num_seqs": "1..900"}),
    "factors by the dozen": _with(factors={name: [1, 2] for name in ("max_num_seqs", *(f"x{n}" for n in range(20)))}),
    "a million configurations": _with(
        factors={"max_num_seqs": "1..60", "long_prefill_token_threshold": "1..60", "stream_interval": "1..60"}
    ),
    "rounds without end": _with(rounds=500),
    "a year": _with(time_budget="9000h"),
    "a trial of a week": _with(trial_timeout="168h"),
    "a start of a week": _with(engine_start_timeout="168h"),
    "prompts by the billion": _source(num_prompts=10**9),
    "a prompt of a billion": _source(input={"kind": "fixed", "value": 10**9}),
    "an answer of a billion": _source(output={"kind": "fixed", "value": 10**9}),
    "prefixes by the billion": _source(prefix_groups=10**9),
    "memory by many middling prompts": _source(num_prompts=20_000, input={"kind": "fixed", "value": 100_000}),
    "a wide distribution": _source(input={"kind": "lognormal", "median": 10, "sigma": 1e300, "high": 100}),
    "arrivals at the end of time": _with(workload="synthetic:input=8,output=8,rate=0.0000000001"),
    "every chip": _with(tensor_parallel_size=2**31),
    "a context of a billion": _with(max_model_len=2**30),
}
ALL: dict[str, bytes] = {**CODE, **ENVIRONMENT, **PLACES, **SHAPES, **AMOUNTS}

IN_YAML = {
    "an object": "study: a\nmodel: !!python/object/apply:os.system [id]\n",
    "a module": "study: a\nmodel: !!python/module:os\n",
    "a tag of their own": "study: !evil a\nmodel: tiny-qwen3\n",
    "binary": "study: a\nmodel: !!binary aWQ=\n",
    "billion laughs": BOMB,
    "billion laughs by merging": "a: &a {x: 1}\nb: &b {<<: [*a,*a,*a]}\nc: {<<: [*b,*b,*b]}\n",
    "an anchor that names itself": "a: &a [*a]\n",
    "a key twice": "study: a\nmodel: tiny-qwen3\nstudy: b\n",
    "a list as a key": "? [a]\n: b\n",
    "a date": "study: 2026-01-01\nmodel: tiny-qwen3\n",
    "a number to the base of 60": "study: a\nmodel: tiny-qwen3\ntrial_timeout: 1:30\n",
    "NaN": "study: a\nmodel: tiny-qwen3\ntable_noise: .nan\n",
    "two documents": "study: a\n---\nmodel: tiny-qwen3\n",
    "a nest": "a: " + "[" * 2000,
    "lists in lists": "- " * 2000,
    "a zero byte": "study: a\x00b\n",
    "half": "study: [a\n",
    "trust_remote_code": "study: a\nmodel: tiny-qwen3\nengine_args: {trust-remote-code: true}\n",
}

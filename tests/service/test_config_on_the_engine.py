"""The last step of a deployer: `vllm serve` started by a shell with exactly what the API answered over HTTP, nothing added but the port."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from storage.base import Storage
from tests.plugins.server import StartServer
from tests.storage.builders import a_recommendation, stored_study
from tests.tuner.evidence_builder import ENVIRONMENT, STUDY, StudyBuilder
from tests.tuner.workbench import config_of
from tuner.launchers.vllm_server import free_port
from tuner.metrics.objective import parse_objectives
from tuner.setup.study_setup import prepare_study
from tuner.verdict.recommend import recommend

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(900),
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed (extra: tpu)"),
]
FORMS = ("yaml", "flags", "env", "kubernetes")
START_TIMEOUT_S = 420.0
QUESTION = {"model": "tiny-qwen3", "accelerator": "cpu x86_64", "workload": "chat"}
CPU = replace(ENVIRONMENT, platform="cpu", accelerator="cpu x86_64")
# Reads each form with vLLM's own parser, as `vllm serve` would, and prints what it understood.
PARSE = """
import json, sys
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser
understood = []
for words in json.loads(sys.argv[1]):
    parser = FlexibleArgumentParser(prog="vllm")
    serve = make_arg_parser(parser.add_subparsers(dest="subparser").add_parser("serve"))
    found = vars(parser.parse_args(["serve", *words]))
    understood.append({name: repr(value) for name, value in found.items() if name not in ("config", "model_tag", "model")})
    understood[-1]["served"] = found["model_tag"] or found["model"]
print(json.dumps(understood))
"""


@pytest.fixture
def answered(start: StartServer, storage: Storage, tmp_path: Path) -> Path:
    """A folder with a file for each form, fetched from a running `tuner serve`; the recommendation is of the page-aligned arm."""
    setup = prepare_study(config_of(page_sizes=[32], chunk_budgets=[128], arms=["page_aligned"], logdir=str(tmp_path / "profiles")))
    builder = StudyBuilder()
    trial = builder.trial("page_aligned", 32, 128, [100.0, 101.0], requested=setup.requested(setup.space.configurations[0], setup.engine))
    evidence = builder.evidence(environment=CPU, trials=(replace(trial, effective={"kv_write": "scatter,loop"}),))
    body = recommend(evidence, parse_objectives("throughput"), ()).body
    stored = storage.add_recommendation(a_recommendation(stored_study(storage).id, body=body, objective=STUDY.objective))
    _, url = start(storage)
    for form in FORMS:
        fetched = httpx.get(f"{url}/v1/recommendations/config", params={**QUESTION, "format": form}).raise_for_status()
        assert fetched.content == httpx.get(f"{url}/v1/recommendations/{stored.id}/config", params={"format": form}).content
        (tmp_path / f"serve.{form}").write_bytes(fetched.content)
    return tmp_path


def test_vllm_understands_every_form_alike(answered: Path) -> None:
    container: dict[str, Any] = yaml.safe_load((answered / "serve.kubernetes").read_text())
    assert container["command"] == ["vllm", "serve"]
    arguments = [word.replace("$$", "$") for word in container["args"]]  # as the kubelet does
    flags = shlex.split((answered / "serve.flags").read_text())
    forms = [["--config", str(answered / "serve.yaml")], [container["args"][0], *flags], arguments]
    environment = {**os.environ, **{item["name"]: item["value"] for item in container["env"]}}
    done = subprocess.run(
        [sys.executable, "-c", PARSE, json.dumps(forms)], env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    by_yaml, by_flags, by_container = json.loads(done.stdout.splitlines()[-1])
    assert by_yaml == by_flags == by_container
    assert (by_yaml["block_size"], by_yaml["max_num_batched_tokens"]) == ("32", "128")
    assert by_yaml["scheduler_cls"].endswith("PageAlignedScheduler'")
    assert "'variant': 'demote'" in by_yaml["additional_config"]


def test_the_engine_runs_with_exactly_what_was_answered(answered: Path) -> None:
    port = free_port()
    log = answered / "vllm.log"
    script = f"set -a; . ./serve.env; set +a; exec {Path(sys.executable).parent}/vllm serve --config serve.yaml --port {port}"
    with log.open("w") as output:
        process = subprocess.Popen(["sh", "-c", script], cwd=answered, stdout=output, stderr=output, start_new_session=True)
    try:
        model = _served(process, port, log)
        asked = {"model": model, "prompt": [5, 6, 7], "max_tokens": 4, "temperature": 0, "return_token_ids": True}
        answer = httpx.post(f"http://127.0.0.1:{port}/v1/completions", json=asked, timeout=120)
        assert answer.status_code == 200, answer.text
        assert answer.json()["usage"]["completion_tokens"] == 4
        assert "PageAlignedScheduler" in log.read_text()
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _served(process: subprocess.Popen[bytes], port: int, log: Path) -> str:
    """The name of the model, once the server is ready."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-4000:]
        try:
            found = httpx.get(f"http://127.0.0.1:{port}/v1/models", timeout=5)
            if found.status_code == http.client.OK:
                return str(found.json()["data"][0]["id"])
        except httpx.TransportError:
            time.sleep(0.5)

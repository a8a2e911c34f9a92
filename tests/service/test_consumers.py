"""What docs/service.md and examples/ tell others to do, done against a real server: shell commands, an init container, a gate, a client."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from storage.base import Storage
from storage.upgrade import open_storage
from tests.plugins.server import TOKEN
from tests.service.builders import BODY
from tests.service.pages.serving import serving
from tests.storage.builders import a_recommendation, a_workload, stored_study
from tests.waiting import PATIENCE_S
from tuner.advice.distance import MODEL_FEATURES
from tuner.setup.models import TINY_QWEN3_CONFIG, local_features

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLES = DOCS.parent / "examples"
POD: dict[str, Any] = yaml.safe_load((EXAMPLES / "pod.yaml").read_text())
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (shutil.which("curl") and shutil.which("jq")), reason="curl and jq are not installed"),
]


def _snippets() -> list[str]:
    return re.findall(r"```sh\n(.*?)```", (DOCS / "service.md").read_text(), flags=re.DOTALL)


def _shell(script: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {"PATH": "/usr/local/bin:/usr/bin:/bin", **environment}
    return subprocess.run(["sh", "-ec", script], cwd=folder, env=variables, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service with one recommendation, for Qwen/Qwen3-0.6B on one v6e, and what is known of the model's architecture. All only ask."""
    folder = tmp_path_factory.mktemp("asked")
    address = f"sqlite:///{folder / 'tuner.db'}"
    with closing(open_storage(address)) as storage:
        _recommend(storage)
    with serving(address, folder, token=TOKEN) as served:
        yield served


def _recommend(storage: Storage) -> None:
    storage.put_workload(a_workload(content_hash="h", name="chat", summary={"input_quantiles": {"p50": 300.0}}))
    study = stored_study(storage, model="Qwen/Qwen3-0.6B", model_features=local_features("tiny-qwen3"))
    body = {**BODY, "config": {"model": "Qwen/Qwen3-0.6B", "block_size": 64}, "slos": ["ttft_p99_ms<=500"], "env": {"ODD": "a 'b' $c"}}
    found = a_recommendation(
        study.id, model="Qwen/Qwen3-0.6B", accelerator="TPU v6e-1", workload_hash="h", objective="throughput", body=body
    )
    storage.add_recommendation(found)


def test_the_first_command_gives_what_vllm_takes(url: str, tmp_path: Path) -> None:
    script = _snippets()[0].replace("http://127.0.0.1:8000", url).partition("vllm serve")[0]
    done = _shell(script, tmp_path)
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load((tmp_path / "serve.yaml").read_text()) == {"model": "Qwen/Qwen3-0.6B", "block-size": 64}


def test_an_architecture_is_read_from_config_json(url: str, tmp_path: Path) -> None:
    """The same numbers as the tuner itself reads: so the distance to the same architecture is nothing."""
    (tmp_path / "config.json").write_text(json.dumps(dict(TINY_QWEN3_CONFIG)))
    done = _shell(_snippets()[1].replace("http://127.0.0.1:8000", url).replace("workload=chat", "workload=h"), tmp_path)
    assert done.returncode == 0, done.stderr
    given = dict(pair.split("=") for pair in (tmp_path / "architecture.txt").read_text().strip().split("&"))
    features = local_features("tiny-qwen3")
    assert features is not None
    assert given == {name: str(features[name] if features[name] is not None else "none") for name in MODEL_FEATURES}
    assert json.loads(done.stdout)["config"]["model"] == "org/new"


def _init_container(url: str, folder: Path, **question: str) -> subprocess.CompletedProcess[str]:
    [container] = POD["spec"]["initContainers"]
    [script] = container["args"]
    (folder / "api_token").write_text(TOKEN)
    variables = {item["name"]: item["value"] for item in container["env"]} | question | {"TUNER_URL": url}
    return _shell(script.replace("/tuned", str(folder)).replace("/run/secrets/tuner", str(folder)), folder, **variables)


def test_a_pod_fetches_its_settings(url: str, tmp_path: Path) -> None:
    done = _init_container(url, tmp_path)
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load((tmp_path / "serve.yaml").read_text()) == {"model": "Qwen/Qwen3-0.6B", "block-size": 64}
    [command] = POD["spec"]["containers"][0]["args"]
    shown = command.replace("/tuned", str(tmp_path)).replace("exec vllm", 'echo "$ODD"; exec echo vllm')
    assert _shell(shown, tmp_path).stdout == f"a 'b' $c\nvllm serve --config {tmp_path}/serve.yaml\n"


@pytest.mark.parametrize("model", ["never/measured", "Qwen/Qwen3-0.6B"])
def test_a_pod_starts_without_an_answer_or_without_the_service(url: str, tmp_path: Path, model: str) -> None:
    there = url if model == "never/measured" else "http://127.0.0.1:9"
    done = _init_container(there, tmp_path, MODEL=model)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "serve.yaml").read_text() == f"model: {model}\n"
    assert (tmp_path / "serve.env").read_text() == ""
    assert "curl: (" in done.stderr


def _gate(url: str, folder: Path, workload: str = "chat") -> subprocess.CompletedProcess[str]:
    question = {"MODEL": "Qwen/Qwen3-0.6B", "ACCELERATOR": "TPU v6e-1", "WORKLOAD": workload, "TUNER_API_TOKEN": TOKEN}
    return _shell(f"exec {EXAMPLES}/ci_gate.sh serve.yaml", folder, TUNER_URL=url, **question)


def test_the_gate_passes_what_was_measured_and_stops_what_differs(url: str, tmp_path: Path) -> None:
    assert _shell(_snippets()[0].replace("http://127.0.0.1:8000", url).partition("vllm serve")[0], tmp_path).returncode == 0
    passed = _gate(url, tmp_path)
    assert (passed.returncode, passed.stdout) == (0, "serve.yaml is what the tuner recommends\n"), passed.stderr
    settings = (tmp_path / "serve.yaml").read_text()
    (tmp_path / "serve.yaml").write_text(settings.replace("64", "32"))
    stopped = _gate(url, tmp_path)
    assert stopped.returncode == 1 and "+block-size: 64" in stopped.stdout.replace("'", "")


def test_the_gate_tells_no_answer_from_a_wrong_file(url: str, tmp_path: Path) -> None:
    (tmp_path / "serve.yaml").write_text("model: Qwen/Qwen3-0.6B\n")
    unknown = _gate(url, tmp_path, workload="never-measured")
    assert unknown.returncode == 2 and "HTTP 409" in unknown.stderr, unknown.stderr
    assert _gate("http://127.0.0.1:9", tmp_path).returncode == 2


def _client(url: str, *question: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / "rest_client.py"), url, *question]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_python_client_prints_the_command_and_its_evidence(url: str) -> None:
    done = _client(url, "Qwen/Qwen3-0.6B", "TPU v6e-1", "chat")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("vllm serve Qwen/Qwen3-0.6B --block-size")
    assert lines[1].startswith("match: exact; stale: ")
    assert "ttft_p99_ms: 12.5 ms" in lines
    assert lines[-1].startswith("evidence: study first, ")


def test_the_python_client_says_why_there_is_no_answer(url: str) -> None:
    refused = _client(url, "Qwen/Qwen3-0.6B", "TPU v6e-1", "")
    assert refused.returncode == 1 and "HTTP 422" in refused.stderr
    nothing = _client(url, "never/measured", "TPU v6e-1", "chat")
    assert nothing.returncode == 1 and nothing.stderr.startswith("nothing was measured for this: ")

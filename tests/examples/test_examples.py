"""The examples that need no running service: parsed, planned and run by the real thing.

Those that ask a service are in tests/service/test_consumers.py.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from storage.records import Actor
from storage.upgrade import open_storage
from tests.tuner.cli.command_lines import parse, tuner_lines
from tests.tuner.cli.terminal import Terminal
from tests.tuner.workbench import FinishedStudy
from tuner.setup.models import TINY_QWEN3_CONFIG

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
MANIFESTS = ("pod.yaml", "deployment.yaml")
STUDY = "study-v6e-chat.yaml"


def _documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((EXAMPLES / name).read_text()))


def _pod_spec(name: str) -> dict[str, Any]:
    [spec] = [item["spec"] for item in _documents(name) if item["kind"] in {"Pod", "Deployment"}]
    return dict(spec["template"]["spec"]) if "template" in spec else dict(spec)


def test_every_example_is_in_the_list() -> None:
    listed = set(re.findall(r"\]\(([\w.-]+)\)", (EXAMPLES / "README.md").read_text()))
    assert listed | {"README.md"} == {path.name for path in EXAMPLES.iterdir() if path.name != "__pycache__"}


@pytest.mark.parametrize("name", MANIFESTS)
def test_kubernetes_knows_every_field_of_a_manifest(name: str) -> None:
    for document in _documents(name):
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


def test_a_misspelt_field_of_a_manifest_would_be_found() -> None:
    [document] = _documents("pod.yaml")
    document["spec"]["initContainer"] = document["spec"].pop("initContainers")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


def test_pod_and_deployment_ask_and_serve_alike() -> None:
    """So that what is tested of the pod's script holds for the deployment's."""
    asked, served = zip(
        *((_pod_spec(name)["initContainers"][0]["args"], _pod_spec(name)["containers"][0]["args"]) for name in MANIFESTS), strict=True
    )
    assert asked[0] == asked[1] and served[0] == served[1]


def test_the_deployment_and_its_service_find_the_pods() -> None:
    deployment, service = _documents("deployment.yaml")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels == service["spec"]["selector"]


@pytest.mark.slow  # asks vLLM about the model
def test_the_study_is_planned_as_it_stands(terminal: Terminal) -> None:
    """With a local model in the place of the one on the hub, and on this machine's platform: everything else is the file's."""
    (terminal.folder / "model").mkdir()
    config = {**TINY_QWEN3_CONFIG, "max_position_embeddings": 4096}
    (terminal.folder / "model" / "config.json").write_text(json.dumps(config))
    text = (EXAMPLES / STUDY).read_text().replace("Qwen/Qwen3-0.6B", "model").replace("platform: tpu ", "platform: cpu ")
    (terminal.folder / "study.yaml").write_text(text)
    planned = terminal.run("search", "study.yaml", "--dry-run", "--json")
    assert planned.code == 0, planned.err
    assert len(planned.json["cold_groups"]) == 5


@pytest.mark.parametrize("name", [path.name for path in sorted(EXAMPLES.iterdir()) if path.suffix in {".yaml", ".py", ".md"}])
def test_command_lines_in_comments_are_understood(name: str) -> None:
    for line in _in_comments(name):
        parse(line)


def test_command_lines_in_comments_are_found() -> None:
    """The test above says nothing of a line that is not found."""
    assert sum(len(_in_comments(path.name)) for path in EXAMPLES.iterdir() if path.suffix in {".yaml", ".py", ".md"}) >= 4


def _in_comments(name: str) -> list[str]:
    lines = [line.lstrip("# ").partition("     #")[0] for line in (EXAMPLES / name).read_text().splitlines()]
    return list(tuner_lines(line for line in lines if re.match(r"tuner (search|export|token) ", line)))


@pytest.mark.slow
def test_an_exported_study_is_analysed(searched: Terminal, grid: FinishedStudy) -> None:
    assert searched.run("export", "s", "--output", "study.csv").code == 0
    metric = "total_token_throughput"
    command = [sys.executable, str(EXAMPLES / "analyse_csv.py"), "study.csv", metric]
    done = subprocess.run(command, cwd=searched.folder, capture_output=True, text=True, timeout=60, check=True)
    rows = [line.split() for line in done.stdout.splitlines()[2:]]
    compared = {(item["block_size"], item["max_num_batched_tokens"]): item for item in _cells(searched, metric)}
    assert {(int(page), int(budget)) for page, budget, *_ in rows} == set(compared)
    for page, budget, pairs, ratio, _spread in rows:
        cell = compared[int(page), int(budget)]
        assert int(pairs) == cell["pairs"]
        assert math.isclose(float(ratio), cell["ratio"], abs_tol=0.0006)


def _cells(terminal: Terminal, metric: str) -> list[dict[str, Any]]:
    found = terminal.run("compare", "s", "--format", "json", "--metric", metric).json
    return [item for item in found["comparisons"] if item["metric"] == metric]


def test_a_csv_without_pairs_is_no_result(tmp_path: Path) -> None:
    (tmp_path / "study.csv").write_text("stage,arm,block_size,max_num_batched_tokens,round,valid,m\nsearch,default,16,128,0,1,5\n")
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "analyse_csv.py"), "study.csv", "m"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1 and "holds no pair with m" in done.stderr


@pytest.mark.slow
def test_the_gate_of_a_build_tells_three_ends_apart(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """The script as it stands, with a `tuner` that reads a table in the place of an engine."""
    study = terminal.folder / "study.yaml"
    study.write_text(
        "model: tiny-qwen3\npage_sizes: [16, 32]\nchunk_budgets: [128, 256]\nworkload: demo\nrounds: 3\nlauncher: table\n"
        f"table: {terminal.table}\n"
    )
    assert terminal.run("search", study, "--study", "base", "--storage", terminal.url).code == 0
    storage = open_storage(terminal.url, create=False)
    (published,) = storage.list_recommendations()
    storage.mark_recommendation(published.id, published=True, by=Actor("anna"))
    storage.close()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    known = {**os.environ, "PATH": path, "TUNER_STORAGE": terminal.url, "TUNER_LOGDIR": str(terminal.folder / "profiles")}
    for number, (gate, code) in enumerate((("throughput>=0.97*published", 0), ("throughput>=1.5*published", 1), ("throughput>=nan", 2))):
        command = ["sh", str(EXAMPLES / "build_gate.sh"), str(study), gate]
        done = subprocess.run(command, env={**known, "BUILD": str(number)}, capture_output=True, text=True, timeout=120)
        assert done.returncode == code, done.stderr
        assert ("passed" in done.stdout) is (code == 0) and ("failed" in done.stderr) is (code == 1)

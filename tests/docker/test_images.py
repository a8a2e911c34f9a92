"""The Dockerfiles: linted by hadolint, and the promises of the README that a linter does not know."""

from __future__ import annotations

import fnmatch
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.docker.files import DOCKER, DOCKERFILES, ROOT, instructions, pins, stages, variables, words
from tests.waiting import PATIENCE_S

ENGINE = ("torch", "jax", "jaxlib", "libtpu", "vllm", "vllm-tpu", "tpu-inference", "tensorflow", "ray")
PINNED = re.compile(r"[\w./-]+:v?\d+\.\d+\.\d+[\w.-]*(@sha256:[0-9a-f]{64})?( AS \w+)?")
each_dockerfile = pytest.mark.parametrize("path", DOCKERFILES, ids=[path.name for path in DOCKERFILES])


def _hadolint(path: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "hadolint"), "--no-color", "--failure-threshold", "style", str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)


@each_dockerfile
def test_hadolint_finds_nothing(path: Path) -> None:
    found = _hadolint(path)
    assert (found.returncode, found.stdout) == (0, "")


def test_hadolint_would_find_something(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM debian:latest\nRUN apt-get update\nADD https://example.org/x /x\n")
    found = _hadolint(tmp_path / "Dockerfile")
    assert found.returncode == 1
    assert "DL3007" in found.stdout


@each_dockerfile
def test_bases_are_pinned_and_the_process_is_not_root(path: Path) -> None:
    for stage in stages(path):
        assert PINNED.fullmatch(stage[0].text), stage[0].text
    last = stages(path)[-1]
    assert [item.text for item in last if item.keyword == "USER"][-1] == "10001:10001"
    assert [item.keyword for item in last].index("USER") > max(i for i, item in enumerate(last) if item.keyword in {"RUN", "COPY"})
    assert [item for item in last if item.keyword == "HEALTHCHECK"]
    assert not [item for item in instructions(path) if item.keyword == "ADD"]


@each_dockerfile
def test_no_secret_is_baked_in_and_nothing_is_piped_into_a_shell(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"(curl|wget)\b", text)
    for stage in stages(path):
        assert not [name for name in variables(stage) if re.search(r"TOKEN|PASSWORD|SECRET|STORAGE", name)]


@each_dockerfile
def test_what_is_copied_is_in_the_build_context(path: Path) -> None:
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for item in instructions(path):
        if item.keyword == "COPY" and not item.text.startswith("--from"):
            for source in item.text.split()[:-1]:
                assert (ROOT / source).exists()
                assert any(fnmatch.fnmatch(source, pattern) for pattern in allowed), source


def test_the_service_needs_no_engine_and_has_the_pins_of_the_others() -> None:
    service, everything = pins("requirements-service.txt"), pins("requirements.txt")
    assert not set(service) & set(ENGINE)
    assert set(ENGINE) & set(everything)
    assert {name: version for name, version in service.items() if everything.get(name) != version} == {}


def test_the_service_has_every_package_that_pyproject_names_for_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    named = {re.split(r"[\[<>=]", line)[0] for line in (*project["dependencies"], *extras["ui"], *extras["postgres"])}
    assert named <= set(pins("requirements-service.txt"))


def test_the_worker_is_built_on_the_engine_that_is_pinned() -> None:
    base = stages(DOCKER / "Dockerfile.worker")[-1][0].text
    assert base == f"vllm/vllm-tpu:v{pins('requirements.txt')['vllm-tpu']}"


@pytest.mark.slow
def test_the_check_of_the_engine_passes_here_and_fails_on_another_version(tmp_path: Path) -> None:
    def check(pyproject: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(DOCKER / "check_engine.py"), str(pyproject)], capture_output=True, text=True, timeout=PATIENCE_S
        )

    good = check(ROOT / "pyproject.toml")
    assert (good.returncode, good.stderr) == (0, "")
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text().replace("tpu-inference==", "tpu-inference==9."))
    bad = check(tmp_path / "pyproject.toml")
    assert bad.returncode == 1
    assert re.fullmatch(r"tpu-inference is [\d.]+, 9\.[\d.]+ is needed\n", bad.stderr)


def test_the_service_s_health_check_asks_its_own_port() -> None:
    last = stages(DOCKER / "Dockerfile.service")[-1]
    port = words(last, "CMD")[-1]
    assert [item.text for item in last if item.keyword == "EXPOSE"] == [port]
    assert f"127.0.0.1:{port}/readyz" in words(last, "HEALTHCHECK")[-1]

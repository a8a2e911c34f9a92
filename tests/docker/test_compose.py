"""compose.yaml: pinned, not root, read-only, secrets as files, ports on loopback."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.docker.files import DOCKER, ROOT, compose, stages, words
from tests.waiting import PATIENCE_S
from tuner.setup.config_file import load_config

SERVICES: dict[str, dict[str, Any]] = compose()["services"]
each_service = pytest.mark.parametrize("name", SERVICES)


def test_the_parts_are_there_and_only_the_worker_waits_for_its_profile() -> None:
    assert set(SERVICES) == {"postgres", "upgrade", "service", "tensorboard", "worker"}
    assert {name: part["profiles"] for name, part in SERVICES.items() if "profiles" in part} == {"worker": ["tpu"]}


@each_service
def test_nothing_runs_as_root_or_writes_beside_its_volumes(name: str) -> None:
    part = SERVICES[name]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", part["user"])
    assert part["read_only"] is True
    if name != "worker":  # a TPU's device files need it
        assert "privileged" not in part
        assert part["cap_drop"] == ["ALL"]
        assert part["security_opt"] == ["no-new-privileges:true"]


@each_service
def test_secrets_come_as_files(name: str) -> None:
    part = SERVICES[name]
    values = part.get("environment", {})
    mounted = {f"/run/secrets/{secret}" for secret in part.get("secrets", [])}
    assert {value for key, value in values.items() if key.endswith("_FILE")} == mounted
    assert not [key for key in values if re.search(r"PASSWORD|TOKEN|STORAGE", key) and not key.endswith("_FILE")]
    assert set(part.get("secrets", [])) <= set(compose()["secrets"])


@each_service
def test_ports_are_published_on_loopback_only_and_tensorboard_is_alone(name: str) -> None:
    part = SERVICES[name]
    assert all(port.startswith("127.0.0.1:") for port in part.get("ports", []))
    assert set(part["networks"]) <= set(compose()["networks"])
    assert ("tensorboard" in part["networks"]) == (name == "tensorboard")
    assert compose()["networks"]["database"] == {"internal": True}


@each_service
def test_images_are_pinned_or_built_here_with_the_version_of_the_project(name: str) -> None:
    image = SERVICES[name]["image"]
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), flags=re.MULTILINE)
    assert version is not None
    built = {part["image"] for part in SERVICES.values() if "build" in part}
    assert re.search(r"@sha256:[0-9a-f]{64}$", image) or (image in built and image.endswith(f":{version[1]}"))
    if "build" in SERVICES[name]:
        assert (ROOT / SERVICES[name]["build"]["dockerfile"]).is_file()


def test_everything_that_stays_up_has_a_health_check() -> None:
    assert "healthcheck" in SERVICES["postgres"]
    assert "healthcheck" in SERVICES["tensorboard"]
    assert "healthcheck" not in SERVICES["service"]  # the image's own
    assert words(stages(DOCKER / "Dockerfile.service")[-1], "HEALTHCHECK")


def test_the_study_of_the_worker_is_one_that_tuner_takes() -> None:
    assert load_config(DOCKER / "study.yaml", {"storage": "sqlite:///unused.db"}).model == "Qwen/Qwen3-0.6B"


def test_docker_compose_takes_the_file(tmp_path: Path) -> None:
    shutil.copytree(DOCKER, tmp_path / "docker")
    command = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
    if shutil.which(command[0]) is None or subprocess.run([*command, "version"], capture_output=True, timeout=PATIENCE_S).returncode:
        pytest.skip("docker compose is not installed")
    file = str(tmp_path / "docker" / "compose.yaml")
    checked = subprocess.run(
        [*command, "-f", file, "--profile", "tpu", "config", "--quiet"], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def test_secrets_are_made_once_and_belong_together(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    for _ in range(2):
        subprocess.run([DOCKER / "make-secrets", folder], check=True, timeout=PATIENCE_S)
        made = {path.name: path.read_text() for path in folder.iterdir()}
        first = locals().get("first", made)
    assert made == first
    assert set(made) == set(compose()["secrets"])
    assert re.fullmatch(r"[0-9a-f]{64}\n", made["api_token"])
    assert made["storage_url"] == f"postgresql://tuner:{made['postgres_password'].strip()}@postgres:5432/tuner\n"
    assert oct(folder.stat().st_mode)[-3:] == "700"
    assert {oct(path.stat().st_mode)[-3:] for path in folder.iterdir()} == {"444"}

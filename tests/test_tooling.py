"""The scripts that make the environment, run in a folder of their own with a PATH of stand-ins: nothing is installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from hatchling.builders.wheel import WheelBuilder

from tests.waiting import PATIENCE_S

REPOSITORY = Path(__file__).resolve().parents[1]
COREUTILS = ("sh", "bash", "env", "dirname", "cat", "cksum", "awk", "rm", "mkdir", "ln", "chmod")
FAKE_UV = f"""#!/bin/sh
case "$*" in --version) echo "uv 0.9.1"; exit ;; esac
echo "$*" >>uv.log
case "$*" in venv*) mkdir -p .venv/bin && ln -s {sys.executable} .venv/bin/python ;; esac
"""


class Sandbox:
    """A checkout with nothing but the scripts, and a PATH with nothing but what a test puts there."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "checkout"
        self.bin = folder / "bin"
        shutil.copytree(REPOSITORY / ".ci", self.root / ".ci")
        self.bin.mkdir()
        for name in ("pyproject.toml", "requirements.txt", "requirements-dev.txt"):
            (self.root / name).write_text(f"{name}\n")
        for tool in COREUTILS:
            found = shutil.which(tool)
            assert found is not None, f"{tool} is needed"
            (self.bin / tool).symlink_to(found)

    def script(self, name: str, text: str) -> None:
        path = self.bin / name
        path.write_text(text)
        path.chmod(0o755)

    def run(self, *command: str, **environment: str | None) -> subprocess.CompletedProcess[str]:
        """`environment`: variables beside PATH and HOME; None takes one away."""
        asked = {"PATH": str(self.bin), "HOME": str(self.root.parent), **environment}
        given = {name: value for name, value in asked.items() if value is not None}
        return subprocess.run(command, cwd=self.root, env=given, capture_output=True, text=True, timeout=PATIENCE_S)

    def uv_calls(self) -> list[str]:
        log = self.root / "uv.log"
        return log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    return Sandbox(tmp_path)


@pytest.mark.slow
def test_setup_installs_once_and_again_only_when_something_changed(sandbox: Sandbox) -> None:
    sandbox.script("uv", FAKE_UV)
    (sandbox.bin / "python3.12").symlink_to(sys.executable)
    first = sandbox.run(".ci/setup", "dev")
    assert first.returncode == 0, first.stderr
    calls = sandbox.uv_calls()
    assert [call.split(" --python")[0] for call in calls] == ["venv --quiet", "pip sync --quiet", "pip install --quiet"]
    assert calls[0].split()[3] == str(sandbox.bin / "python3.12")
    assert calls[1].endswith(" requirements-dev.txt")
    assert calls[2].endswith(" --no-deps --editable .")
    for profile in ("dev", "runtime"):
        assert sandbox.run(".ci/setup", profile).returncode == 0
    assert sandbox.uv_calls() == calls
    (sandbox.root / "requirements-dev.txt").write_text("changed\n")
    assert sandbox.run(".ci/setup", "dev").returncode == 0
    assert [call.split(" --python")[0] for call in sandbox.uv_calls()[3:]] == ["pip sync --quiet", "pip install --quiet"]


@pytest.mark.slow
def test_byte_compiling_may_come_later_and_is_done_once(sandbox: Sandbox) -> None:
    sandbox.script("uv", FAKE_UV)
    (sandbox.bin / "python3.12").symlink_to(sys.executable)
    for profile, compiles in (("packages", False), ("packages", False), ("dev", True), ("dev", False), ("runtime", False)):
        answer = sandbox.run(".ci/setup", profile)
        assert answer.returncode == 0, answer.stderr
        assert ("byte-compiling" in answer.stderr) is compiles, profile
    assert len(sandbox.uv_calls()) == 3
    (sandbox.root / "requirements-dev.txt").write_text("changed\n")
    assert "byte-compiling" not in sandbox.run(".ci/setup", "packages").stderr
    assert "byte-compiling" in sandbox.run(".ci/setup", "dev").stderr


@pytest.mark.slow
def test_a_shim_that_fails_is_passed_over_for_the_version_managers_folder(sandbox: Sandbox) -> None:
    sandbox.script("uv", FAKE_UV)
    sandbox.script("python3.12", "#!/bin/sh\necho 'command not found' >&2\nexit 127\n")
    real = sandbox.root.parent / ".pyenv" / "versions" / "3.12.99" / "bin" / "python"
    real.parent.mkdir(parents=True)
    real.symlink_to(sys.executable)
    answer = sandbox.run(".ci/setup", "runtime")
    assert answer.returncode == 0, answer.stderr
    assert sandbox.uv_calls()[0].split()[3] == str(real)
    assert sandbox.uv_calls()[1].endswith(" requirements.txt")


def test_without_a_python_uv_is_asked_to_fetch_one(sandbox: Sandbox) -> None:
    sandbox.script("uv", FAKE_UV)
    assert sandbox.run(".ci/setup", "dev").returncode == 0
    assert sandbox.uv_calls()[0] == "venv --quiet --python 3.12 .venv"


def test_without_a_home(sandbox: Sandbox) -> None:
    """A job of a scheduler may have none."""
    sandbox.script("uv", FAKE_UV)
    answer = sandbox.run(".ci/setup", "dev", HOME=None)
    assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize(
    ("given", "handed_on"),
    [
        ({"PIP_INDEX_URL": "https://one.test/simple"}, "https://one.test/simple||"),
        (
            {"PIP_INDEX_URL": "https://one.test/simple", "PIP_EXTRA_INDEX_URL": "https://two.test/a\n  https://three.test/b"},
            "https://one.test/simple|https://two.test/a https://three.test/b|unsafe-best-match",
        ),
        ({"PIP_INDEX_URL": "https://one.test/simple", "UV_DEFAULT_INDEX": "https://uv.test"}, "https://uv.test||"),
    ],
)
def test_the_package_indexes_of_pip_are_handed_on(sandbox: Sandbox, given: dict[str, str], handed_on: str) -> None:
    sandbox.script("uv", FAKE_UV + 'echo "$UV_DEFAULT_INDEX|$UV_INDEX|$UV_INDEX_STRATEGY" >uv.env\n')
    (sandbox.bin / "python3.12").write_text("#!/bin/sh\ncase $1 in -m) exit 1 ;; esac\n")  # a Python whose pip has no settings
    (sandbox.bin / "python3.12").chmod(0o755)
    assert sandbox.run(".ci/setup", "dev", **given).returncode == 0
    assert (sandbox.root / "uv.env").read_text().strip() == handed_on


def test_a_failed_install_is_not_taken_for_done(sandbox: Sandbox) -> None:
    sandbox.script("uv", FAKE_UV + 'case "$*" in *sync*) exit 2 ;; esac\n')
    assert sandbox.run(".ci/setup", "dev").returncode != 0
    sandbox.script("uv", FAKE_UV)
    assert sandbox.run(".ci/setup", "dev").returncode == 0
    assert [call.split(" --python")[0] for call in sandbox.uv_calls()].count("pip sync --quiet") == 2


@pytest.mark.parametrize(
    ("uv", "complaint"),
    [
        (None, "setup: error: no Python and no uv found: install Python 3.12 or uv"),
        ("#!/bin/sh\necho uv 0.4.9\n", "setup: error: no Python and no uv found"),
        (
            '#!/bin/sh\ncase "$*" in --version) echo uv 0.5.0 ;; *) exit 1 ;; esac\n',
            "setup: error: no Python 3.12 that runs and none to be fetched: install it",
        ),
    ],
)
def test_what_is_missing_is_said_in_one_line(sandbox: Sandbox, uv: str | None, complaint: str) -> None:
    if uv is not None:
        sandbox.script("uv", uv)
    answer = sandbox.run(".ci/setup", "dev")
    assert answer.returncode == 1
    assert answer.stderr.splitlines()[-1].startswith(complaint)
    assert not (sandbox.root / ".venv" / ".setup-dev").exists()


def test_the_ci_script_runs_the_tests_without_a_terminal_and_without_apt(sandbox: Sandbox) -> None:
    sandbox.script("make", '#!/bin/sh\nread -r line && exit 9\necho "make $*"\necho "1 passed"\nexit 3\n')
    answer = sandbox.run("bash", ".ci/run")
    assert answer.stdout.splitlines() == ["make --no-print-directory test", "1 passed"]
    assert answer.returncode == 3


def test_the_ci_script_says_that_make_is_missing(sandbox: Sandbox) -> None:
    """Where it cannot be installed: here apt-get is missing, too."""
    answer = sandbox.run("bash", ".ci/run")
    assert answer.returncode == 1
    assert answer.stderr.splitlines()[-1] == "make is not installed and cannot be installed from here: install make and call again"


def test_no_file_names_a_package_registry_or_a_path_of_one_machine() -> None:
    """Public images have their short names; the package index is the user's own setting."""
    hosts = "(ghcr|quay|gcr)[.]io|pkg[.]dev|registry[.](npmjs|k8s)|pythonhosted|pypi[.]org/simple|--(extra-)?index-url"
    forbidden = re.compile(f"({hosts}|/work/(wt|main|shared)|/root/[a-z.])")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, timeout=PATIENCE_S)
    if listed.returncode:
        pytest.skip("not a git checkout")
    own = Path(__file__).relative_to(REPOSITORY)
    files = [REPOSITORY / name for name in listed.stdout.split("\0") if name and name != str(own)]
    lines = [
        f"{path.relative_to(REPOSITORY)}:{number}: {line[:120]}"
        for path in files
        if path.is_file()
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if forbidden.search(line)
    ]
    assert lines == []


def test_shellcheck_finds_nothing_in_the_scripts() -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    scripts = [".ci/run", ".ci/setup", "docker/make-secrets"]
    checked = subprocess.run(["shellcheck", *scripts], cwd=REPOSITORY, capture_output=True, text=True, timeout=PATIENCE_S)
    assert (checked.returncode, checked.stdout) == (0, "")


def test_every_make_target_is_declared_and_listed() -> None:
    """All that the Makefile has; a target without a description is a part of another and is not listed."""
    makefile = (REPOSITORY / "Makefile").read_text()
    targets = dict(re.findall(r"^([a-z-]+):[^=\n#]*(?:## (.*))?$", makefile, re.MULTILINE))
    phony = next(line for line in makefile.splitlines() if line.startswith(".PHONY:")).split()[1:]
    assert sorted(phony) == sorted(targets)
    listed = subprocess.run(["make", "-s", "-C", REPOSITORY], capture_output=True, text=True, check=True).stdout
    shown = dict(line.removeprefix("make ").split(maxsplit=1) for line in listed.splitlines())
    assert shown == {name: described for name, described in targets.items() if described}
    assert {"setup", "demo", "test", "test-fast", "docs"} <= set(shown)


@pytest.mark.slow
def test_the_hooks_before_a_commit_find_what_is_wrong(tmp_path: Path) -> None:
    """Run as pre-commit runs them, on a repository of its own with the hooks' configuration and this environment."""
    shutil.copy(REPOSITORY / ".pre-commit-config.yaml", tmp_path)
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "Makefile").write_text("type:\n\t@.venv/bin/python -m mypy --strict --config-file= *.py\n")
    outcomes = {
        "import os\n": {"ruff-check"},
        "x = {'a':1}\n": {"ruff-format"},
        "def f(x):\n    return x\n": {"mypy"},
        "x = 1\n": set(),
    }
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True, timeout=60)
    for text, expected in outcomes.items():
        (tmp_path / "a.py").write_text(text)
        subprocess.run(["git", "add", "a.py", ".pre-commit-config.yaml"], cwd=tmp_path, check=True, timeout=60)
        ran = subprocess.run(
            [sys.executable, "-m", "pre_commit", "run", "--all-files", "--color=never"],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PRE_COMMIT_HOME": str(tmp_path / "cache")},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        failed = set(re.findall(r"^- hook id: (\S+)", ran.stdout, re.MULTILINE))
        assert (failed, ran.returncode) == (expected, 1 if expected else 0), ran.stdout + ran.stderr


def test_the_packages_say_that_they_are_typed_and_ship_it() -> None:
    """The build backend's own list of what goes into the wheel."""
    builder = WheelBuilder(str(REPOSITORY))
    shipped = {file.distribution_path for file in builder.recurse_included_files()}
    for package in ("tuner", "profiles", "service", "storage"):
        assert f"{package}/py.typed" in shipped
        assert f"{package}/__init__.py" in shipped
    assert not {path for path in shipped if path.startswith(("tests/", "bench/", "docs/", "examples/"))}


def test_the_hosted_ci_runs_the_same_command() -> None:
    workflow = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "ci.yml").read_text())
    [job] = workflow["jobs"].values()
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert "bash .ci/run" in commands
    makefile = (REPOSITORY / "Makefile").read_text()
    for command in commands:
        for target in re.findall(r"^make ([a-z-]+)", command, re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    assert workflow["permissions"] == {"contents": "read"}


def test_one_version_everywhere() -> None:
    """A release changes all of them."""
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    tag = re.compile(r"vllm-tpu-tuner-(?:service|worker):([\w.-]+)")
    files = [path for folder in ("docker", "examples") for path in (REPOSITORY / folder).rglob("*") if path.is_file()]
    named = {found for path in files for found in tag.findall(path.read_text(errors="replace"))}
    named |= set(tag.findall((REPOSITORY / "RELEASE.md").read_text()))
    assert named == {version}
    assert re.search(rf"^## {re.escape(version)} ", (REPOSITORY / "CHANGELOG.md").read_text(), re.MULTILINE)

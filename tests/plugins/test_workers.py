"""Tests that start engines stay on one worker, in whatever files they are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_TEST = """
import os, pathlib, time, pytest
{mark}
@pytest.mark.parametrize("n", range(3))
def test_it(n):
    time.sleep(0.2)
    with pathlib.Path("workers").open("a") as file:
        file.write("{name} " + os.environ["PYTEST_XDIST_WORKER"] + "\\n")
"""
_CONFTEST = """
import pytest
pytest_plugins = ["tests.plugins.workers"]
@pytest.fixture
def shared_simulation_host(): ...
"""
_MARK = "@pytest.mark"  # not in one piece, or this file would be one of them
_HEAVY = {"test_a.py": f"{_MARK}.engine", "test_m.py": f"{_MARK}.engine", "test_z.py": f"{_MARK}.engine"}
_USES = f'{_MARK}.usefixtures("shared_simulation_'  # the same
_ONE_HOST = {"tests/tuner/cli/test_s.py": f'{_USES}host")', "tests/tuner/search/test_t.py": f'{_USES}host")'}
_ASKS = "pytest.mark.slow  # shared_compiler"  # the same
_ONE_COMPILER = {"tests/tuner/cli/test_u.py": f"@{_ASKS}: Compiler", "tests/tuner/foresight/test_v.py": f"@{_ASKS}: Compiler"}
_SHARING = {"tests/service/pages/test_p.py": f"{_MARK}.slow", "tests/tuner/report/charts/test_q.py": f"{_MARK}.slow"}
_LONG = {"test_y.py": f"{_MARK}.timeout" + "(600)"}
_LIGHT = {"test_b.py": f"{_MARK}.browser", "test_n.py": f"{_MARK}.ray"}


_ENDS = """
import pytest
@pytest.fixture
def broken(): raise OSError("in the set-up")
@pytest.fixture
def breaks():
    yield
    raise OSError("in the end")
def test_passes(): ...
def test_fails(): assert not "so"
def test_is_not_begun(broken): ...
def test_does_not_end(breaks): ...
def test_is_left_out(): pytest.skip("for a reason")
@pytest.mark.xfail
def test_is_known_to_fail(): assert not "so"
"""


def run_in(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """The tests of the folder, on two workers, without the plugins that they do not use: those take seconds to load."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "xdist", "-n", "2", "--dist", "loadfile"]
    command += ["-o", f"pythonpath={ROOT}"]
    env = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}  # of the run that this test is part of
    env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    return subprocess.run([*command, *options, "."], cwd=folder, env=env, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("options", [["-q"], ["-v"], ["--durations", "9"]])
def test_every_end_of_a_test_is_told_however_little_a_worker_says(tmp_path: Path, options: list[str]) -> None:
    (tmp_path / "conftest.py").write_text(_CONFTEST)
    (tmp_path / "test_ends.py").write_text(_ENDS)
    told = run_in(tmp_path, "-ra", *options).stdout
    assert "1 failed, 2 passed, 1 skipped, 1 xfailed, 2 errors" in told, told
    assert told.count("in the set-up") >= 1 and told.count("in the end") >= 1 and "for a reason" in told
    assert ("s setup " in told or "durations" in told) == (options[0] == "--durations")


@pytest.mark.slow
def test_two_engines_never_run_at_once(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(_CONFTEST)
    for name, mark in {**_HEAVY, **_ONE_HOST, **_ONE_COMPILER, **_SHARING, **_LONG, **_LIGHT}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(_TEST.format(mark=mark, name=name))
    done = run_in(tmp_path)
    assert done.returncode == 0, done.stdout
    ran = [line.split() for line in (tmp_path / "workers").read_text().splitlines()]
    assert len(ran) == 3 * len(_HEAVY | _ONE_HOST | _ONE_COMPILER | _SHARING | _LONG | _LIGHT)
    assert len({worker for name, worker in ran if name in _HEAVY}) == 1
    for sharing in (_ONE_HOST, _ONE_COMPILER, _SHARING):
        assert len({worker for name, worker in ran if name in sharing}) == 1, "what they share is made once"
    first = [name for name, _ in ran].index
    assert first("test_y.py") < min(map(first, _LIGHT)), "a long file begins before short ones"
    assert len({worker for _, worker in ran}) == 2, "the other worker has the light files"

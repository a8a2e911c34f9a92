"""Whose CPU time it was: this process's, that of what it started, or somebody else's."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tuner.engine.cpu_contention import CONTENTION, OWN_CPU, CpuContention
from tuner.launchers.process_tree import tree_cpu_s

BURN = "import sys, time\nwhile time.process_time() < 0.5: pass\nprint(1, flush=True)\nsys.stdin.read()"
CORES = os.cpu_count() or 1


@pytest.fixture
def burner() -> Iterator[subprocess.Popen[bytes]]:
    """A child that uses half a second of CPU time and then waits."""
    with subprocess.Popen([sys.executable, "-c", BURN], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        yield child


@pytest.mark.slow
def test_a_childs_time_is_the_trees_alive_and_dead(burner: subprocess.Popen[bytes]) -> None:
    before, alone = tree_cpu_s(), time.process_time()
    assert burner.stdout is not None and burner.stdout.readline() == b"1\n"
    alive = tree_cpu_s() - before
    assert 0.4 <= alive - (time.process_time() - alone) <= 1.0
    burner.communicate()
    assert tree_cpu_s() - before >= alive - 0.02, "what it used is not forgotten when it ends"


@pytest.mark.slow
def test_what_is_not_our_own_is_contention(burner: subprocess.Popen[bytes]) -> None:
    """The child contends with one that counts this process alone."""
    begun, tree, alone = time.perf_counter(), CpuContention(tree_cpu_s), CpuContention()
    assert burner.stdout is not None and burner.stdout.readline() == b"1\n"
    seconds = CORES * (time.perf_counter() - begun)
    found, narrow = tree.since(), alone.since()
    assert narrow[CONTENTION] - found[CONTENTION] == pytest.approx(found[OWN_CPU] - narrow[OWN_CPU], abs=0.1)
    assert narrow[CONTENTION] * seconds >= 0.4

"""All self times of XProf's hlo_stats on the real TPU file, computed live by the installed xprof, against ours."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from profiles.reader import read_profile
from tests.profiles.self_times import TPU_FILE, self_times
from tests.shared_data import shared_data
from tests.waiting import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]


pytestmark = pytest.mark.skipif(importlib.util.find_spec("xprof") is None, reason="xprof is not installed (extra: ui)")


@pytest.fixture(scope="module")
def xprofs_rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    path = shared_data(TPU_FILE)
    folder = tmp_path_factory.mktemp("xprof") / "plugins" / "profile" / "session"
    folder.mkdir(parents=True)
    copy = Path(shutil.copyfile(path, folder / "host.xplane.pb"))  # xprof writes its caches beside the file
    done = subprocess.run(
        [sys.executable, "-m", "bench.hlo_stats", "xprof", str(copy)], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows: list[dict[str, Any]] = json.loads(done.stdout)["rows"]
    return rows


@pytest.mark.slow
def test_all_self_times_are_reproduced_to_a_nanosecond(xprofs_rows: list[dict[str, Any]]) -> None:
    theirs = {(row["program_id"], row["op"]): row["self_us"] for row in xprofs_rows}
    ours = {key: time / 1e6 for key, time in self_times(read_profile(shared_data(TPU_FILE))).items()}
    assert len(theirs) == 17
    assert ours.keys() == theirs.keys()
    assert max(abs(ours[key] - theirs[key]) for key in theirs) < 0.001


@pytest.mark.slow
def test_rates_of_computing_ops_are_xprofs(xprofs_rows: list[dict[str, Any]]) -> None:
    """Copies are left out: xprof counts the bytes of an asynchronous copy at its start and again at its end."""
    profile = read_profile(shared_data(TPU_FILE))
    times = self_times(profile)
    runs = Counter(op for device in profile.devices for op in device.op.tolist())
    kinds = {(kind.program_id, kind.name): (kind, runs[index]) for index, kind in enumerate(profile.op_types)}
    compared = 0
    for row in xprofs_rows:
        if "copy" not in row["category"]:
            key = row["program_id"], row["op"]
            (kind, count), seconds = kinds[key], times[key] / 1e12
            assert kind.flops * count / seconds / 1e9 == pytest.approx(row["gflops_per_s"], rel=1e-6)
            assert kind.hbm_bytes * count / seconds / 2**30 == pytest.approx(row["hbm_gib_per_s"], rel=1e-6)
            compared += 1
    assert compared == 5

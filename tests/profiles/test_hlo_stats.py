"""All self times of XProf's hlo_stats on the real TPU file, computed live by the installed xprof, against ours."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from profiles.reader import read_capture
from tests.profiles.test_reader import TPU_FILE, self_times
from tests.shared_data import shared_data

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(importlib.util.find_spec("xprof") is None, reason="xprof is not installed (extra: ui)")
def test_all_self_times_are_reproduced_to_a_nanosecond(tmp_path: Path) -> None:
    path = shared_data(TPU_FILE)
    folder = tmp_path / "plugins" / "profile" / "session"
    folder.mkdir(parents=True)
    copy = Path(shutil.copyfile(path, folder / "host.xplane.pb"))  # xprof writes its caches beside the file
    done = subprocess.run(
        [sys.executable, "-m", "bench.hlo_stats", "xprof", str(copy)], cwd=ROOT, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr[-2000:]
    theirs = {(row["program_id"], row["op"]): row["self_us"] for row in json.loads(done.stdout)["rows"]}
    ours = {key: time / 1e6 for key, time in self_times(read_capture(path)).items()}
    assert len(theirs) == 17
    assert ours.keys() == theirs.keys()
    assert max(abs(ours[key] - theirs[key]) for key in theirs) < 0.001

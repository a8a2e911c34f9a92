"""A hung engine costs its configuration and some seconds, not the time-out of a trial; the real host and wire, without vLLM."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import psutil
import pytest

from storage.records import TrialState
from tests.tuner.launchers.light_engine import light_python
from tests.tuner.workbench import Workbench
from tuner.core.contract import EngineSettings
from tuner.launchers.local import LocalLauncher, LocalSession
from tuner.trials.progress import Progress
from tuner.trials.watchdog import FEWEST


@pytest.mark.slow
def test_an_engine_that_stops_in_a_window_is_given_up_with_the_reason(
    bench: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIGHT_WINDOW_S", "0.02")
    monkeypatch.setattr("tuner.trials.watchdog.FLOOR_S", 1.0)
    monkeypatch.setattr("tuner.launchers.local.GRACE_S", 1.0)
    stopped: list[int] = []

    class Hanging(LocalLauncher):
        last: LocalSession | None = None

        def open(self, settings: EngineSettings, timeout_s: float) -> LocalSession:
            self.last = super().open(settings, timeout_s)
            return self.last

    launcher = Hanging(log_dir=tmp_path / "logs", python=light_python(tmp_path), platform="cpu")

    def hang(progress: Progress, _line: str) -> None:
        if progress.windows == FEWEST + 1 and not stopped and launcher.last is not None:
            stopped.append(launcher.last.pid)
            os.kill(launcher.last.pid, signal.SIGSTOP)

    began = time.monotonic()
    bench.run(launcher, guard=False, listener=hang)
    assert time.monotonic() - began < 120, "trial_timeout is 600 s"
    failed = [trial for trial in bench.trials() if trial.state is TrialState.FAIL]
    assert [trial.error_class for trial in failed] == ["timeout"]
    assert re.search(r"it counts as hung after [\d.]+ s: the longest of its 4 windows took", str(failed[0].error_message))
    assert not psutil.pid_exists(stopped[0]), "nothing is left of it"
    assert sum(trial.state is TrialState.COMPLETE for trial in bench.trials()) == 7

"""The real engine with wrong KV writes planted: a search notices, and does not recommend what answers wrongly."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.records import Stage, TrialState
from tests.tuner.workbench import Workbench
from tuner.core.contract import ARM_PAGE_ALIGNED, EngineSettings
from tuner.engine.environment import tpu_present
from tuner.launchers.local import LocalLauncher, LocalSession

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900), pytest.mark.usefixtures("shared_xla_cache", "shared_engine_host")]


class WrongWrites(LocalLauncher):
    """Engines whose page-aligned arm writes whole pages from chunks that begin inside pages (tests.tuner.vllm_plugin.negative_control)."""

    def open(self, settings: EngineSettings, timeout_s: float) -> LocalSession:
        further = {"scheduler_cls": "tests.tuner.vllm_plugin.negative_control.PageWiseButUnaligned"} if settings.alignable else {}
        return super().open(settings.with_changes(extra_engine_args={**settings.extra_engine_args, **further}), timeout_s)


def test_a_wrong_write_is_caught_in_a_search_and_never_recommended(bench: Workbench, tmp_path: Path) -> None:
    """The built-in model hardly looks back: not one token changes, only their probabilities do."""
    launcher = WrongWrites(log_dir=tmp_path / "logs", platform="auto" if tpu_present() else "cpu")
    outcome = bench.run(launcher, page_sizes=[64], chunk_budgets=[128], rounds=2)
    found = {trial.arm: trial for trial in bench.trials()}
    wrong, right = found[ARM_PAGE_ALIGNED], found["default"]
    assert (wrong.state, wrong.error_class, wrong.values) == (TrialState.FAIL, "wrong_output", None)
    assert "wrong answer to a canary: prompt canary-" in (wrong.error_message or "")
    assert right.state is TrialState.COMPLETE
    assert right.notes["canaries"]["canary_match"] == 1.0
    assert outcome.recommendation.body["settings"]["arm"] == "default"
    assert {trial.arm for trial in bench.trials(Stage.CONFIRM)} == {"default"}
    (window, *_) = windows = bench.windows(right)
    assert "recompiled" not in {item.invalid_reason for item in windows}, "canaries leave nothing to compile in a window"
    parts = [window.metrics[f"startup_{part}_s"] for part in ("import", "weights", "compile")]
    assert min(parts[:2]) > 0 and window.metrics["startup_s"] > sum(parts)

"""Seconds of an engine's start as an objective and as a limit."""

from __future__ import annotations

from typing import Any

import pytest

from storage.records import Stage, TrialState
from tests.tuner.fake_engine import FakeLauncher
from tests.tuner.workbench import Workbench
from tuner.core.contract import EngineSettings

pytestmark = pytest.mark.slow  # each is a search

SPACE: dict[str, Any] = {"page_sizes": [16, 32], "chunk_budgets": [128, 256]}


def startup(settings: EngineSettings) -> dict[str, float]:
    """Larger pages start faster; engines for larger budgets slower."""
    seconds = 100.0 + 640 / settings.block_size + settings.max_num_batched_tokens / 10
    return {"startup_s": seconds, "startup_import_s": 20.0}


def test_what_shares_an_engine_shares_its_start_and_a_finalist_has_its_own(bench: Workbench) -> None:
    outcome = bench.run(FakeLauncher(startup=startup), **SPACE, objective="startup_s")
    found = {(trial.block_size, (trial.values or {})["startup_s"]) for trial in bench.trials()}
    assert found == {(16, 165.6), (32, 145.6)}
    assert {(trial.values or {})["startup_s"] for trial in bench.trials(Stage.CONFIRM)} <= {145.6, 132.8, 165.6, 152.8}
    assert outcome.recommendation.body["settings"]["block_size"] == 32


def test_a_limit_on_the_start_rules_out_what_starts_too_slowly(bench: Workbench) -> None:
    outcome = bench.run(FakeLauncher(startup=startup), **SPACE, slos=["startup_s<=150"])
    assert {trial.block_size: trial.notes["feasible"] for trial in bench.trials()} == {16: False, 32: True}
    assert outcome.recommendation.body["settings"]["block_size"] == 32
    assert outcome.recommendation.body["expected"]["startup_s"]["value"] <= 150


def test_a_launcher_that_does_not_know_its_start_has_no_value_for_it(bench: Workbench) -> None:
    bench.run(**SPACE, objective="startup_s", rounds=1)
    assert {trial.state for trial in bench.trials()} == {TrialState.FAIL}
    assert all("startup_s does not exist" in (trial.error_message or "") for trial in bench.trials())

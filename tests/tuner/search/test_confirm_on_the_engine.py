"""The smallest real study: searched in our engine host, its one finalist confirmed by `vllm serve` and `vllm bench serve`."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from storage.records import Stage, TrialState
from tests.tuner.workbench import Workbench, config_of
from tuner.launchers.choice import make_finalists_launcher, make_launcher
from tuner.search.plan import plan_search
from tuner.search.study import StudyRun
from tuner.setup.study_setup import prepare_study
from tuner.trials.trial import REPEATED

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(1500),
    pytest.mark.usefixtures("shared_xla_cache", "shared_engine_host", "shared_command_host"),
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed (extra: tpu)"),
]


def test_a_finalist_is_served_with_exactly_the_recommended_flags(bench: Workbench) -> None:
    changes: dict[str, Any] = {"page_sizes": [32], "chunk_budgets": [128], "arms": ["page_aligned"], "rounds": 2, "profile": "none"}
    config = config_of(finalists_via="serve", logdir=str(bench.folder / "profiles"), storage=bench.url, **changes)
    launcher, finalists = make_launcher(config), make_finalists_launcher(config)
    plan = plan_search(prepare_study(config), bench.storage)
    outcome = StudyRun(plan, bench.storage, launcher, finalists_launcher=finalists).run()
    (searched,), (confirmed,) = bench.trials(), bench.trials(Stage.CONFIRM)
    assert (searched.state, confirmed.state) == (TrialState.COMPLETE, TrialState.COMPLETE)
    body = outcome.recommendation.body
    assert body["evidence"]["stage"] == "confirm" and body["evidence"]["trial_ids"] == [confirmed.id]
    assert body["evidence"]["search_overestimate"][0]["search_value"] is None
    for window in bench.windows(confirmed):
        assert window.valid or window.invalid_reason in REPEATED, window.invalid_reason
        assert window.details["launcher"] == "serve" and window.details["server_flags"] == body["vllm_args"]
        assert window.metrics["total_token_throughput"] == pytest.approx(window.details["bench"]["total_token_throughput"])
    assert {window.details["launcher"] for window in bench.windows(searched)} == {"local"}
    assert confirmed.environment == searched.environment

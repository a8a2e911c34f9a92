"""A real study over a live factor beside the arm: one engine, every cell paired, the winner's own flags."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from storage.records import Stage, TrialState
from tests.tuner.workbench import Workbench, config_of
from tuner.launchers.choice import check_launcher, make_launcher
from tuner.search.plan import plan_search
from tuner.search.study import StudyRun
from tuner.setup.study_setup import prepare_study

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(1500),
    pytest.mark.usefixtures("shared_xla_cache", "shared_engine_host"),
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed (extra: tpu)"),
]
METRIC = "total_token_throughput"


def test_fewer_requests_at_once_are_measured_in_the_same_engine_and_are_slower(bench: Workbench) -> None:
    changes: dict[str, Any] = {"page_sizes": [32], "chunk_budgets": [128], "rounds": 3, "factors": {"max_num_seqs": "1,8"}}
    config = config_of(logdir=str(bench.folder / "profiles"), storage=bench.url, **changes)
    check_launcher(config)
    outcome = StudyRun(plan_search(prepare_study(config), bench.storage), bench.storage, make_launcher(config)).run()
    trials = bench.trials()
    assert len(trials) == 4 and {trial.state for trial in trials} == {TrialState.COMPLETE}
    for trial in trials:
        assert trial.effective["max_num_seqs"] == 8, "compiled for the most"
        assert len({window.details["engine_start"] for window in bench.windows(trial)}) == 1
    assert len({window.details["engine_start"] for trial in trials for window in bench.windows(trial)}) == 1, "all in one engine"
    judged = [item for item in bench.storage.list_comparisons(outcome.study.id) if item.metric == METRIC]
    assert {(item.block_size, item.factors["max_num_seqs"]) for item in judged} == {(32, 1), (32, 8)}
    assert all(item.pairs >= 1 for item in judged)
    fast, slow = (
        max(trial.values["throughput"] for trial in trials if trial.values and trial.factors["max_num_seqs"] == n) for n in (8, 1)
    )
    assert fast > 1.5 * slow, "one request at a time wastes every step"
    body = outcome.recommendation.body
    assert body["settings"]["max_num_seqs"] == body["config"]["max_num_seqs"] == 8
    assert {trial.effective["max_num_seqs"] for trial in bench.trials(Stage.CONFIRM) if trial.factors == {"max_num_seqs": 8}} == {8}

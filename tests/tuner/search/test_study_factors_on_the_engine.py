"""A real study over a live factor beside the arm: one engine, every cell paired, the winner's own flags."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from storage.records import Stage, TrialState
from tests.tuner.workbench import Workbench, config_of
from tuner.core.contract import ARMS
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


def test_levels_of_a_live_factor_are_compared_in_the_same_engine_and_settle_what_is_recommended(bench: Workbench) -> None:
    changes: dict[str, Any] = {
        "page_sizes": [32],
        "chunk_budgets": [128],
        "rounds": 3,
        "workload": "synthetic:input=20-60,output=12,requests=4,concurrency=4",  # one at a time they take a second, 8 take two
        "factors": {"max_num_seqs": "1,8"},
        "compare": "max_num_seqs",
    }
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
    assert sorted(item.factors.get("arm", "default") for item in judged) == sorted(ARMS)
    assert all(item.factors["max_num_seqs"] == 8 for item in judged)
    assert all(item.verdict == "better" and item.ratio is not None and item.ratio > 1.5 for item in judged), (
        "one request at a time wastes every step"
    )
    answer = outcome.comparison.answer
    assert answer is not None and answer.sentence.startswith("better: max_num_seqs 8 instead of 1 wins in 2 of 2 cells")
    body = outcome.recommendation.body
    assert body["settings"]["max_num_seqs"] == body["config"]["max_num_seqs"] == 8
    compared = body["evidence"]["compared"]
    assert compared["recommended"] == 8 and [item["verdict"] for item in compared["levels"]] == ["better"]
    assert body["evidence"]["arms"]["pairs"] >= 1, "the arms of its cell were paired as well"
    finalists = bench.trials(Stage.CONFIRM)
    assert {trial.factors["max_num_seqs"] for trial in finalists} == {1, 8}, "the best, and what it is to be compared with"
    assert all(trial.effective["max_num_seqs"] == trial.factors["max_num_seqs"] for trial in finalists), "each with its own flags"

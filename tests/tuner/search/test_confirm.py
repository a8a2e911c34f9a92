"""Finalists on another path than the search: measured there with their own flags, and never paired or laid beside the search's values."""

from __future__ import annotations

from dataclasses import replace

import pytest

from storage.records import Stage
from tests.tuner.fake_engine import FakeLauncher, value_of
from tests.tuner.workbench import Workbench, config_of, configuration_of
from tuner.core.contract import WindowResult
from tuner.core.errors import BadInput
from tuner.launchers.choice import make_finalists_launcher
from tuner.launchers.serve import ServeLauncher
from tuner.search.plan import plan_search
from tuner.search.study import StudyOutcome, StudyRun
from tuner.setup.space import Configuration
from tuner.setup.study_setup import prepare_study


def slower(configuration: Configuration, nth: int, result: WindowResult) -> WindowResult:
    """As HTTP is: half of everything."""
    metrics = {name: value / 2 for name, value in result.reported_metrics.items()}
    return replace(result, reported_metrics=metrics, details={"bench": {"completed": 8}})


def run(bench: Workbench, launcher: FakeLauncher, finalists: FakeLauncher) -> StudyOutcome:
    setup = prepare_study(config_of(logdir=str(bench.folder / "profiles"), storage=bench.url))
    return StudyRun(plan_search(setup, bench.storage), bench.storage, launcher, finalists_launcher=finalists).run()


@pytest.mark.slow
def test_finalists_are_measured_by_the_other_launcher_alone(bench: Workbench) -> None:
    search, serve = FakeLauncher(), FakeLauncher(name="serve", live_fields=frozenset(), on_measure=slower)
    outcome = run(bench, search, serve)
    best = Configuration(32, 256, "page_aligned")
    assert [(item.block_size, item.max_num_batched_tokens, item.alignable) for item in serve.opened] == [(32, 256, True), (32, 256, False)]
    assert len(search.opened) == 2 and search.running == serve.running == 0 and search.closed and serve.closed
    windows = [window for trial in bench.trials(Stage.CONFIRM) for window in bench.windows(trial)]
    assert {(item.details["launcher"], item.details["bench"]["completed"]) for item in windows} == {("serve", 8)}
    assert {item.details["engine_start"] for item in windows} == {3, 4}, "starts are counted on"
    assert outcome.engine_starts == 4
    body = outcome.recommendation.body
    assert configuration_of(bench.trial(best, Stage.CONFIRM)) == best
    assert body["expected"]["total_token_throughput"]["value"] == pytest.approx(value_of(best) / 2)
    assert body["evidence"]["search_overestimate"][0]["search_value"] is None, "values of two launchers are not laid side by side"
    assert body["evidence"]["arms"]["ratio"] == pytest.approx(1.1), "arms are compared where they share an engine"
    assert any("vllm bench serve" in caveat for caveat in body["caveats"])
    assert {item.pairs for item in outcome.comparison.comparisons} == {3}


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"launcher": "table"}, "no engine that could be served"), ({"objective": "mean_step_ms"}, "does not report mean_step_ms")],
)
def test_what_cannot_be_confirmed_by_serve_is_bad_input(changes: dict[str, str], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        config_of(finalists_via="serve", **changes)


def test_the_finalists_launcher_is_another_one_only_where_asked() -> None:
    assert make_finalists_launcher(config_of()) is None
    assert make_finalists_launcher(config_of(finalists_via="serve", launcher="serve")) is None
    launcher = make_finalists_launcher(config_of(finalists_via="serve", platform="cpu"))
    assert isinstance(launcher, ServeLauncher)
    launcher.close()

"""Earlier studies as priors: which are taken, that they help, and that they never become results."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.base import NotFound
from tests.plugins.study import bench_on
from tests.storage.builders import ANNA
from tests.tuner.fake_engine import FakeLauncher
from tests.tuner.search.hill import BEST, SPACE, measured, value
from tests.tuner.workbench import Workbench, config_of
from tuner.core.errors import BadInput
from tuner.search.plan import plan_search
from tuner.search.warm_start import find_earlier, load_earlier
from tuner.setup.study_setup import prepare_study


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, _database_with_optuna: Path) -> Path:
    """A database with a finished study "first" of the whole space."""
    folder = tmp_path_factory.mktemp("first")
    with bench_on(_database_with_optuna, folder) as bench:
        bench.run(FakeLauncher(value=value), study="first", **SPACE)
    return folder / "tuner.db"


@pytest.fixture
def taught(first: Path, tmp_path: Path) -> Iterator[Workbench]:
    with bench_on(first, tmp_path) as bench:
        yield bench


@pytest.mark.slow
def test_a_warm_start_finds_the_best_sooner_and_no_prior_becomes_a_trial(taught: Workbench) -> None:
    taught.run(FakeLauncher(value=lambda item: 0.3 * value(item)), study="warm", trials=6, **SPACE)
    taught.run(FakeLauncher(value=value), study="cold", trials=6, warm_start="none", **SPACE)
    warm, cold = measured(taught, "warm"), measured(taught, "cold")
    assert BEST in warm[:3] and BEST not in cold[:3]
    assert len(warm) == len(taught.optuna_trials("warm")) == 6
    assert all((trial.values or {})["throughput"] < 310 for trial in taught.trials(study="warm"))
    assert any("warm start: 16 results from study 'first' as priors" in line for line in taught.lines)


@pytest.mark.slow
def test_a_misleading_study_does_not_hide_the_best(taught: Workbench) -> None:
    taught.run(FakeLauncher(value=lambda item: 2000 - value(item)), study="opposite", trials=10, warm_start="first", **SPACE)
    best = min((value(item), item) for item in prepare_study(config_of(**SPACE)).space.configurations)[1]
    assert best in measured(taught, "opposite")


@pytest.mark.slow
def test_what_a_study_began_with_stays_when_it_is_taken_up_again(taught: Workbench) -> None:
    taught.run(FakeLauncher(value=value), study="s", trials=4, **SPACE)
    taught.run(FakeLauncher(value=value), study="later", **SPACE)
    before = len(taught.lines)
    taught.run(FakeLauncher(value=value), study="s", trials=3, resume=True, **SPACE)
    assert len(taught.trials(study="s")) == 7
    assert not any("warm start" in line for line in taught.lines[before:])


@pytest.mark.slow
def test_auto_takes_the_same_model_and_accelerator_and_rather_the_same_workload(taught: Workbench) -> None:
    taught.run(FakeLauncher(value=value), study="other-load", workload="chat", trials=4, warm_start="none", **SPACE)
    setup = prepare_study(config_of("new", **SPACE))
    assert [(item.name, item.same_workload) for item in find_earlier(taught.storage, setup, "fake engine")] == [("first", True)]
    assert find_earlier(taught.storage, setup, "TPU v6e-4") == find_earlier(taught.storage, setup, None) == []
    taught.storage.delete_study(taught.storage.get_study("first").id, by=ANNA)
    assert [(item.name, item.same_workload) for item in find_earlier(taught.storage, setup, "fake engine")] == [("other-load", False)]
    assert load_earlier(taught.storage, setup, ["first"]) == []
    with pytest.raises(NotFound):
        taught.storage.get_study("first")


@pytest.mark.slow
def test_values_are_those_of_this_searchs_objective_and_limits(taught: Workbench) -> None:
    setup = prepare_study(config_of("new", objective="ttft_p99_ms", slos=["total_token_throughput>=900"], **SPACE))
    (found,) = find_earlier(taught.storage, setup, "fake engine")
    by_configuration = {item.configuration: item for item in found.observations}
    assert by_configuration[BEST].constraints["total_token_throughput>=900"] == pytest.approx(-100)
    assert all(item.values is not None and item.values[0] < 900 for item in found.observations)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"warm_start": "nowhere", "trials": 4}, "warm_start 'nowhere': there is no such study"),
        ({"warm_start": "new", "trials": 4}, "warm_start 'new' is this study itself"),
        ({"warm_start": "first"}, "warm_start 'first': sampler grid has no use for earlier results"),
        ({"warm_start": "first", "trials": 1, "page_sizes": [256], "chunk_budgets": [2048, 4096]}, "fewer than 3 of its results"),
    ],
)
def test_what_cannot_teach_is_refused_before_anything_is_written(taught: Workbench, changes: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        taught.run(FakeLauncher(value=value), study="new", **{**SPACE, **changes})
    with pytest.raises(NotFound):
        taught.storage.get_study("new")


def test_none_and_auto_are_always_allowed(bench: Workbench) -> None:
    for choice in ("auto", "none"):
        assert plan_search(prepare_study(config_of("new", warm_start=choice)), bench.storage).sampler == "grid"
